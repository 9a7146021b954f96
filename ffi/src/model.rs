//! Model files, looked at without loading them.

use crate::worker::caught;
use crate::{EngineConfig, HalfpiError, SessionConfig};
use halfpi::gguf::{GgmlType, Gguf, ModelFile, Value};
use halfpi::model::LoadOptions;
use halfpi::pool::Pool;
use halfpi_kernels::Backend;
use halfpi_kernels::format::{Codes, Packed};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ModelSource {
    /// A file.
    Path {
        /// Where it lies.
        path: String,
    },
}

impl ModelSource {
    pub(crate) fn open(&self) -> Result<ModelFile, HalfpiError> {
        let ModelSource::Path { path } = self;
        ModelFile::open(path).map_err(|error| HalfpiError::new(&error, path))
    }

    /// For messages.
    pub(crate) fn name(&self) -> String {
        let ModelSource::Path { path } = self;
        path.clone()
    }
}

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct ModelInfo {
    /// `general.name`.
    pub name: Option<String>,
    /// The family, as `general.architecture` names it.
    pub architecture: String,
    /// Weights.
    pub parameters: u64,
    /// Tokens that the model was trained for.
    pub context_length: u64,
    /// Tokens of its vocabulary.
    pub vocab_size: u64,
    /// Transformer layers.
    pub layers: u64,
    /// Size of the file.
    pub file_bytes: u64,
    /// Bits of the file's tensors per weight.
    pub bits_per_weight: f64,
    /// `general.license`.
    pub license: Option<String>,
    /// Whether the file has a chat template; without one, ChatML is used.
    pub has_chat_template: bool,
}

/// Memory that a model takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct MemoryNeeded {
    /// Weights used in the mapped file: the system can drop and reread them.
    pub weights_bytes: u64,
    /// Weights that loading converts into memory of the process.
    pub heap_bytes: u64,
    /// One session at its full context.
    pub session_bytes: u64,
    /// All three.
    pub total_bytes: u64,
}

/// Reads a model's header. Nothing is loaded.
///
/// # Errors
/// `Io`, `ModelFile`, `Unsupported`: the model would not load either.
#[uniffi::export]
pub fn inspect_model(source: ModelSource) -> Result<ModelInfo, HalfpiError> {
    caught(|| {
        let file = source.open()?;
        info(&file).map_err(|error| HalfpiError::new(&error, &source.name()))
    })
}

/// What loading a model and opening one session will take. Nothing is loaded.
///
/// # Errors
/// As [`inspect_model`], and those of the options.
#[uniffi::export]
pub fn memory_needed(
    source: ModelSource,
    config: EngineConfig,
    session: SessionConfig,
) -> Result<MemoryNeeded, HalfpiError> {
    caught(|| {
        let file = source.open()?;
        let options = config.options()?;
        let refuse = |error: halfpi::Error| HalfpiError::new(&error, &source.name());
        let load = load_options(options.backend.unwrap_or_else(Backend::detect));
        let gguf = file.gguf().map_err(refuse)?;
        let info = halfpi::model::ModelInfo::inspect(&gguf, load).map_err(refuse)?;
        let trained = info.config.context_length;
        let context_length = session
            .context_length
            .map_or(trained.min(4096), |length| length as usize);
        if !(1..=trained).contains(&context_length) {
            let detail = format!("{context_length} is not from 1 to {trained}, which this model has");
            return Err(HalfpiError::option("context_length", detail));
        }
        let threads = options.threads.unwrap_or_else(Pool::default_threads);
        let memory = info
            .session_memory(context_length, session.kv_element(), options.prefill_chunk, threads)
            .map_err(|error| HalfpiError::option("context_length", error.to_string()))?;
        let session_bytes = memory.kv_cache.saturating_add(memory.workspace) as u64;
        let (weights_bytes, heap_bytes) = (info.mapped_bytes as u64, info.converted_bytes as u64);
        Ok(MemoryNeeded {
            weights_bytes,
            heap_bytes,
            session_bytes,
            total_bytes: weights_bytes.saturating_add(heap_bytes).saturating_add(session_bytes),
        })
    })
}

fn load_options(backend: Backend) -> LoadOptions {
    LoadOptions {
        expand_trits: !backend.looks_up_trits(),
        ..LoadOptions::default()
    }
}

/// What a file says of itself.
pub(crate) fn info(file: &ModelFile) -> halfpi::Result<ModelInfo> {
    let gguf = file.gguf()?;
    let config = halfpi::model::ModelInfo::inspect(&gguf, load_options(Backend::detect()))?.config;
    let text = |key: &str| gguf.get(key).and_then(Value::as_str).map(str::to_owned);
    let parameters = parameters(&gguf);
    let bytes: u64 = gguf.tensors().iter().map(|tensor| tensor.bytes).sum();
    Ok(ModelInfo {
        name: text("general.name"),
        architecture: gguf.str("general.architecture")?.to_owned(),
        parameters,
        context_length: config.context_length as u64,
        vocab_size: config.vocab_size as u64,
        layers: config.block_count as u64,
        file_bytes: file.bytes().len() as u64,
        bits_per_weight: bytes as f64 * 8.0 / parameters.max(1) as f64,
        license: text("general.license"),
        has_chat_template: gguf.get("tokenizer.chat_template").is_some(),
    })
}

/// Weights of all tensors.
fn parameters(gguf: &Gguf<'_>) -> u64 {
    let count = |tensor: &halfpi::gguf::TensorInfo<'_>| {
        let packed = (tensor.ty == GgmlType::I8).then(|| Packed::from_file_bytes(gguf.data(tensor)).ok());
        match packed.flatten() {
            // The real form of complex weights has each part twice.
            Some(packed) => {
                let times = if packed.codes() == Codes::PhaseComplex { 2 } else { 1 };
                (packed.rows() * packed.cols() / times) as u64
            }
            None => tensor.dims().iter().product(),
        }
    };
    gguf.tensors().iter().map(count).sum()
}
