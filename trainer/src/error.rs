//! What can go wrong in training.

use std::path::PathBuf;

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The model could not be read or written.
    #[error(transparent)]
    Model(#[from] halfpi::Error),
    /// Something is wrong with the data.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// The model could not be written as asked, or codes not be read.
    #[error(transparent)]
    Output(#[from] crate::output::OutputError),
    /// A teacher's predictions in files.
    #[error(transparent)]
    Cache(#[from] crate::distill::CacheError),
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
    /// Integers that are trained by votes.
    #[error(transparent)]
    Vote(#[from] crate::vote::VoteError),
    /// Processes do not begin with the same weights, updates or data.
    #[error("rank {rank} does not begin with what rank 0 does: give all the same model, data and checkpoint")]
    Apart {
        /// The first one that differs.
        rank: usize,
    },
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
    /// The loss or a gradient is infinite or no number. The parameters are as they were before.
    #[error("update {update}: {what} is not finite; go on from the last checkpoint with a smaller learning rate")]
    NotFinite {
        /// The update that was refused, the first being 1.
        update: u64,
        /// What is not finite.
        what: String,
    },
    /// A checkpoint that this run cannot go on from.
    #[error("{path}: no checkpoint of this run: {reason}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A model without layers was to be compared with another one.
    #[error("a model without layers has no hidden states to learn from: set relations and hidden to 0")]
    NothingSeen,
    /// A method or a scheme of quantization that there is not.
    #[error("{text:?} is no way to quantize: {reason}")]
    Scheme {
        /// What was asked for.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A matrix whose shape its format cannot have.
    #[error("{name} cannot be quantized so: {source}; leave it in floats with {name}=f32")]
    Format {
        /// Its name in GGUF.
        name: String,
        /// What does not fit.
        source: halfpi_kernels::format::FormatError,
    },
    /// No model has the shape that was asked for.
    #[error("no model has this shape: {reason}")]
    NoShape {
        /// Why.
        reason: String,
    },
    /// An option of a run makes no sense.
    #[error("{option}: {reason}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The loss has been worse than guessing for a while.
    #[error(
        "update {update}: the loss is {loss:.2} nats, and guessing costs {guessing:.2}: training has diverged; go on from \
         the last checkpoint with a smaller learning rate"
    )]
    Diverged {
        /// The last update.
        update: u64,
        /// Its loss.
        loss: f32,
        /// The logarithm of the number of tokens.
        guessing: f32,
    },
    /// Whoever watches the run ended it.
    #[error("stopped")]
    Cancelled,
}
