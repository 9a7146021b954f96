//! A model that is ready to answer, shared by its sessions.

use crate::constrain::{SchemaError, Vocabulary};
use crate::gguf::{Gguf, ModelFile};
use crate::model::{LoadOptions, LoadedModel, ModelError, Prepared};
use crate::pool::Pool;
use crate::session::{Session, SessionOptions};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::transformer::{Config, ForwardError, Precision};
use crate::{Error, Result};
use halfpi_kernels::Backend;
use halfpi_kernels::format::stock::I2sOrder;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;

/// Names a backend to use instead of the fastest one: `scalar`, `avx2`, `avxvnni`, `avx512vnni`, `avx512vbmi`, `neon`,
/// `neon-dotprod`, `neon-i8mm`.
pub const BACKEND_VARIABLE: &str = "HALFPI_BACKEND";

/// How an engine works.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Threads; `None` for one for each fast core.
    pub threads: Option<usize>,
    /// The instruction set; `None` for the one that [`BACKEND_VARIABLE`] names, or else the fastest.
    pub backend: Option<Backend>,
    /// What packed weights are multiplied with.
    pub precision: Precision,
    /// Positions of a prompt that run together, at least 1. More are faster, take more memory and delay a cancel.
    pub prefill_chunk: usize,
    /// The chat template; `None` for the file's own, or ChatML if it has none.
    pub chat_template: Option<ChatTemplate>,
    /// Where dense ternary weights are.
    pub ternary: TernaryResidence,
    /// The order of I2_S codes, which their file does not say.
    pub i2s_order: I2sOrder,
}

/// Where the weights of a file are that has three ternary ones in five bits.
///
/// Either way the model's weights are the same. Its scores may differ in the last bits, since sums are cut at other
/// columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TernaryResidence {
    /// Whichever is faster with the engine's backend: dense with `avx512vbmi`, which looks trits up, expanded with others.
    #[default]
    Auto,
    /// In the mapped file as they are: the least memory, and none of it the process's own.
    Dense,
    /// In two bits each, in memory of the process, a fifth more.
    Expanded,
}

impl TernaryResidence {
    /// Whether weights are expanded for a backend.
    fn expands(self, backend: Backend) -> bool {
        match self {
            TernaryResidence::Auto => !backend.looks_up_trits(),
            TernaryResidence::Dense => false,
            TernaryResidence::Expanded => true,
        }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            threads: None,
            backend: None,
            precision: Precision::Int8,
            prefill_chunk: 128,
            chat_template: None,
            ternary: TernaryResidence::Auto,
            i2s_order: I2sOrder::default(),
        }
    }
}

/// Why an engine or a session refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A backend was asked for that this processor does not run.
    #[error("{BACKEND_VARIABLE} is {name:?}, which does not run here; these do: {available}")]
    Backend {
        /// The name asked for.
        name: String,
        /// The names of those that run.
        available: String,
    },
    /// The prompt, or prompt and answer, do not fit in the context.
    #[error("{needed} tokens do not fit in a context of {context_length}: shorten the prompt or take a longer context")]
    ContextOverflow {
        /// Tokens needed.
        needed: usize,
        /// Tokens that fit.
        context_length: usize,
    },
    /// There is nothing to answer.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// The context length is 0, or longer than the model was trained for.
    #[error("a context of {asked} tokens: this model has 1 to {most}")]
    ContextLength {
        /// Tokens asked for.
        asked: usize,
        /// Tokens that the model was trained for.
        most: usize,
    },
    /// There is no memory for a session.
    #[error(
        "no memory for {bytes} bytes of a session ({source}): take a shorter context, int8 elements or smaller chunks"
    )]
    Memory {
        /// Bytes asked for.
        bytes: usize,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The model's scores are infinite or not a number.
    #[error("the model computes numbers that are not finite: its file is damaged, get it again")]
    NotFinite,
    /// The transformer refused.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

/// A loaded model with its tokenizer, template and threads. Cloning shares it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    model: LoadedModel,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    /// Made for the first answer that has a constraint.
    vocabulary: OnceLock<Result<Vocabulary, SchemaError>>,
    pool: Pool,
    backend: Backend,
    precision: Precision,
    prefill_chunk: usize,
}

impl Engine {
    /// Maps and loads the model file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::ModelFile`] for whatever is wrong with what is in the file, and
    /// [`EngineError::Backend`].
    pub fn open(path: impl AsRef<Path>, options: EngineOptions) -> Result<Self> {
        Self::load(ModelFile::open(path)?, options)
    }

    /// Loads a model.
    ///
    /// # Errors
    /// As [`open`](Self::open); for models given as bytes, without [`Error::ModelFile`] around them.
    pub fn load(file: ModelFile, options: EngineOptions) -> Result<Self> {
        let backend = options.backend.map_or_else(backend_from_environment, Ok)?;
        let pool = Pool::new(options.threads.unwrap_or_else(Pool::default_threads));
        let load = LoadOptions {
            i2s_order: options.i2s_order,
            expand_trits: options.ternary.expands(backend),
        };
        let (prepared, tokenizer, template) =
            read(&file, &file.gguf()?, load, &pool, options.chat_template).map_err(|error| file.name_in(error))?;
        Ok(Engine(Arc::new(Inner {
            model: prepared.finish(file)?,
            tokenizer,
            template,
            vocabulary: OnceLock::new(),
            pool,
            backend,
            precision: options.precision,
            prefill_chunk: options.prefill_chunk.max(1),
        })))
    }

    /// A conversation of its own on this model.
    ///
    /// # Errors
    /// [`EngineError::ContextLength`] and [`EngineError::Memory`].
    pub fn session(&self, options: SessionOptions) -> Result<Session> {
        Session::new(self.clone(), options)
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        self.0.model.config()
    }

    /// The weights.
    pub fn model(&self) -> &LoadedModel {
        &self.0.model
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }

    /// The model's chat template; ChatML if the file has none.
    pub fn template(&self) -> &ChatTemplate {
        &self.0.template
    }

    /// The instruction set in use.
    pub fn backend(&self) -> Backend {
        self.0.backend
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        halfpi_kernels::Parallel::threads(&self.0.pool)
    }

    /// What packed weights are multiplied with.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    pub(crate) fn vocabulary(&self) -> Result<&Vocabulary, SchemaError> {
        let vocabulary = self.0.vocabulary.get_or_init(|| Vocabulary::new(&self.0.tokenizer));
        vocabulary.as_ref().map_err(SchemaError::clone)
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub(crate) fn prefill_chunk(&self) -> usize {
        self.0.prefill_chunk
    }
}

fn backend_from_environment() -> Result<Backend> {
    let Some(name) = std::env::var_os(BACKEND_VARIABLE).filter(|name| !name.is_empty()) else {
        return Ok(Backend::detect());
    };
    let name = name.to_string_lossy().into_owned();
    Backend::from_name(&name).ok_or_else(|| {
        let available: Vec<_> = Backend::available().map(Backend::name).collect();
        Error::Engine(EngineError::Backend {
            name,
            available: available.join(", "),
        })
    })
}

/// Everything that is in a model file.
fn read(
    file: &ModelFile,
    gguf: &Gguf<'_>,
    load: LoadOptions,
    pool: &Pool,
    template: Option<ChatTemplate>,
) -> Result<(Prepared, Tokenizer, ChatTemplate)> {
    // The tokenizer is built beside the weights: both take their time on a small machine.
    let (prepared, tokenizer) = thread::scope(|scope| {
        let build = || Tokenizer::from_gguf(gguf);
        let beside = thread::Builder::new().spawn_scoped(scope, build);
        let prepared = Prepared::new(file, gguf, load, pool);
        let tokenizer = match beside {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => build(),
        };
        (prepared, tokenizer)
    });
    let (prepared, tokenizer) = (prepared?, tokenizer?);
    // The other way round is common: matrices are padded to round numbers of rows.
    let (tokens, rows) = (tokenizer.vocab_size(), prepared.config().vocab_size);
    if tokens > rows {
        return Err(ModelError::Vocabulary { tokens, rows }.into());
    }
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
    let template = match (template, gguf.opt_str("tokenizer.chat_template")?) {
        (Some(template), _) => template,
        (None, Some(source)) => ChatTemplate::new(source, text(tokenizer.bos()), text(tokenizer.eos()))?,
        (None, None) => ChatTemplate::chatml(),
    };
    Ok((prepared, tokenizer, template))
}
