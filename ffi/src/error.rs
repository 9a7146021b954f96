use halfpi::archive::ArchiveError;
use halfpi::engine::EngineError;
use halfpi::model::ModelError;
use halfpi::sampler::SamplerError;
use std::any::Any;

/// Why a call failed. Every text says what to do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error, uniffi::Error)]
pub enum HalfpiError {
    /// A file could not be opened, read or mapped.
    #[error("{path}: {detail}")]
    Io {
        /// The file.
        path: String,
        /// What the operating system said.
        detail: String,
    },
    /// A file is no model, or a damaged one.
    #[error("{path}: {detail}")]
    ModelFile {
        /// The file.
        path: String,
        /// What is wrong with it, and where.
        detail: String,
    },
    /// A file is no archive, a damaged one, or one of another or a larger model than expected. Nothing was written.
    #[error("{path}: {detail}")]
    Archive {
        /// The file.
        path: String,
        /// What is wrong with it, where, and what to do.
        detail: String,
    },
    /// A sound model file of a kind that does not run here.
    #[error("{detail}")]
    Unsupported {
        /// What is not supported.
        detail: String,
    },
    /// An instruction set was asked for that this processor does not run.
    #[error("there is no backend `{name}` here; these are: {}", available.join(", "))]
    Backend {
        /// The name asked for.
        name: String,
        /// The names of those that run.
        available: Vec<String>,
    },
    /// More memory is needed than the engine may take. Nothing was loaded.
    #[error("{detail}")]
    MemoryBudget {
        /// Bytes of everything together.
        needed_bytes: u64,
        /// Bytes allowed.
        budget_bytes: u64,
        /// What would need less.
        detail: String,
    },
    /// The operating system has no memory left.
    #[error("no memory for {bytes} bytes: {detail}")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
        /// What for, and what would need less.
        detail: String,
    },
    /// The prompt, or prompt and answer, do not fit in the context.
    #[error("{needed} tokens do not fit in a context of {context_length}: shorten the prompt or take a longer context")]
    ContextOverflow {
        /// Tokens needed.
        needed: u64,
        /// Tokens that fit.
        context_length: u64,
    },
    /// An option is out of its range.
    #[error("{name}: {detail}")]
    InvalidOption {
        /// The option.
        name: String,
        /// What it is and what it may be.
        detail: String,
    },
    /// A JSON schema that answers cannot be held to.
    #[error("{detail}")]
    Schema {
        /// What is wrong with it.
        detail: String,
    },
    /// The model's chat template refuses the conversation, or is broken.
    #[error("{detail}")]
    Template {
        /// What the template says.
        detail: String,
    },
    /// A saved conversation cannot be taken up. The session is as it was.
    #[error("{path}: {detail}")]
    SavedState {
        /// The file.
        path: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The session is answering: wait for it, cancel it, or use another session.
    #[error("the session is busy with an answer: wait for it, cancel it, or use another session")]
    SessionBusy,
    /// The engine or the session was closed.
    #[error("the engine or the session was closed")]
    Closed,
    /// The caller's listener wanted no more of a model that is loaded or unpacked.
    #[error("cancelled")]
    Cancelled,
    /// The caller's listener threw an exception, which ended the answer.
    #[error("a listener failed: {detail}")]
    Callback {
        /// What it threw.
        detail: String,
    },
    /// A mistake in halfpi itself. The engine goes on.
    #[error("a mistake in halfpi, please report it: {detail}")]
    Internal {
        /// What went wrong.
        detail: String,
    },
}

impl HalfpiError {
    /// `source` is the model or archive it is about, for errors that do not name it.
    pub(crate) fn new(error: &halfpi::Error, source: &str) -> Self {
        use halfpi::Error;
        let detail = error.inner().to_string();
        let path = match error {
            Error::ModelFile { path, .. } | Error::Io { path, .. } | Error::SavedState { path, .. } => {
                path.display().to_string()
            }
            _ => source.to_owned(),
        };
        match error.inner() {
            Error::Io { source, .. } => HalfpiError::Io {
                path,
                detail: source.to_string(),
            },
            Error::Read(source) => HalfpiError::Io {
                path,
                detail: source.to_string(),
            },
            Error::Archive(ArchiveError::Cancelled) => HalfpiError::Cancelled,
            Error::Archive(_) => HalfpiError::Archive { path, detail },
            Error::SavedState { source, .. } => HalfpiError::SavedState {
                path,
                detail: source.to_string(),
            },
            Error::Model(error) => Self::of_model(error, path),
            Error::Gguf(_) | Error::Tokenizer(_) => HalfpiError::ModelFile { path, detail },
            Error::Engine(error) => Self::of_engine(error, path),
            Error::Sampler(SamplerError::OutOfRange { option, .. }) => Self::option(option, detail),
            Error::Schema(_) => HalfpiError::Schema { detail },
            Error::Tool(_) => Self::option("tools", detail),
            Error::Template(_) => HalfpiError::Template { detail },
            _ => HalfpiError::Internal { detail },
        }
    }

    fn of_model(error: &ModelError, path: String) -> Self {
        let detail = error.to_string();
        match error {
            ModelError::Architecture { .. }
            | ModelError::Split { .. }
            | ModelError::UnusedTensor { .. }
            | ModelError::Type { .. }
            | ModelError::Scaled { .. } => HalfpiError::Unsupported {
                detail: format!("{path}: {detail}"),
            },
            ModelError::Cancelled => HalfpiError::Cancelled,
            &ModelError::Memory { bytes, .. } => HalfpiError::OutOfMemory {
                bytes: bytes as u64,
                detail,
            },
            _ => HalfpiError::ModelFile { path, detail },
        }
    }

    fn of_engine(error: &EngineError, path: String) -> Self {
        let detail = error.to_string();
        match error {
            EngineError::Backend { name, .. } => Self::no_backend(name),
            &EngineError::ContextOverflow { needed, context_length } => HalfpiError::ContextOverflow {
                needed: needed as u64,
                context_length: context_length as u64,
            },
            EngineError::EmptyPrompt => Self::option("prompt", detail),
            EngineError::ContextLength { .. } => Self::option("context_length", detail),
            &EngineError::MemoryBudget { needed, budget } => HalfpiError::MemoryBudget {
                needed_bytes: needed,
                budget_bytes: budget,
                detail,
            },
            &EngineError::Memory { bytes, .. } => HalfpiError::OutOfMemory {
                bytes: bytes as u64,
                detail,
            },
            EngineError::NotFinite => HalfpiError::ModelFile { path, detail },
            _ => HalfpiError::Internal { detail },
        }
    }

    pub(crate) fn no_backend(name: &str) -> Self {
        HalfpiError::Backend {
            name: name.to_owned(),
            available: crate::available_backends(),
        }
    }

    pub(crate) fn option(name: &str, detail: impl Into<String>) -> Self {
        HalfpiError::InvalidOption {
            name: name.to_owned(),
            detail: detail.into(),
        }
    }

    /// What a caught panic says.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        HalfpiError::Internal {
            detail: panic_text(panic).to_owned(),
        }
    }
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panicked")
}
