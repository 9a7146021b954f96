//! Where weights come from: a GGUF file or a Hugging Face directory.

mod complex;
mod dequantize;
mod gguf;
mod huggingface;
mod ternary;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use halfpi_kernels::format::stock::I2sOrder;
use halfpi_kernels::format::{Codes, FormatError, Matrix, Packed};

pub(super) use self::complex::ComplexWeights;
use self::huggingface::Checkpoint;
pub use self::huggingface::hub_name;
pub(super) use self::huggingface::tokenizer_files;
use super::PackError;
use crate::gguf::{GgmlType, ModelFile, Writer};
use crate::model::{ModelError, TensorShape, read_config};
use crate::transformer::Config;
use crate::{Error, Result};

/// A model to be packed.
pub struct Source {
    kind: Kind,
    i2s_order: I2sOrder,
}

enum Kind {
    Gguf(ModelFile),
    HuggingFace(Box<Checkpoint>),
}

impl Source {
    /// Opens a GGUF file, or a directory as the Hugging Face hub has them: `config.json`, `*.safetensors`,
    /// `tokenizer.json`, and `tokenizer_config.json`, `generation_config.json` and `chat_template.jinja` if they are
    /// there.
    ///
    /// # Errors
    /// Whatever is wrong with the files: [`PackError`], or [`Error::ModelFile`](crate::Error::ModelFile) and
    /// [`Error::Io`](crate::Error::Io) for a GGUF.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let kind = if path.is_dir() {
            Kind::HuggingFace(Box::new(Checkpoint::open(path)?))
        } else {
            let file = ModelFile::open(path)?;
            // Refuses a broken file here, where its path is known.
            file.gguf()?;
            Kind::Gguf(file)
        };
        Ok(Self::new(kind))
    }

    /// Takes a GGUF that is open already.
    pub fn from_model_file(file: ModelFile) -> Self {
        Self::new(Kind::Gguf(file))
    }

    fn new(kind: Kind) -> Self {
        Self {
            kind,
            i2s_order: I2sOrder::default(),
        }
    }

    /// Takes I2_S codes to be in this order, which their file does not say, instead of the usual one.
    pub fn with_i2s_order(self, i2s_order: I2sOrder) -> Self {
        Self { i2s_order, ..self }
    }

    /// The model's shape.
    ///
    /// # Errors
    /// As [`read_config`]: a GGUF need not be a model that is known here.
    pub fn config(&self) -> Result<Config> {
        match &self.kind {
            Kind::Gguf(file) => read_config(&file.gguf()?),
            Kind::HuggingFace(checkpoint) => Ok(*checkpoint.config()),
        }
    }

    /// The tensors that the model's GGUF has, in its order.
    ///
    /// # Errors
    /// [`PackError`] for tensors that cannot be read here.
    pub fn shapes(&self) -> Result<Vec<TensorShape>> {
        Ok(self.tensors()?.iter().map(SourceTensor::shape).collect())
    }

    /// The weights of one tensor, row after row, as its GGUF has them. For all of them, [`read_all`](Self::read_all) does
    /// the preparations only once.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`] if there is no such tensor, and as [`read_all`](Self::read_all).
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let tensors = self.tensors()?;
        let tensor = tensors.iter().find(|tensor| tensor.name == name);
        let tensor = tensor.ok_or_else(|| ModelError::MissingTensor { name: name.to_owned() })?;
        Ok(tensor.read()?)
    }

    /// Hands over the weights of all tensors, one tensor after the other, in the order of [`shapes`](Self::shapes).
    ///
    /// # Errors
    /// [`PackError`] for tensors that cannot be read here and for weights that are not finite, and what `each` returns.
    pub fn read_all<E: From<Error>>(
        &self,
        mut each: impl FnMut(TensorShape, Vec<f32>) -> Result<(), E>,
    ) -> Result<(), E> {
        for tensor in self.tensors()? {
            each(tensor.shape(), tensor.read().map_err(Error::from)?)?;
            self.release(&tensor);
        }
        Ok(())
    }

    /// The metadata, but for what packing itself sets.
    pub(super) fn set_metadata(&self, writer: &mut Writer) -> Result<()> {
        match &self.kind {
            Kind::Gguf(file) => gguf::set_metadata(&file.gguf()?, writer),
            Kind::HuggingFace(checkpoint) => checkpoint.set_metadata(writer),
        }
    }

    /// Gives back the memory of a tensor's pages, so that a model larger than the machine's memory can be packed.
    pub(super) fn release(&self, tensor: &SourceTensor<'_>) {
        let parts: &[&[u8]] = match &tensor.weights {
            Weights::Blocks { data, .. } => &[data],
            Weights::I2s { data, .. } | Weights::Packed { data, .. } | Weights::TernaryBytes { data } => &[data],
            Weights::Complex(weights) => weights.parts(),
        };
        for part in parts {
            match &self.kind {
                Kind::Gguf(file) => file.release(place_of(part, file.bytes()).unwrap_or_default()),
                Kind::HuggingFace(checkpoint) => checkpoint.release(part),
            }
        }
    }

    pub(super) fn tensors(&self) -> Result<Vec<SourceTensor<'_>>> {
        match &self.kind {
            Kind::Gguf(file) => gguf::tensors(&file.gguf()?, self.i2s_order),
            Kind::HuggingFace(checkpoint) => checkpoint.tensors(),
        }
    }
}

/// A tensor of the model to be.
pub(super) struct SourceTensor<'a> {
    /// Its name in GGUF.
    pub name: String,
    /// 1 to 4 lengths, the first that of a row.
    pub dims: Vec<u64>,
    pub rows: usize,
    pub cols: usize,
    pub weights: Weights<'a>,
    pub transform: Transform,
    /// What all weights are multiplied with: the scale that llama.cpp keeps beside a ternary matrix.
    pub factor: Option<f32>,
    /// Whether these are the real parts of complex rows, followed by as many rows of imaginary parts.
    pub is_complex: bool,
}

/// The weights as the source has them.
pub(super) enum Weights<'a> {
    /// Rows of ggml's blocks.
    Blocks { ty: GgmlType, data: Cow<'a, [u8]> },
    /// bitnet.cpp's ternary codes, and their scale.
    I2s { order: I2sOrder, data: &'a [u8] },
    /// transformers' ternary codes, rows of four quarters of the matrix in a byte; their scale is the tensor's factor.
    TernaryBytes { data: &'a [u8] },
    /// A packed matrix.
    Packed { packed: Packed<'a>, data: &'a [u8] },
    /// Complex numbers, whose parts are tensors of their own.
    Complex(ComplexWeights<'a>),
}

impl Weights<'_> {
    /// The bytes of blocks or packed codes; none of complex weights, which are several tensors.
    pub fn data(&self) -> &[u8] {
        match self {
            Weights::Blocks { data, .. } => data,
            Weights::I2s { data, .. } | Weights::Packed { data, .. } | Weights::TernaryBytes { data } => data,
            Weights::Complex(_) => &[],
        }
    }
}

/// What is done to the weights on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Transform {
    None,
    /// Rows of a head that turn together become neighbours: row 2i is the old row i, row 2i + 1 the old row
    /// i + head_dim / 2. llama.cpp's `llama` has its queries and keys so, while transformers rotates halves.
    RopePairs {
        head_dim: usize,
    },
    /// BitNet's ternary weights: scale * round(w / scale), limited to -1..=1.
    Ternary {
        scale: f32,
    },
}

impl<'a> SourceTensor<'a> {
    /// # Errors
    /// [`PackError::TooLarge`] if the tensor cannot be addressed, [`PackError::Type`] if its type is not known here.
    fn new(name: &str, dims: &[u64], weights: Weights<'a>) -> Result<Self, PackError> {
        let too_large = || PackError::TooLarge {
            name: name.to_owned(),
            dims: dims.to_vec(),
        };
        let length = |length: u64| usize::try_from(length).map_err(|_| too_large());
        let cols = length(dims.first().copied().unwrap_or(1))?;
        let rows = dims.iter().skip(1).try_fold(1u64, |rows, &dim| rows.checked_mul(dim));
        let rows = length(rows.ok_or_else(too_large)?)?;
        if let Weights::Blocks { ty, .. } = weights
            && !dequantize::is_known(ty)
        {
            return Err(PackError::Type {
                name: name.to_owned(),
                ty,
            });
        }
        Ok(Self {
            name: name.to_owned(),
            dims: dims.to_vec(),
            rows,
            cols,
            weights,
            transform: Transform::None,
            factor: None,
            is_complex: false,
        })
    }

    /// What does not fit the packed layout, named.
    pub(super) fn format_error(&self, source: FormatError) -> PackError {
        PackError::Format {
            name: self.name.clone(),
            source,
        }
    }

    pub(super) fn weight_count(&self) -> u64 {
        self.rows as u64 * self.cols as u64
    }

    pub(super) fn shape(&self) -> TensorShape {
        match self.dims[..] {
            [_] => TensorShape::vector(&self.name, self.rows * self.cols),
            _ => TensorShape::matrix(&self.name, self.rows, self.cols),
        }
    }

    /// All weights, row after row.
    ///
    /// # Errors
    /// [`PackError::NotFinite`].
    fn read(&self) -> Result<Vec<f32>, PackError> {
        let mut weights = vec![0.0; self.rows * self.cols];
        for (row, out) in weights.chunks_exact_mut(self.cols.max(1)).enumerate() {
            self.read_row(row, out);
            if !out.iter().all(|weight| weight.is_finite()) {
                let name = self.name.clone();
                return Err(PackError::NotFinite { name, row });
            }
        }
        Ok(weights)
    }

    /// What the weights are stored as.
    pub(super) fn type_name(&self) -> &'static str {
        match &self.weights {
            Weights::Blocks { ty, .. } => ty.name(),
            Weights::I2s { .. } => GgmlType::I2_S.name(),
            Weights::TernaryBytes { .. } => "U8",
            Weights::Packed { .. } => "packed",
            Weights::Complex(complex) => complex.ty().name(),
        }
    }

    /// Writes row `row` as floats. `out` is `cols` long.
    pub(super) fn read_row(&self, row: usize, out: &mut [f32]) {
        let row = match self.transform {
            Transform::RopePairs { head_dim } => {
                let (head, i) = (row / head_dim, row % head_dim);
                head * head_dim + i % 2 * (head_dim / 2) + i / 2
            }
            Transform::None | Transform::Ternary { .. } => row,
        };
        match &self.weights {
            Weights::Blocks { ty, data } => {
                // Exactly as long as the shape says: that was checked when the file was opened.
                let row_bytes = data.len() / self.rows;
                let row = data.get(row * row_bytes..).unwrap_or_default();
                dequantize::row(*ty, row, out);
            }
            Weights::I2s { order, data } => ternary::read_i2s_row(*order, data, row, out),
            Weights::TernaryBytes { data } => ternary::read_quarters_row(data, self.rows, row, out),
            Weights::Packed { packed, .. } if packed.codes() == Codes::PhaseComplex => {
                // Its real form's rows are `[a, b]` and `[b, -a]`: the part and the other one.
                let mut both = vec![0.0; packed.cols()];
                let _ = Matrix::Packed(*packed).dequantize_row(row, &mut both);
                out.copy_from_slice(&both[..self.cols]);
            }
            Weights::Packed { packed, .. } => {
                // The row exists and `out` has its length.
                let _ = Matrix::Packed(*packed).dequantize_row(row, out);
            }
            Weights::Complex(complex) => complex.read_row(row, out),
        }
        if let Transform::Ternary { scale } = self.transform {
            for weight in out.iter_mut() {
                *weight = scale * (*weight / scale).round_ties_even().clamp(-1.0, 1.0);
            }
        }
        if let Some(factor) = self.factor {
            out.iter_mut().for_each(|weight| *weight *= factor);
        }
    }
}

/// Sets the tokenizer and the chat template of a GGUF, or of a directory with a `tokenizer.json`, for a model with so many
/// tokens.
pub(super) fn set_tokenizer(path: &Path, vocab_size: usize, writer: &mut Writer) -> Result<()> {
    if path.is_dir() {
        return huggingface::set_tokenizer(path, vocab_size, writer);
    }
    let file = ModelFile::open(path)?;
    let gguf = file.gguf()?;
    writer.copy_metadata(&gguf, |key| key.starts_with("tokenizer."))?;
    Ok(())
}

/// How many tokens the tokenizer of a GGUF, or of a directory with a `tokenizer.json`, has.
///
/// # Errors
/// Whatever is wrong with the files: [`PackError`], or [`Error::ModelFile`] and [`Error::Io`] for a GGUF.
pub fn vocab_size(tokenizer: impl AsRef<Path>) -> Result<usize> {
    let path = tokenizer.as_ref();
    if path.is_dir() {
        return huggingface::vocab_size(path);
    }
    let file = ModelFile::open(path)?;
    let tokens = file.gguf()?.strings("tokenizer.ggml.tokens")?.len();
    Ok(tokens)
}

/// Where `part` lies in `whole`, if it does.
fn place_of(part: &[u8], whole: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

/// The packed matrix that an I8 tensor holds, if it holds one.
fn packed_tensor<'a>(name: &str, data: &'a [u8]) -> Result<SourceTensor<'a>, PackError> {
    let packed = Packed::from_file_bytes(data).map_err(|source| PackError::Format {
        name: name.to_owned(),
        source,
    })?;
    let is_complex = packed.codes() == Codes::PhaseComplex;
    let cols = if is_complex { packed.cols() / 2 } else { packed.cols() };
    let dims = [cols as u64, packed.rows() as u64];
    Ok(SourceTensor {
        is_complex,
        ..SourceTensor::new(name, &dims, Weights::Packed { packed, data })?
    })
}
