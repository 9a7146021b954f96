//! Whether a model fits in a machine's memory, before it is loaded.

use super::{EngineError, EngineOptions};
use crate::Result;
use crate::gguf::ModelFile;
use crate::model::{ModelInfo, SessionMemory};
use crate::pool::Pool;
use crate::session::SessionOptions;

/// Bytes that a model and one session take. The tokenizer's tables, some megabytes, do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNeeded {
    /// Weights that are used in the mapped file: the system may drop them and read them again, which is slow.
    pub mapped: u64,
    /// Weights that are converted into memory of the process.
    pub heap: u64,
    /// Keys and values of a session, filled to the end, and its working memory.
    pub session: u64,
}

impl MemoryNeeded {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.mapped.saturating_add(self.heap).saturating_add(self.session)
    }
}

impl ModelInfo {
    /// What a file is, and what it takes to run it with these options. Only the header is read.
    ///
    /// # Errors
    /// As [`Engine::load`](super::Engine::load): the file does not run here. No budget is looked at.
    pub fn of(file: &ModelFile, options: &EngineOptions) -> Result<Self> {
        let load = options.load(options.backend()?);
        ModelInfo::inspect(&file.gguf()?, load).map_err(|error| file.name_in(error))
    }

    /// What an engine with one session takes.
    ///
    /// # Errors
    /// [`EngineError::ContextLength`] and [`EngineError::Forward`], as making the session has them.
    pub fn memory_needed(&self, engine: &EngineOptions, session: &SessionOptions) -> Result<MemoryNeeded, EngineError> {
        let context_length = session.context_length(&self.config)?;
        let threads = engine.threads().clamp(1, Pool::MAX_THREADS);
        let chunk = engine.prefill_chunk.max(1);
        let memory = SessionMemory::of(&self.config, context_length, session.kv_element, chunk, threads);
        let memory = memory.map_err(|error| EngineError::Forward(error.into()))?;
        Ok(MemoryNeeded {
            mapped: self.mapped_bytes as u64,
            heap: self.converted_bytes as u64,
            session: memory.total(),
        })
    }
}
