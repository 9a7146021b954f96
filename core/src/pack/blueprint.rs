//! Models whose weights are made here: everything of a model file but its weights.

use std::io::Write;
use std::path::Path;

use halfpi_kernels::format::Float;

use super::floats::encode_row;
use super::metadata::set_config;
use super::source::{set_tokenizer, tokenizer_files};
use super::{Format, PackError, Source, TensorShape};
use crate::engine::chat_template;
use crate::gguf::{AtomicFile, GgmlType, ModelFile, Writer};
use crate::model::{ModelError, read_metadata};
use crate::template::ChatTemplate;
use crate::tokenizer::{Tokenizer, Vocabulary};
use crate::transformer::Config;
use crate::{Error, Result};

/// A model without its weights: its shape, tokenizer and chat template, which training leaves as they are.
///
/// ```no_run
/// use halfpi::pack::{Blueprint, Source};
/// use halfpi_kernels::format::Float;
///
/// let source = Source::open("SmolLM2-135M-Instruct")?;
/// let blueprint = Blueprint::of(&source)?;
/// blueprint.write("trained.gguf".as_ref(), Float::F32, &source.shapes()?, |tensor| source.read(&tensor.name))?;
/// # Ok::<(), halfpi::Error>(())
/// ```
pub struct Blueprint {
    config: Config,
    /// The metadata, as a file without tensors.
    metadata: ModelFile,
}

impl Blueprint {
    /// All that a model has but its weights. Metadata that is not known here is kept too.
    ///
    /// # Errors
    /// As [`Source::config`], and [`TokenizerError`](crate::tokenizer::TokenizerError) if the tokenizer is broken.
    pub fn of(source: &Source) -> Result<Self> {
        let mut writer = Writer::new();
        source.set_metadata(&mut writer)?;
        Self::finish(source.config()?, writer)
    }

    /// A new model of this shape, with the tokenizer and the chat template of a GGUF or of a directory that has a
    /// `tokenizer.json`, whether there are weights beside it or not.
    ///
    /// # Errors
    /// [`ModelError::Vocabulary`] if the tokenizer has more tokens than the model, [`ModelError`] for a shape that no
    /// model has, and whatever is wrong with the tokenizer's files.
    pub fn new(config: &Config, tokenizer: impl AsRef<Path>) -> Result<Self> {
        let mut writer = Writer::new();
        writer.set("general.architecture", config.architecture.name())?;
        writer.set("general.type", "model")?;
        writer.set("general.quantization_version", 2u32)?;
        set_config(&mut writer, config)?;
        set_tokenizer(tokenizer.as_ref(), config.vocab_size, &mut writer)?;
        Self::finish(*config, writer)
    }

    fn finish(config: Config, writer: Writer) -> Result<Self> {
        let metadata = ModelFile::from_bytes(writer.write_header(Vec::new())?.finish()?)?;
        let blueprint = Self { config, metadata };
        // Refuses here what would be refused when the trained model is loaded.
        read_metadata(&blueprint.metadata.gguf()?, |_| Ok(config.vocab_size))?;
        let (tokens, rows) = (blueprint.tokenizer()?.vocab_size(), config.vocab_size);
        if tokens > rows {
            return Err(ModelError::Vocabulary { tokens, rows }.into());
        }
        Ok(blueprint)
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model's tokenizer.
    ///
    /// # Errors
    /// [`TokenizerError`](crate::tokenizer::TokenizerError) if it is broken.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Ok(Tokenizer::from_gguf(&self.metadata.gguf()?)?)
    }

    /// The model's chat template; ChatML if it has none.
    ///
    /// # Errors
    /// [`TemplateError`](crate::template::TemplateError) if it is broken.
    pub fn template(&self) -> Result<ChatTemplate> {
        chat_template(&self.metadata.gguf()?, &self.tokenizer()?)
    }

    /// `tokenizer.json` and its companions as the hub has them, by their names, the chat template among them; `None` where
    /// the metadata says too little for that: of tokenizers that are no byte-level BPE, or have a pre-tokenizer that is
    /// not known.
    ///
    /// # Errors
    /// [`TokenizerError`](crate::tokenizer::TokenizerError) if the tokenizer is broken.
    pub fn tokenizer_files(&self) -> Result<Option<Vec<(&'static str, serde_json::Value)>>> {
        let gguf = self.metadata.gguf()?;
        let template = gguf.opt_str("tokenizer.chat_template")?;
        Ok(tokenizer_files(&Vocabulary::from_gguf(&gguf)?, template))
    }

    /// The model with these weights, in memory: matrices as floats of type `float`, vectors as f32.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn to_model_file<E: From<Error>>(
        &self,
        float: Float,
        tensors: &[TensorShape],
        read: impl FnMut(&TensorShape) -> Result<Vec<f32>, E>,
    ) -> Result<ModelFile, E> {
        let header = self.header(float, tensors)?;
        let bytes = usize::try_from(header.file_bytes()).unwrap_or(usize::MAX);
        ModelFile::in_memory(bytes, |map| write_after(header, map, float, tensors, read).map(drop))
    }

    /// Writes the GGUF file `path` with these weights, matrices as floats of type `float`, vectors as f32. The file appears
    /// when it is complete. `read` gives the weights of one tensor at a time, row after row, in the order of `tensors`.
    ///
    /// # Errors
    /// [`PackError`] for weights that are too many, too few, not finite or too large for f16, [`Error::Io`] and
    /// [`Error::Write`] if the file cannot be written, and what `read` returns. The file that was there before is then still there.
    pub fn write<E: From<Error>>(
        &self,
        path: &Path,
        float: Float,
        tensors: &[TensorShape],
        read: impl FnMut(&TensorShape) -> Result<Vec<f32>, E>,
    ) -> Result<(), E> {
        let header = self.header(float, tensors)?;
        let file = AtomicFile::create(path)?;
        Ok(write_after(header, file, float, tensors, read)?.commit()?)
    }

    fn header(&self, float: Float, tensors: &[TensorShape]) -> Result<Writer> {
        let mut writer = Writer::new();
        writer.copy_metadata(&self.metadata.gguf()?, |_| true)?;
        let format = match float {
            Float::F32 => Format::F32,
            Float::F16 => Format::F16,
            Float::Bf16 => Format::Bf16,
        };
        if let Some(file_type) = format.file_type() {
            writer.set("general.file_type", file_type)?;
        }
        for tensor in tensors {
            writer.declare(&tensor.name, &tensor.dims(), ggml_type(tensor, float))?;
        }
        Ok(writer)
    }
}

/// What a tensor is stored as.
fn ggml_type(tensor: &TensorShape, float: Float) -> GgmlType {
    match float {
        _ if tensor.is_vector => GgmlType::F32,
        Float::F32 => GgmlType::F32,
        Float::F16 => GgmlType::F16,
        Float::Bf16 => GgmlType::BF16,
    }
}

fn write_after<W: Write, E: From<Error>>(
    header: Writer,
    out: W,
    float: Float,
    tensors: &[TensorShape],
    mut read: impl FnMut(&TensorShape) -> Result<Vec<f32>, E>,
) -> Result<W, E> {
    let mut out = header.write_header(out)?;
    let mut bytes = Vec::new();
    for tensor in tensors {
        let weights = read(tensor)?;
        if weights.len() != tensor.weights() {
            let error = PackError::WeightCount {
                name: tensor.name.clone(),
                expected: tensor.weights(),
                found: weights.len(),
            };
            return Err(Error::from(error).into());
        }
        for (row, weights) in weights.chunks(tensor.cols.max(1)).enumerate() {
            bytes.clear();
            encode_row(&tensor.name, row, weights, ggml_type(tensor, float), &mut bytes).map_err(Error::from)?;
            out.write(&tensor.name, &bytes)?;
        }
    }
    Ok(out.finish()?)
}
