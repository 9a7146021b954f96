//! Why a model file was not made.

use halfpi_kernels::format::FormatError;

/// What stands in the way of making a model file, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A synthetic model was asked for that cannot exist.
    #[error("no model has {what} = {value}: it must be {expected}")]
    Shape {
        /// The length that is wrong.
        what: &'static str,
        /// The length.
        value: usize,
        /// What would do.
        expected: &'static str,
    },
    /// A matrix does not fit the format it should have.
    #[error("tensor {name:?}: {source}")]
    Format {
        /// The tensor.
        name: String,
        /// Why not.
        source: FormatError,
    },
}
