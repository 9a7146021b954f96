//! The one error type of this crate.
//!
//! Each module has its own structured error; this one says which part refused and keeps the module's error as its
//! source. Every message names the place and what the caller can do.

use std::path::PathBuf;

/// Why a call into halfpi failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened, read or mapped.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A model file or an archive could not be written.
    #[error("cannot write the file: {0}")]
    Write(#[source] std::io::Error),
    /// An archive could not be read from where it comes.
    #[error("cannot read the archive: {0}")]
    Read(#[source] std::io::Error),
    /// An archive is damaged, or none.
    #[error(transparent)]
    Archive(#[from] crate::archive::ArchiveError),
    /// A model file cannot be used. (A model that was given as bytes has the error itself instead.)
    #[error("{}: {source}", path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with what is in it.
        source: Box<Error>,
    },
    /// Not a valid GGUF, or it lacks what is asked of it.
    #[error(transparent)]
    Gguf(#[from] crate::gguf::GgufError),
    /// A valid GGUF, but not a model that runs.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// A model could not be packed or made.
    #[cfg(feature = "pack")]
    #[error(transparent)]
    Pack(#[from] crate::pack::PackError),
    /// The tokenizer in the model file is missing or broken.
    #[error(transparent)]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
    /// The chat template failed.
    #[error(transparent)]
    Template(#[from] crate::template::TemplateError),
    /// An answer cannot be held to a schema.
    #[error(transparent)]
    Schema(#[from] crate::constrain::SchemaError),
    /// A tool cannot be declared.
    #[error(transparent)]
    Tool(#[from] crate::tools::ToolError),
    /// A saved conversation cannot be taken up.
    #[error("{}: {source}", path.display())]
    SavedState {
        /// The file; `memory` if it was not given as one.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::session::StateError,
    },
    /// The engine or a session refused.
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
    /// The sampling options are out of range.
    #[error(transparent)]
    Sampler(#[from] crate::sampler::SamplerError),
}

impl Error {
    /// The error itself, without the name of the model file that it is about.
    pub fn inner(&self) -> &Error {
        match self {
            Error::ModelFile { source, .. } => source.inner(),
            error => error,
        }
    }
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
