//! Why a model file was not made.

use std::path::PathBuf;

use halfpi_kernels::format::FormatError;

use super::{CalibrationError, Format, Method};
use crate::gguf::GgmlType;
use crate::model::ModelError;

/// What stands in the way of making a model file, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A format that does not exist.
    #[error("there is no format {name:?}; there are {known}")]
    UnknownFormat {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// `--keep` without a pattern and a format.
    #[error("cannot keep {text:?}: give PATTERN=FORMAT, such as 'token_embd.weight=q8' or '*.attn_*=f16'")]
    BadKeep {
        /// What was given.
        text: String,
    },
    /// A group that no layout has.
    #[error("{text:?} is no group: give 32, 64, 128, 256, row or tensor")]
    BadGroup {
        /// What was given.
        text: String,
    },
    /// A quantizer that does not exist.
    #[error(
        "there is no quantizer {text:?}: give least-squares, largest, absmean or sparsity=SHARE, such as sparsity=0.4"
    )]
    BadMethod {
        /// What was given.
        text: String,
    },
    /// Exponents that no ladder has.
    #[error("{text:?} are no exponents: give FIRST..LAST, at most 8 of 2 to 11, such as 6..11")]
    BadExponents {
        /// What was given.
        text: String,
    },
    /// Something about ladders was asked of a format that is none, or cannot be had together.
    #[error("{format} cannot have {what}: {reason}")]
    Ladder {
        /// The format.
        format: Format,
        /// What was asked for.
        what: String,
        /// Why not.
        reason: &'static str,
    },
    /// A quantizer was asked of a format that it is not for.
    #[error("{format} has no quantizer {method}: absmean and sparsity are for ternary formats, largest for integers")]
    Method {
        /// The quantizer.
        method: Method,
        /// The format.
        format: Format,
    },
    /// The real and the imaginary parts of a tensor have different types.
    #[error("tensors {name:?} and {other:?} have different types: parts of the same numbers have the same")]
    Parts {
        /// The tensor of the real parts.
        name: String,
        /// The tensor of the imaginary parts.
        other: String,
    },
    /// A format of complex weights was asked for weights that are real.
    #[error("phase-complex is for the complex weights of ifairy models; {name:?} is real")]
    NotComplex {
        /// The tensor's name.
        name: String,
    },
    /// Packed codes were asked of a format that has none.
    #[error("{format} has no codes that fit any matrix")]
    NoCodes {
        /// The format.
        format: Format,
    },
    /// The calibration pass failed.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// `progress` asked to stop.
    #[error("packing was stopped; no file was written")]
    Cancelled,

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
    /// A matrix does not fit the format it should have, or is a packed one with a broken header.
    #[error("tensor {name:?}: {source}")]
    Format {
        /// The tensor.
        name: String,
        /// Why not.
        source: FormatError,
    },
    /// A tensor has more elements than this machine can address.
    #[error("tensor {name:?} has the impossible shape {dims:?}")]
    TooLarge {
        /// The tensor.
        name: String,
        /// Its dimensions.
        dims: Vec<u64>,
    },
    /// A tensor type whose weights are not read.
    #[error(
        "tensor {name:?} has type {ty}, which is not read; start from the original model, or from a file in F32, F16, \
         BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0 or I2_S"
    )]
    Type {
        /// The tensor.
        name: String,
        /// Its type.
        ty: GgmlType,
    },
    /// `lossless` was asked for a type that has no packed form of its own.
    #[error(
        "tensor {name:?} has type {ty}, which cannot be packed without loss; choose a format for it: --keep '{name}=q8'"
    )]
    NotLossless {
        /// The tensor.
        name: String,
        /// Its type.
        ty: GgmlType,
    },
    /// A weight that is infinite or not a number.
    #[error("tensor {name:?} has a weight in row {row} that is not a finite number; the model is damaged")]
    NotFinite {
        /// The tensor.
        name: String,
        /// The row.
        row: usize,
    },
    /// A tensor was given with more or fewer weights than its shape has.
    #[error("tensor {name:?} has {expected} weights, and {found} were given")]
    WeightCount {
        /// The tensor.
        name: String,
        /// Rows times columns.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// A weight that is too large for f16.
    #[error("tensor {name:?} has the weight {weight} in row {row}, too large for f16; keep it: --keep '{name}=f32'")]
    Overflow {
        /// The tensor.
        name: String,
        /// The row.
        row: usize,
        /// The weight.
        weight: f32,
    },

    /// Packing a tensor lost more than any right scale would.
    #[error(
        "tensor {name:?} as {format} loses {nmse:.3} of its squared {of}, and a right scale loses at most {limit}; no \
         file was written: choose another format with --keep '{name}=f16', or take the loss with --allow-loss"
    )]
    Loss {
        /// The tensor.
        name: String,
        /// Its format.
        format: String,
        /// Of what: weights, or outputs where a calibration text was given.
        of: &'static str,
        /// The squared error as a part of the squares.
        nmse: f64,
        /// The most that is taken for a right scale.
        limit: f64,
    },

    /// [`must_be_exact`](super::Options::must_be_exact) was asked for, and a weight is no level of the format times a scale.
    #[error(
        "tensor {name:?} cannot be stored as it is: the weight {weight} in row {row}, column {column} would become \
         {stored}; no file was written: store it as it was trained, or with --keep '{name}=f32'"
    )]
    Changed {
        /// The tensor.
        name: String,
        /// The first row with such a weight.
        row: usize,
        /// Its place in the row.
        column: usize,
        /// The weight.
        weight: f32,
        /// What the file would give back for it.
        stored: f32,
    },

    /// A file of a checkpoint is missing.
    #[error("{} is missing: it holds {purpose}; get the whole model directory", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
        /// What it is for.
        purpose: &'static str,
    },
    /// A file that should be JSON or text is something else, or far too large.
    #[error("{} is not a text file of at most 256 MiB; get the model directory again", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A file is not the JSON it should be.
    #[error("{}: {source}; get the file again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// `config.json` lacks a key.
    #[error("{} has no {key}, which the model needs", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// `config.json` asks for something that is not done here.
    #[error("{}: {key} is {value:?}, and must be {expected}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// `config.json` describes a model that does not run here.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What it asks for, under the names that GGUF has for it.
        source: ModelError,
    },
    /// The tokenizer cannot be written as GGUF metadata.
    #[error("{}: {problem}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A weight file is not valid.
    #[error("{}: {source}; get the file again", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: safetensors::SafeTensorError,
    },
    /// The index names a file outside of its directory.
    #[error("{} names the file {name:?}, which is not in the same directory", path.display())]
    ShardName {
        /// The index.
        path: PathBuf,
        /// The file.
        name: String,
    },
    /// A tensor is in two files.
    #[error("{} holds the tensor {name:?}, which another file holds too", path.display())]
    DuplicateTensor {
        /// The second file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A checkpoint lacks a tensor.
    #[error("no file in {} holds the tensor {name:?}, which the model needs", path.display())]
    MissingTensor {
        /// The tensor.
        name: String,
        /// The directory.
        path: PathBuf,
    },
    /// A checkpoint has a tensor that the architecture does not use, so its results would not be the model's.
    #[error("the tensor {name:?} is not one of a {architecture} model; this kind of model is not supported")]
    UnusedTensor {
        /// The tensor.
        name: String,
        /// The architecture.
        architecture: &'static str,
    },
    /// A tensor has another shape than `config.json` says.
    #[error("the tensor {name:?} has the shape {found:?}, and config.json says {expected:?}")]
    TensorShape {
        /// The tensor.
        name: String,
        /// What was expected.
        expected: Vec<usize>,
        /// What was found.
        found: Vec<usize>,
    },
    /// A tensor of packed ternary weights cannot be used.
    #[error("the tensor {name:?} {problem}; get the checkpoint again, or the one before quantization")]
    BitLinear {
        /// The tensor.
        name: String,
        /// Why not.
        problem: &'static str,
    },
    /// A tensor of a checkpoint does not hold floats.
    #[error(
        "the tensor {name:?} holds {dtype}; only F32, F16 and BF16 are read, and BitNet's U8: get the checkpoint before \
         quantization"
    )]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
}
