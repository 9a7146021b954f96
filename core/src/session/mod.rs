//! A conversation: what has been said, and the cache of what the model has read of it.

mod answer;
mod cancel;
mod channels;
mod generate;
mod listener;
mod output;
mod prompt;
mod slot;
mod state;
mod tokens;

pub use answer::{Answer, FinishReason, GenerateOptions, Usage};
pub use cancel::CancelToken;
pub use listener::Listener;
pub use prompt::Prompt;
pub(crate) use slot::Slot;
pub use state::StateError;

use crate::Result;
use crate::engine::{Engine, EngineError};
use crate::model::SessionMemory;
use crate::template::{Message, Role};
use crate::tokenizer::Special;
use crate::tools::ToolDeclaration;
use crate::transformer::{Config, KvCache, Runtime, adapter_len, workspace_len};
use halfpi_kernels::Parallel;
use halfpi_kernels::ops::{KvElement, OpError};
use memmap2::MmapMut;
use slot::Buffers;
use std::sync::Arc;

/// The context of a session that does not ask for one, if the model has as much.
const DEFAULT_CONTEXT: usize = 4096;

/// What happens when the conversation no longer fits in the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overflow {
    /// [`EngineError::ContextOverflow`]; the conversation stays as it was before the call.
    Error,
    /// The system message is kept and the oldest turns are forgotten, so many that what is left fills half of the
    /// context. An answer that outgrows the context goes on with the system message and the later half of what
    /// followed it.
    #[default]
    Slide,
    /// The answer ends with [`FinishReason::ContextFull`]. A prompt that does not fit is an error.
    Stop,
}

/// What a session is made for.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Tokens of prompt and answer together; `None` for 4096, or all that the model has.
    pub context_length: Option<usize>,
    /// What keys and values are stored as.
    pub kv_element: KvElement,
    /// What happens when the context is full.
    pub overflow: Overflow,
    /// The system message; `None` leaves it to the template.
    pub system: Option<String>,
    /// The tools that the model may call.
    pub tools: Vec<ToolDeclaration>,
    /// Whether the model thinks before it answers, for those that can do both ([`Answer::thinking`]); `None` leaves it
    /// to the template.
    pub thinking: Option<bool>,
}

impl SessionOptions {
    /// The context of a session on a model of this shape.
    ///
    /// # Errors
    /// [`EngineError::ContextLength`] if what is asked for is 0, or longer than the model was trained for.
    pub fn context_length(&self, config: &Config) -> Result<usize, EngineError> {
        let most = config.context_length;
        let asked = self.context_length.unwrap_or(DEFAULT_CONTEXT.min(most));
        if asked == 0 || asked > most {
            return Err(EngineError::ContextLength { asked, most });
        }
        Ok(asked)
    }
}

/// A conversation on an [`Engine`].
///
/// It keeps the keys and values of the tokens that it has read, so that a next turn only reads what is new: the longest
/// common prefix of what is cached and what is asked stays.
pub struct Session {
    engine: Engine,
    options: SessionOptions,
    /// How conversations are written for the model.
    prompt: Prompt,
    context_length: usize,
    /// The cache and working memory.
    slot: Arc<Slot>,
    logits: Vec<f32>,
    /// The tokens whose keys and values are in the cache, or were until the engine gave them back.
    tokens: Vec<u32>,
    messages: Vec<Message>,
    /// The first turn, the system message not counted, that a conversation kept when it slid last.
    window: usize,
}

impl Session {
    pub(crate) fn new(engine: Engine, options: SessionOptions) -> Result<Self> {
        let config = *engine.config();
        let context_length = options.context_length(&config)?;
        let (chunk, threads) = (engine.prefill_chunk(), engine.pool().threads());
        let refused = |error| EngineError::Forward(OpError::into(error));
        let layout = KvCache::layout(&config, context_length, options.kv_element).map_err(refused)?;
        let needed = SessionMemory::of(&config, context_length, options.kv_element, chunk, threads).map_err(refused)?;
        let adapter = adapter_len(&config, engine.model().adapter_rank(), chunk.min(context_length));
        let total = (needed.total()).saturating_add(adapter.saturating_mul(size_of::<f32>()) as u64);
        let slot = engine.account().admit(total, || {
            // Anonymous memory costs nothing until it is written to, begins at a page, and can be refused.
            let map = |bytes| MmapMut::map_anon(bytes).map_err(|source| EngineError::Memory { bytes, source });
            let kv = map(KvCache::bytes(&config, &layout))?;
            let floats = workspace_len(&config, &layout, chunk.min(context_length), threads);
            let floats = floats.saturating_add(adapter);
            let workspace = map(floats.saturating_mul(size_of::<f32>()))?;
            Ok(Slot::new(layout, total, kv, workspace))
        })?;
        let prompt = Prompt::new(engine.tokenizer(), engine.template(), &options.tools, options.thinking)?;
        let mut session = Session {
            prompt,
            context_length,
            slot,
            logits: vec![0.0; config.vocab_size],
            tokens: Vec::with_capacity(context_length),
            messages: Vec::new(),
            window: 0,
            options,
            engine,
        };
        session.reset();
        Ok(session)
    }

    /// The engine it runs on.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Tokens of prompt and answer that fit together.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Tokens whose keys and values are cached: those of the last answer and its prompt, unless
    /// [`Engine::trim`](crate::engine::Engine::trim) gave them back.
    pub fn cached_tokens(&self) -> &[u32] {
        &self.tokens[..self.tokens.len().min(self.slot.positions())]
    }

    /// Everything said, the system message first.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Replaces what has been said, for instance with a stored conversation. What of it is cached stays cached.
    pub fn set_messages(&mut self, messages: Vec<Message>) {
        self.messages = messages;
        self.window = 0;
    }

    /// Starts the conversation anew, with the same system message.
    pub fn reset(&mut self) {
        let system = self.options.system.clone();
        self.set_messages(
            system
                .map(|text| Message::new(Role::System, text))
                .into_iter()
                .collect(),
        );
    }

    /// Bytes of the key/value cache at its full length.
    pub fn kv_bytes(&self) -> usize {
        self.slot.kv_bytes()
    }

    /// Tokens of a text, special ones counted as such.
    pub fn token_count(&self, text: &str) -> usize {
        self.engine.tokenizer().encode(text, Special::Parse).len()
    }

    /// Reads now what the next prompt will begin with, so that the next answer comes sooner: the system message, which
    /// may be the template's own, and what has been said. Does nothing if that does not fit in the context.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn prewarm(&mut self) -> Result<()> {
        self.prewarm_with(None)
    }

    /// The same until it is cancelled; what was read by then stays.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn prewarm_with(&mut self, cancel: Option<&CancelToken>) -> Result<()> {
        let tokens = self.lead(&self.messages)?;
        if !tokens.is_empty() && tokens.len() <= self.context_length {
            self.read(&tokens, cancel)?;
        }
        Ok(())
    }

    /// The tokens that every prompt begins with that continues these messages: what two questions, which have not
    /// even their first letter in common, have in common as prompts.
    fn lead(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let ask = |text| self.prompt_tokens(&[messages, &[Message::new(Role::User, text)]].concat(), false);
        let (mut lead, other) = (ask("a")?, ask("b")?);
        lead.truncate(common_prefix(&lead, &other));
        Ok(lead)
    }

    /// The tokens of a conversation, as the model's template writes it.
    fn prompt_tokens(&self, messages: &[Message], generation_prompt: bool) -> Result<Vec<u32>> {
        let (tokenizer, template) = (self.engine.tokenizer(), self.engine.template());
        self.prompt.tokens(tokenizer, template, messages, generation_prompt)
    }

    /// Makes the cache hold exactly `tokens` and leaves the scores of what may follow in `logits`. If it is cancelled,
    /// what was read until then stays.
    fn read(&mut self, tokens: &[u32], cancel: Option<&CancelToken>) -> Result<Reading, EngineError> {
        let (needed, context_length) = (tokens.len(), self.context_length);
        if needed > context_length {
            return Err(EngineError::ContextOverflow { needed, context_length });
        }
        let _in_use = self.slot.begin();
        self.tokens.truncate(self.slot.positions());
        // The last token always runs: its scores are wanted.
        let most = needed.checked_sub(1).ok_or(EngineError::EmptyPrompt)?;
        let cached = common_prefix(&self.tokens, tokens).min(most);
        self.tokens.truncate(cached);
        let chunk = self.engine.prefill_chunk();
        let mut rest = &tokens[cached..];
        while !rest.is_empty() && self.engine.may_go_on(cancel) {
            let (now, later) = rest.split_at(chunk.min(rest.len()));
            self.forward(now, later.is_empty())?;
            rest = later;
        }
        Ok(Reading {
            cached,
            read: self.tokens.len() - cached,
            cancelled: !rest.is_empty(),
        })
    }

    /// Appends tokens to the cache; the scores after the last ones go to `logits`, if wanted.
    fn forward(&mut self, tokens: &[u32], wanted: bool) -> Result<(), EngineError> {
        let _in_use = self.slot.begin();
        let kept = self.slot.positions();
        if kept < self.tokens.len() {
            // The engine was short of memory between two calls: what it gave back is read again.
            let lost = self.tokens.split_off(kept);
            for tokens in lost.chunks(self.engine.prefill_chunk()) {
                self.pass(tokens, false)?;
            }
        }
        self.pass(tokens, wanted)
    }

    /// One pass of the model over at most a chunk.
    fn pass(&mut self, tokens: &[u32], wanted: bool) -> Result<(), EngineError> {
        // The cache itself may be a little longer.
        let (needed, context_length) = (self.tokens.len() + tokens.len(), self.context_length);
        if needed > context_length {
            return Err(EngineError::ContextOverflow { needed, context_length });
        }
        let runtime = Runtime {
            backend: self.engine.backend(),
            parallel: self.engine.pool(),
            precision: self.engine.precision(),
        };
        let mut buffers = self.slot.lock();
        let Buffers {
            kv,
            workspace,
            positions,
            ..
        } = &mut *buffers;
        let mut cache = KvCache::new(*self.slot.layout(), kv).map_err(|error| EngineError::Forward(error.into()))?;
        let logits = if wanted { &mut self.logits[..] } else { &mut [] };
        let model = self.engine.model().model();
        let (first, memory) = (self.tokens.len(), bytemuck::cast_slice_mut(workspace));
        model.forward(&runtime, tokens, first, &mut cache, memory, logits)?;
        // All of them are looked at, which takes microseconds: looking for the first would take longer.
        if logits.iter().fold(false, |bad, score| bad | !score.is_finite()) {
            return Err(EngineError::NotFinite);
        }
        self.tokens.extend_from_slice(tokens);
        *positions = self.tokens.len();
        Ok(())
    }

    /// Runs `tokens` from an empty cache and calls `each(position, logits)` with the scores after every one of them:
    /// for judging models. The conversation is untouched, its cache is lost.
    ///
    /// # Errors
    /// [`EngineError::ContextOverflow`] and [`EngineError::Forward`].
    pub fn evaluate(&mut self, tokens: &[u32], mut each: impl FnMut(usize, &[f32])) -> Result<()> {
        let (needed, context_length) = (tokens.len(), self.context_length);
        if needed > context_length {
            return Err(EngineError::ContextOverflow { needed, context_length }.into());
        }
        let _in_use = self.slot.begin();
        self.tokens.clear();
        let vocab_size = self.engine.config().vocab_size;
        let chunk = self.engine.prefill_chunk().min(MAX_EVALUATED);
        let mut logits = vec![0.0; chunk.min(needed) * vocab_size];
        for tokens in tokens.chunks(chunk) {
            let first = self.tokens.len();
            logits.truncate(tokens.len() * vocab_size);
            std::mem::swap(&mut self.logits, &mut logits);
            let result = self.forward(tokens, true);
            std::mem::swap(&mut self.logits, &mut logits);
            result?;
            for (i, logits) in logits.chunks_exact(vocab_size).enumerate() {
                each(first + i, logits);
            }
        }
        Ok(())
    }
}

/// What reading a prompt took.
struct Reading {
    /// Tokens that were cached.
    cached: usize,
    /// Tokens that were read.
    read: usize,
    /// Not all of them were.
    cancelled: bool,
}

/// How many tokens two prompts begin with alike.
fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Positions whose scores [`Session::evaluate`] holds at a time: 25 MB with a vocabulary of 200,000.
const MAX_EVALUATED: usize = 32;
