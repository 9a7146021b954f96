use super::tensors::{Place, Plan};
use super::{LoadOptions, read_config};
use crate::Result;
use crate::gguf::Gguf;
use crate::transformer::{Config, KvCache, workspace_len};
use halfpi_kernels::ops::{KvElement, OpError};

/// What it takes to run a model, found from its file's header: nothing is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// The model's shape.
    pub config: Config,
    /// Bytes of weights that are used in the mapped file as they are.
    pub mapped_bytes: usize,
    /// Bytes of weights that loading packs into memory of their own.
    pub converted_bytes: usize,
}

/// Bytes that a session takes beside the weights, which all sessions share; `usize::MAX` where they cannot be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionMemory {
    /// Keys and values of the whole context.
    pub kv_cache: usize,
    /// Working memory of a pass, and the scores of the vocabulary.
    pub workspace: usize,
}

impl ModelInfo {
    /// Finds and checks every tensor, as loading would.
    ///
    /// # Errors
    /// As [`LoadedModel::new`](super::LoadedModel::new): the file does not run here.
    pub fn inspect(gguf: &Gguf<'_>, options: LoadOptions) -> Result<Self> {
        let config = read_config(gguf)?;
        let plan = Plan::new(gguf, &config, options)?;
        let mapped = plan.places.values().map(|place| match place {
            Place::File { bytes, .. } | Place::Packed { bytes, .. } => bytes.len(),
            Place::Arena { .. } | Place::Floats { .. } => 0,
        });
        Ok(ModelInfo {
            config,
            mapped_bytes: mapped.sum(),
            converted_bytes: plan.arena_bytes + plan.vector_floats * size_of::<f32>(),
        })
    }

    /// What a session takes that reads prompts in chunks of `prefill_chunk` positions with `threads` threads.
    ///
    /// # Errors
    /// [`OpError`] if the context is 0 or heads of this shape cannot be cached.
    pub fn session_memory(
        &self,
        context_length: usize,
        element: KvElement,
        prefill_chunk: usize,
        threads: usize,
    ) -> Result<SessionMemory, OpError> {
        let layout = KvCache::layout(&self.config, context_length, element)?;
        let chunk = prefill_chunk.min(context_length);
        let floats = workspace_len(&self.config, &layout, chunk, threads).saturating_add(self.config.vocab_size);
        // The token ids are as wide as the floats.
        let numbers = floats.saturating_add(context_length);
        Ok(SessionMemory {
            kv_cache: KvCache::bytes(&self.config, &layout),
            workspace: numbers.saturating_mul(size_of::<f32>()),
        })
    }
}
