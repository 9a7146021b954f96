use super::tensors::Plan;
use super::{LoadOptions, read_config};
use crate::Result;
use crate::gguf::{GgmlType, Gguf, TensorInfo};
use crate::template::ChatTemplate;
use crate::transformer::{Config, KvCache, workspace_len};
use halfpi_kernels::format::{Codes, Packed};
use halfpi_kernels::ops::{KvElement, OpError};

/// A model, and what it takes to run it, found from its file's header: nothing is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Its name, if the file has one.
    pub name: Option<String>,
    /// Its licence, if the file names one: an SPDX name, usually.
    pub license: Option<String>,
    /// The model's shape: family, layers, vocabulary, context.
    pub config: Config,
    /// Weights and biases, as many as the model was trained with.
    pub parameters: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of its tensors.
    pub tensor_bytes: u64,
    /// The file says how a conversation is written. (Without it, ChatML is taken.)
    pub has_chat_template: bool,
    /// The template has its model call tools. (Without, sessions describe them in the system message.)
    pub supports_tools: bool,
    /// The model thinks before it answers, or can.
    pub supports_thinking: bool,
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

impl SessionMemory {
    /// For prompts that are read in chunks of `prefill_chunk` positions with `threads` threads.
    ///
    /// # Errors
    /// [`OpError`] if the context is 0 or heads of this shape cannot be cached.
    pub fn of(
        config: &Config,
        context_length: usize,
        element: KvElement,
        prefill_chunk: usize,
        threads: usize,
    ) -> Result<Self, OpError> {
        let layout = KvCache::layout(config, context_length, element)?;
        let chunk = prefill_chunk.min(context_length);
        let floats = workspace_len(config, &layout, chunk, threads).saturating_add(config.vocab_size);
        // The token ids are as wide as the floats.
        let numbers = floats.saturating_add(context_length);
        Ok(SessionMemory {
            kv_cache: KvCache::bytes(config, &layout),
            workspace: numbers.saturating_mul(size_of::<f32>()),
        })
    }

    /// Both together.
    pub fn total(&self) -> u64 {
        (self.kv_cache as u64).saturating_add(self.workspace as u64)
    }
}

impl ModelInfo {
    /// Finds and checks every tensor, as loading would, but for the scales, which are in the weights.
    ///
    /// # Errors
    /// As [`LoadedModel::new`](super::LoadedModel::new): the file does not run here.
    pub fn inspect(gguf: &Gguf<'_>, options: LoadOptions) -> Result<Self> {
        let config = read_config(gguf)?;
        let plan = Plan::new(gguf, &config, options)?;
        let text = |key| Ok::<_, crate::Error>(gguf.opt_str(key)?.map(str::to_owned));
        let source = gguf.opt_str("tokenizer.chat_template")?;
        // What the tokens are called that begin and end a text makes no difference here; that a template is broken is
        // for loading to say.
        let template = source.and_then(|source| ChatTemplate::new(source, "", "").ok());
        let parameters = |tensor| logical_shape(gguf, tensor).iter().product::<u64>();
        Ok(ModelInfo {
            name: text("general.name")?,
            license: text("general.license")?,
            config,
            parameters: gguf.tensors().iter().map(parameters).sum(),
            file_bytes: gguf.file_bytes(),
            tensor_bytes: gguf.tensors().iter().map(|tensor| tensor.bytes).sum(),
            has_chat_template: source.is_some(),
            supports_tools: template.as_ref().is_some_and(ChatTemplate::supports_tools),
            supports_thinking: template.as_ref().is_some_and(ChatTemplate::supports_thinking),
            mapped_bytes: plan.mapped_bytes(),
            converted_bytes: plan.heap_bytes(),
        })
    }

    /// Bits that a weight takes in the file, on average.
    pub fn bits_per_weight(&self) -> f64 {
        self.tensor_bytes as f64 * 8.0 / self.parameters.max(1) as f64
    }

    /// Bytes of all weights when they are loaded.
    pub fn weight_bytes(&self) -> u64 {
        (self.mapped_bytes as u64).saturating_add(self.converted_bytes as u64)
    }

    /// What a session takes that reads prompts in chunks of `prefill_chunk` positions with `threads` threads.
    ///
    /// # Errors
    /// As [`SessionMemory::of`].
    pub fn session_memory(
        &self,
        context_length: usize,
        element: KvElement,
        prefill_chunk: usize,
        threads: usize,
    ) -> Result<SessionMemory, OpError> {
        SessionMemory::of(&self.config, context_length, element, prefill_chunk, threads)
    }
}

/// The shape of a tensor as the model has it, columns first. Packed matrices lie in the file as bytes: their header says
/// theirs.
pub fn logical_shape(gguf: &Gguf<'_>, tensor: &TensorInfo<'_>) -> Vec<u64> {
    let packed = (tensor.ty == GgmlType::I8)
        .then(|| Packed::from_file_bytes(gguf.data(tensor)).ok())
        .flatten();
    match packed {
        Some(packed) => {
            // The real form of complex weights has each part twice.
            let times = if packed.codes() == Codes::PhaseComplex { 2 } else { 1 };
            vec![packed.cols() as u64 / times, packed.rows() as u64]
        }
        None => tensor.dims().to_vec(),
    }
}
