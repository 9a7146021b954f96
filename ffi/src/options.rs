//! What callers choose, as records with the defaults of the core.

use crate::{HalfpiError, ModelSource, ToolDeclaration};
use halfpi::constrain::Constraint;
use halfpi::engine::EngineOptions;
use halfpi::sampler::SamplerOptions;
use halfpi::session;
use halfpi::session::{CancelToken, GenerateOptions, SessionOptions};
use halfpi::transformer::Precision;
use halfpi_kernels::Backend;
use halfpi_kernels::ops::KvElement;
use std::sync::Arc;

#[cfg(test)]
mod defaults;

/// More threads than any phone has cores.
pub(crate) const MOST_THREADS: u32 = 64;
/// Positions of a prompt that run together: more take memory and are no faster.
const MOST_PREFILL: u32 = 4096;

/// How an engine works.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct EngineConfig {
    /// Threads, 1 to 64; none for one for each fast core.
    #[uniffi(default = None)]
    pub threads: Option<u32>,
    /// The instruction set, one of `available_backends`; none for the fastest.
    #[uniffi(default = None)]
    pub backend: Option<String>,
    /// Whether activations are f32 instead of int8: many times slower, for judging a model.
    #[uniffi(default = false)]
    pub exact: bool,
    /// Positions of a prompt that run together, 1 to 4096. More are faster, take more memory and delay a cancel.
    #[uniffi(default = 128)]
    pub prefill_chunk: u32,
    /// The most bytes that weights and sessions together may take; none for no limit. It is checked before weights are
    /// read, and whenever a session begins.
    #[uniffi(default = None)]
    pub memory_budget_bytes: Option<u64>,
    /// A low-rank adapter of the model (LoRA), in a GGUF file of its own; none for the model as it is. Conversations saved
    /// with it are taken up with it only.
    #[uniffi(default = None)]
    pub adapter: Option<ModelSource>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            threads: None,
            backend: None,
            exact: false,
            prefill_chunk: 128,
            memory_budget_bytes: None,
            adapter: None,
        }
    }
}

impl EngineConfig {
    pub(crate) fn options(&self) -> Result<EngineOptions, HalfpiError> {
        within("threads", self.threads.unwrap_or(1), MOST_THREADS)?;
        within("prefill_chunk", self.prefill_chunk, MOST_PREFILL)?;
        let backend = self.backend.as_deref();
        let find = |name: &str| Backend::from_name(name).ok_or_else(|| HalfpiError::no_backend(name));
        let adapter = self.adapter.as_ref().map(ModelSource::open).transpose()?;
        Ok(EngineOptions {
            threads: self.threads.map(|threads| threads as usize),
            backend: backend.map(find).transpose()?,
            precision: if self.exact { Precision::F32 } else { Precision::Int8 },
            prefill_chunk: self.prefill_chunk as usize,
            memory_budget: self.memory_budget_bytes,
            adapter: adapter.map(Arc::new),
            ..EngineOptions::default()
        })
    }
}

pub(crate) fn within(name: &str, value: u32, most: u32) -> Result<(), HalfpiError> {
    match (1..=most).contains(&value) {
        true => Ok(()),
        false => Err(HalfpiError::option(name, format!("{value} is not from 1 to {most}"))),
    }
}

/// What keys and values are stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Enum)]
pub enum KvPrecision {
    /// Half precision.
    #[default]
    F16,
    /// 8 bits: half the memory.
    Int8,
}

/// What happens when the conversation no longer fits in the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Enum)]
pub enum Overflow {
    /// The system message is kept and the oldest turns are forgotten.
    #[default]
    Slide,
    /// `ContextOverflow`; the conversation stays as it was.
    Error,
    /// The answer ends with `ContextFull`. A prompt that does not fit is an error.
    Stop,
}

/// What a session is made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, uniffi::Record)]
pub struct SessionConfig {
    /// The system message; none leaves it to the model's template.
    #[uniffi(default = None)]
    pub system: Option<String>,
    /// Tokens of prompt and answer together; none for 4096, or all that the model has.
    #[uniffi(default = None)]
    pub context_length: Option<u32>,
    /// What keys and values are stored as.
    pub kv_precision: KvPrecision,
    /// What happens when the context is full.
    pub overflow: Overflow,
    /// The tools that the model may call.
    #[uniffi(default = [])]
    pub tools: Vec<ToolDeclaration>,
    /// Whether the model thinks before it answers, for those that can do both; none leaves it to the template.
    #[uniffi(default = None)]
    pub thinking: Option<bool>,
}

impl SessionConfig {
    pub(crate) fn options(self) -> SessionOptions {
        SessionOptions {
            context_length: self.context_length.map(|length| length as usize),
            kv_element: match self.kv_precision {
                KvPrecision::F16 => KvElement::F16,
                KvPrecision::Int8 => KvElement::Int8,
            },
            overflow: match self.overflow {
                Overflow::Slide => session::Overflow::Slide,
                Overflow::Error => session::Overflow::Error,
                Overflow::Stop => session::Overflow::Stop,
            },
            system: self.system,
            tools: self.tools.into_iter().map(Into::into).collect(),
            thinking: self.thinking,
        }
    }
}

/// How an answer is made.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct GenerationOptions {
    /// The most tokens of an answer; none for as many as the context is long. 0 only reads the prompt.
    #[uniffi(default = None)]
    pub max_tokens: Option<u32>,
    /// Below 1 sharpens, above 1 flattens, 0 takes the most likely token.
    #[uniffi(default = 0.7)]
    pub temperature: f32,
    /// Keeps so many of the most likely tokens; 0 keeps all.
    #[uniffi(default = 40)]
    pub top_k: u32,
    /// Keeps the fewest most likely tokens that together have this probability; 1 keeps all.
    #[uniffi(default = 0.95)]
    pub top_p: f32,
    /// Drops tokens less likely than this share of the most likely one; 0 keeps all.
    #[uniffi(default = 0.05)]
    pub min_p: f32,
    /// Makes tokens of the last `penalty_last_n` less likely; 1 is off.
    #[uniffi(default = 1.1)]
    pub repetition_penalty: f32,
    /// Subtracted from a token's score once for each time it occurred; 0 is off.
    #[uniffi(default = 0.0)]
    pub frequency_penalty: f32,
    /// Subtracted from a token's score if it occurred; 0 is off.
    #[uniffi(default = 0.0)]
    pub presence_penalty: f32,
    /// How many of the last tokens the penalties look at; 0 switches them off.
    #[uniffi(default = 64)]
    pub penalty_last_n: u32,
    /// Seed of the generator; none takes one from the operating system.
    #[uniffi(default = None)]
    pub seed: Option<u64>,
    /// Texts that end the answer; they are not part of it.
    #[uniffi(default = [])]
    pub stop: Vec<String>,
    /// Holds the answer to this JSON schema: its text is a value of it and nothing else. The prompt should say so too.
    /// Such an answer calls no tools, and thinks before only if the session's `thinking` is true.
    #[uniffi(default = None)]
    pub json_schema: Option<String>,
}

impl Default for GenerationOptions {
    fn default() -> Self {
        let sampler = SamplerOptions::default();
        GenerationOptions {
            max_tokens: None,
            temperature: sampler.temperature,
            top_k: sampler.top_k,
            top_p: sampler.top_p,
            min_p: sampler.min_p,
            repetition_penalty: sampler.repetition_penalty,
            frequency_penalty: sampler.frequency_penalty,
            presence_penalty: sampler.presence_penalty,
            penalty_last_n: sampler.penalty_last_n,
            seed: sampler.seed,
            stop: Vec::new(),
            json_schema: None,
        }
    }
}

impl GenerationOptions {
    /// Checked here, so that the caller hears of a mistake from the call itself.
    pub(crate) fn options(self, cancel: CancelToken) -> Result<GenerateOptions, HalfpiError> {
        let sampler = SamplerOptions {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            penalty_last_n: self.penalty_last_n,
            seed: self.seed,
        };
        let refuse = |error: halfpi::Error| HalfpiError::new(&error, "");
        sampler.validate().map_err(|error| refuse(error.into()))?;
        let schema = self.json_schema.as_deref().map(Constraint::json_schema);
        Ok(GenerateOptions {
            sampler,
            max_tokens: self.max_tokens.map(|tokens| tokens as usize),
            stop: self.stop,
            constraint: schema.transpose().map_err(|error| refuse(error.into()))?,
            cancel: Some(cancel),
        })
    }
}
