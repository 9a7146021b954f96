use halfpi_kernels::format::FormatError;
use halfpi_kernels::ops::OpError;

/// Why a model cannot be calibrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// The text says too little about what the layers see.
    #[error("the calibration text has {found} tokens and needs {least}; tens of thousands are good")]
    TextTooShort {
        /// Its tokens.
        found: usize,
        /// The fewest that make sense.
        least: usize,
    },
    /// The family's layers are not run here.
    #[error("models of the architecture {name} are not calibrated; pack without --calibrate")]
    Architecture {
        /// The family.
        name: &'static str,
    },
    /// The text has a token for which the model has no embedding.
    #[error("token {id} has no embedding among {rows}; the tokenizer and the weights are of different models")]
    Token {
        /// The token.
        id: u32,
        /// Rows of the embedding.
        rows: usize,
    },
    /// The model lacks a tensor.
    #[error("the model has no tensor {name:?}; get the whole model")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A layer gives numbers that are not finite.
    #[error("the inputs of {name:?} are not finite numbers; the model is damaged, or pack without --calibrate")]
    Inputs {
        /// The matrix.
        name: String,
    },
    /// Tensors do not fit each other.
    #[error("the layers do not fit each other: {0}")]
    Op(#[from] OpError),
    /// A matrix cannot be packed for the pass.
    #[error("the layers do not fit each other: {0}")]
    Format(#[from] FormatError),
}
