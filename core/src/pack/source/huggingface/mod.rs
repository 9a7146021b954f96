//! A directory of the Hugging Face hub as a source.

mod bitlinear;
mod config;
mod export;
mod names;
mod safetensors;
mod tensors;
mod tokenizer;

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use self::config::{ModelConfig, SpecialTokens};
pub(in super::super) use self::export::tokenizer_files;
pub use self::names::hub_name;
use self::safetensors::Shards;
use self::tokenizer::ImportedTokenizer;
pub(super) use self::tokenizer::vocab_size;
use super::{PackError, SourceTensor};
use crate::gguf::Writer;
use crate::transformer::Config;
use crate::{Error, Result};

/// The largest JSON or text file that is read. Real tokenizers take up to 40 MB.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// A checkpoint with everything that was read from its small files. The weights stay in theirs.
pub(super) struct Checkpoint {
    name: String,
    config: ModelConfig,
    tokenizer: ImportedTokenizer,
    shards: Shards,
}

impl Checkpoint {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let config = ModelConfig::read(directory)?;
        config.check().map_err(|error| match error {
            Error::Model(source) => Error::from(PackError::Config {
                path: directory.join("config.json"),
                source,
            }),
            other => other,
        })?;
        let shards = Shards::open(directory)?;
        // Refuses missing and misshapen tensors here, so that config.json can be believed from now on.
        tensors::tensors(&config, &shards)?;
        Ok(Self {
            name: directory_name(directory),
            tokenizer: ImportedTokenizer::read(directory, config.config.vocab_size, config.special)?,
            config,
            shards,
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config.config
    }

    pub(super) fn set_metadata(&self, writer: &mut Writer) -> Result<()> {
        writer.set("general.type", "model")?;
        writer.set("general.name", self.name.as_str())?;
        writer.set("general.quantization_version", 2u32)?;
        self.config.set_metadata(writer)?;
        self.tokenizer.set_metadata(writer)
    }

    pub(super) fn release(&self, data: &[u8]) {
        self.shards.release(data);
    }

    pub(super) fn tensors(&self) -> Result<Vec<SourceTensor<'_>>> {
        tensors::tensors(&self.config, &self.shards)
    }
}

/// Sets the tokenizer and the chat template of a directory that need not hold a model, for one with so many tokens.
pub(super) fn set_tokenizer(directory: &Path, vocab_size: usize, writer: &mut Writer) -> Result<()> {
    ImportedTokenizer::read(directory, vocab_size, SpecialTokens::default())?.set_metadata(writer)
}

fn directory_name(directory: &Path) -> String {
    let whole = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads a text file, or `None` if there is none.
fn read_text(path: &Path) -> Result<Option<String>> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
        Ok(metadata) if !metadata.is_file() || metadata.len() > MAX_TEXT_BYTES => {
            return Err(PackError::NotText { path: path.to_owned() }.into());
        }
        Ok(_) => {}
    }
    fs::read_to_string(path).map(Some).map_err(io)
}

/// Reads a JSON file, or `None` if there is none.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    let value = serde_json::from_str(&text).map_err(|source| PackError::Json {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(value))
}

/// What [`read_json`] found, or an error that says what the file is for.
fn required<T>(path: PathBuf, value: Option<T>, purpose: &'static str) -> Result<T, PackError> {
    value.ok_or(PackError::MissingFile { path, purpose })
}
