use super::AdapterError;
use crate::gguf::{GgmlType, shown};
use halfpi_kernels::format::FormatError;

/// Why a GGUF file is not a model that runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// `general.architecture` names a family that is not built in.
    #[error(
        "architecture `{}` is not supported; these are: llama, qwen2, qwen3, bitnet, ifairy",
        shown(name)
    )]
    Architecture {
        /// The name in the file.
        name: String,
    },
    /// The file is one part of a model that was cut into several.
    #[error("one of {count} parts of a split model: join them with `llama-gguf-split --merge FIRST_PART OUT.gguf`")]
    Split {
        /// Parts.
        count: u32,
    },
    /// The tokenizer has ids for which the model has no weights.
    #[error("the tokenizer has {tokens} tokens, token_embd.weight only {rows} rows: convert the model again")]
    Vocabulary {
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding matrix.
        rows: usize,
    },
    /// A metadata value makes no sense for the architecture.
    #[error("{key} = {}: {expected}", shown(value))]
    Value {
        /// The metadata key.
        key: String,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A weight is not in the file.
    #[error("tensor `{}` is missing: the file is incomplete or not a chat model", shown(name))]
    MissingTensor {
        /// The tensor's name.
        name: String,
    },
    /// The file has a weight that the architecture does not use: running without it would give wrong answers.
    #[error(
        "tensor `{}` is not part of a {architecture} model: this variant is not supported",
        shown(name)
    )]
    UnusedTensor {
        /// The tensor's name.
        name: String,
        /// The model's architecture.
        architecture: &'static str,
    },
    /// A weight has another shape than the metadata says.
    #[error(
        "tensor `{}` has shape {found:?}, the model's metadata says {expected:?} (columns, rows)",
        shown(name)
    )]
    Shape {
        /// The tensor's name.
        name: String,
        /// Columns, then rows if there are several.
        expected: Vec<u64>,
        /// What is in the file.
        found: Vec<u64>,
    },
    /// A weight is stored in a type that no kernel reads.
    #[error(
        "tensor `{}` has type {ty}: convert the file with `halfpi pack MODEL --format q8 -o OUT.gguf`",
        shown(name)
    )]
    Type {
        /// The tensor's name.
        name: String,
        /// Its type.
        ty: GgmlType,
    },
    /// A weight of a type without room for it has a scale of its own.
    #[error(
        "tensor `{}` has type {ty} and a scale beside it: convert the file with \
         `halfpi pack MODEL --format ternary -o OUT.gguf`",
        shown(name)
    )]
    Scaled {
        /// The tensor's name.
        name: String,
        /// Its type.
        ty: GgmlType,
    },
    /// A scale or a minimum is infinite or not a number, or the scale of a whole tensor is 0.
    #[error("tensor `{}` has a scale of {value}: the file is damaged, get it again", shown(name))]
    Scale {
        /// The name of the tensor with the scale.
        name: String,
        /// The scale.
        value: f32,
    },
    /// A weight's bytes are not the packed matrix they claim to be.
    #[error("tensor `{}`: {source}", shown(name))]
    Format {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The file of an adapter does not fit.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The listener wanted no more.
    #[error("loading was cancelled")]
    Cancelled,
    /// There is no memory for the converted weights.
    #[error("no memory for {bytes} bytes of weights: {source}")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
        /// What the operating system said.
        source: std::io::Error,
    },
}
