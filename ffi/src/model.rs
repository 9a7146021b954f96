//! Model files, looked at without loading them.

use crate::worker::caught;
use crate::{EngineConfig, HalfpiError, SessionConfig};
use halfpi::engine::EngineOptions;
use halfpi::gguf::ModelFile;
use halfpi::model;

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ModelSource {
    /// A file.
    Path {
        /// Where it lies.
        path: String,
    },
    /// A part of a file that is open already, as Android hands out assets and documents. It is mapped where it lies, not
    /// copied. The descriptor is duplicated: the caller keeps its own, and may close it after the call.
    FileDescriptor {
        /// An open descriptor of a regular file.
        fd: i32,
        /// Where the model begins in it, in bytes.
        offset: u64,
        /// Its length in bytes; none for everything from `offset` on.
        length: Option<u64>,
    },
}

impl ModelSource {
    pub(crate) fn open(&self) -> Result<ModelFile, HalfpiError> {
        let file = match self {
            ModelSource::Path { path } => ModelFile::open(path),
            #[cfg(unix)]
            &ModelSource::FileDescriptor { fd, offset, length } => ModelFile::from_descriptor(fd, offset, length),
            #[cfg(not(unix))]
            ModelSource::FileDescriptor { .. } => {
                let detail = "this system has no file descriptors: give a path".to_owned();
                return Err(HalfpiError::Unsupported { detail });
            }
        };
        file.map_err(|error| HalfpiError::new(&error, &self.name()))
    }

    /// For messages.
    pub(crate) fn name(&self) -> String {
        match self {
            ModelSource::Path { path } => path.clone(),
            ModelSource::FileDescriptor { fd, .. } => format!("file descriptor {fd}"),
        }
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
    /// Whether the template has its model call tools. Without, sessions describe them in the system message.
    pub supports_tools: bool,
    /// Whether the model thinks before it answers, or can.
    pub supports_thinking: bool,
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

impl From<&model::ModelInfo> for ModelInfo {
    fn from(info: &model::ModelInfo) -> Self {
        ModelInfo {
            name: info.name.clone(),
            architecture: info.config.architecture.name().to_owned(),
            parameters: info.parameters,
            context_length: info.config.context_length as u64,
            vocab_size: info.config.vocab_size as u64,
            layers: info.config.block_count as u64,
            file_bytes: info.file_bytes,
            bits_per_weight: info.bits_per_weight(),
            license: info.license.clone(),
            has_chat_template: info.has_chat_template,
            supports_tools: info.supports_tools,
            supports_thinking: info.supports_thinking,
        }
    }
}

/// Reads a model's header. Nothing is loaded.
///
/// # Errors
/// `Io`, `ModelFile`, `Unsupported`: the model would not load either.
#[uniffi::export]
pub fn inspect_model(source: ModelSource) -> Result<ModelInfo, HalfpiError> {
    caught(|| inspect(&source, &source.open()?, &EngineOptions::default()).map(|info| ModelInfo::from(&info)))
}

/// What loading a model and opening one session will take. Nothing is loaded.
///
/// # Errors
/// As [`inspect_model`], and `InvalidOption` and `Backend` for the options.
#[uniffi::export]
pub fn memory_needed(
    source: ModelSource,
    config: EngineConfig,
    session: SessionConfig,
) -> Result<MemoryNeeded, HalfpiError> {
    caught(|| {
        let options = config.options()?;
        let info = inspect(&source, &source.open()?, &options)?;
        let needed = info.memory_needed(&options, &session.options());
        let needed = needed.map_err(|error| HalfpiError::new(&error.into(), &source.name()))?;
        Ok(MemoryNeeded {
            weights_bytes: needed.mapped,
            heap_bytes: needed.heap,
            session_bytes: needed.session,
            total_bytes: needed.total(),
        })
    })
}

/// What a file is, for an engine with these options.
pub(crate) fn inspect(
    source: &ModelSource,
    file: &ModelFile,
    options: &EngineOptions,
) -> Result<model::ModelInfo, HalfpiError> {
    model::ModelInfo::of(file, options).map_err(|error| HalfpiError::new(&error, &source.name()))
}
