use std::path::PathBuf;

use safetensors::SafeTensorError;

/// Why a model could not be written, or codes not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The hub has no such models.
    #[error("{architecture} has no directory of the hub that can be written: write a GGUF instead")]
    Architecture {
        /// The family.
        architecture: &'static str,
    },
    /// The hub's models of this family have no such tensor.
    #[error("the hub has no name for the tensor {name:?}")]
    NoHubName {
        /// Its name in GGUF.
        name: String,
    },
    /// What was written is not what was given: its configuration cannot say it.
    #[error(
        "{}, as written, does not say what the model is: {what} is another; give the directory that the model came from",
        path.display()
    )]
    NotSaid {
        /// The directory.
        path: PathBuf,
        /// What was lost.
        what: &'static str,
    },
    /// The directory holds a checkpoint in several files, which a new one would be mixed with.
    #[error("{} is an index of other weights: choose another directory, or remove it", path.display())]
    InUse {
        /// The index.
        path: PathBuf,
    },
    /// A tensor was written with another length than its shape has.
    #[error("{name:?} takes {expected} bytes, and {found} were given")]
    Length {
        /// Its name in the file.
        name: String,
        /// Bytes of its shape.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// Rounding takes back what adapters change.
    #[error(
        "rounded to its formats, the merged model has {:.0}% of what the adapter changes: merge it into finer ones, or ship \
         the adapter beside its model",
        100.0 * kept
    )]
    Vanished {
        /// How much is left, where 1 is all of it.
        kept: f64,
    },
    /// A packed file with a tensor that is not codes and scales.
    #[error("{name:?} is stored as {ty}, which is no codes and scales: pack the model into one of halfpi's formats")]
    NotCodes {
        /// The tensor.
        name: String,
        /// How it is stored.
        ty: String,
    },
    /// A file that is not safetensors.
    #[error("{}: {source}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SafeTensorError,
    },
    /// A file whose codes and scales do not fit together.
    #[error("{}: {name:?} {problem}; write it again", path.display())]
    BadCodes {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
}
