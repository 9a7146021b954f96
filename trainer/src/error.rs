//! What can go wrong in training.

use std::path::PathBuf;

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model could not be read or written.
    #[error(transparent)]
    Model(#[from] halfpi::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The processes could not work together.
    #[error(transparent)]
    Parallel(#[from] crate::parallel::ParallelError),
    /// The model has no such tensor.
    #[error("the model has no tensor {name}")]
    MissingParameter {
        /// Its name in GGUF.
        name: String,
    },
    /// A tensor has another shape than the model's configuration says.
    #[error("{name} has the shape {found:?}, the model's configuration says {expected:?}")]
    Shape {
        /// Its name in GGUF.
        name: String,
        /// Rows and columns of the configuration.
        expected: [usize; 2],
        /// Rows and columns that it has.
        found: [usize; 2],
    },
}
