use core::fmt;
use halfpi_kernels::{format::FormatError, ops::OpError};

/// Why a forward pass was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardError {
    /// A token id that the model does not have.
    Token {
        /// The id.
        id: u32,
        /// Tokens of the model.
        vocab_size: usize,
    },
    /// The positions do not fit in the cache.
    CacheFull {
        /// Positions needed.
        needed: usize,
        /// Positions of the cache.
        positions: usize,
    },
    /// A buffer does not fit the model.
    Op(OpError),
    /// A weight does not fit the model.
    Format(FormatError),
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardError::Token { id, vocab_size } => write!(f, "token {id} of a vocabulary of {vocab_size}"),
            ForwardError::CacheFull { needed, positions } => {
                write!(f, "{needed} positions do not fit in a context of {positions}")
            }
            ForwardError::Op(error) => error.fmt(f),
            ForwardError::Format(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ForwardError {}

impl From<OpError> for ForwardError {
    fn from(error: OpError) -> Self {
        ForwardError::Op(error)
    }
}

impl From<FormatError> for ForwardError {
    fn from(error: FormatError) -> Self {
        ForwardError::Format(error)
    }
}
