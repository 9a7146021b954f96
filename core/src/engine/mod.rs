//! A model that is ready to answer, shared by its sessions.

mod account;
mod error;
mod fit;
mod options;
mod power;

pub use account::{MemoryReport, SessionReport, TrimLevel};
pub use error::EngineError;
pub use fit::MemoryNeeded;
pub use options::{BACKEND_VARIABLE, EngineOptions, TernaryResidence};
pub use power::PowerMode;

pub(crate) use account::Account;

use crate::Result;
use crate::constrain::{SchemaError, Vocabulary};
use crate::gguf::{Gguf, ModelFile};
use crate::model::{LoadListener, LoadOptions, LoadedModel, ModelError, ModelInfo, Prepared, fingerprint};
use crate::pool::Pool;
use crate::session::{CancelToken, Session, SessionOptions};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::transformer::{Config, Precision};
use halfpi_kernels::Backend;
use power::Power;
use sha2::{Digest, Sha256};
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;

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
    account: Account,
    power: Power,
    adapter: Option<Arc<ModelFile>>,
    fingerprint: OnceLock<[u8; 32]>,
}

impl Engine {
    /// Maps and loads the model file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::ModelFile`](crate::Error::ModelFile) for whatever is wrong with what is
    /// in the file, [`EngineError::Backend`] and [`EngineError::MemoryBudget`].
    pub fn open(path: impl AsRef<Path>, options: EngineOptions) -> Result<Self> {
        Self::load(ModelFile::open(path)?, options)
    }

    /// Loads a model.
    ///
    /// # Errors
    /// As [`open`](Self::open); for models without a name, without [`Error::ModelFile`](crate::Error::ModelFile) around
    /// them.
    pub fn load(file: ModelFile, options: EngineOptions) -> Result<Self> {
        Self::load_with(file, options, &mut |_| ControlFlow::Continue(()))
    }

    /// Loads a model and says how far it is, some ten times a second and on this thread; `Break` cancels.
    ///
    /// ```no_run
    /// # use halfpi::engine::{Engine, EngineOptions};
    /// # use halfpi::gguf::ModelFile;
    /// # use std::ops::ControlFlow;
    /// let file = ModelFile::open("model.gguf")?;
    /// let engine = Engine::load_with(file, EngineOptions::default(), &mut |progress| {
    ///     println!("{:.0}%", 100.0 * progress.fraction());
    ///     ControlFlow::Continue(())
    /// })?;
    /// # Ok::<(), halfpi::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`ModelError::Cancelled`].
    pub fn load_with(file: ModelFile, options: EngineOptions, listener: &mut LoadListener<'_>) -> Result<Self> {
        let backend = options.backend()?;
        let load = options.load(backend);
        let gguf = file.gguf()?;
        if let Some(budget) = options.memory_budget {
            let info = ModelInfo::inspect(&gguf, load).map_err(|error| file.name_in(error))?;
            let needed = info.weight_bytes();
            if needed > budget {
                return Err(EngineError::MemoryBudget { needed, budget }.into());
            }
        }
        let pool = Pool::new(options.threads());
        let (prepared, tokenizer, template) = read(&file, &gguf, load, &pool, options.chat_template, listener)
            .map_err(|error| match error.inner() {
                crate::Error::Model(ModelError::Cancelled) => error,
                _ => file.name_in(error),
            })?;
        drop(gguf);
        let model = prepared.finish(file)?;
        let model = match &options.adapter {
            Some(adapter) => model.with_adapter(adapter)?,
            None => model,
        };
        Ok(Engine(Arc::new(Inner {
            account: Account::new(options.memory_budget, &model),
            power: Power::new(&pool),
            adapter: options.adapter,
            fingerprint: OnceLock::new(),
            model,
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
    /// [`EngineError::ContextLength`], [`EngineError::MemoryBudget`] and [`EngineError::Memory`].
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
        self.0.pool.limit()
    }

    /// Takes another number of threads from now on, also in answers that are being made: at least 1, at most those that
    /// the engine was loaded with.
    pub fn set_threads(&self, threads: usize) {
        self.0.power.set_threads(threads, &self.0.pool);
    }

    /// How much of the machine is used.
    pub fn power_mode(&self) -> PowerMode {
        self.0.power.mode()
    }

    /// Uses more or less of the machine from the next token, or chunk of a prompt, on: for thermal warnings, a low
    /// battery, or an app that leaves the screen.
    pub fn set_power_mode(&self, mode: PowerMode) {
        self.0.power.set_mode(mode, &self.0.pool);
    }

    /// Waits while the engine is paused, and says whether an answer may go on: not if it was cancelled.
    pub(crate) fn may_go_on(&self, cancel: Option<&CancelToken>) -> bool {
        self.0.power.may_go_on(cancel)
    }

    /// What the engine and its sessions take now.
    pub fn memory(&self) -> MemoryReport {
        self.0.account.report(&self.0.model)
    }

    /// Gives memory back to the system, from any thread; what is needed again is read again. Sessions in the middle of
    /// an answer keep what they use.
    pub fn trim(&self, level: TrimLevel) {
        self.0.account.trim(level);
        self.0.model.release_file();
    }

    pub(crate) fn account(&self) -> &Account {
        &self.0.account
    }

    /// What tells this model from others: see [`crate::model::fingerprint`].
    pub(crate) fn fingerprint(&self) -> Result<&[u8; 32]> {
        if let Some(known) = self.0.fingerprint.get() {
            return Ok(known);
        }
        let file = self.0.model.file();
        let mut found = fingerprint(file, &file.gguf()?);
        if let Some(adapter) = &self.0.adapter {
            // Other keys and values come of it.
            let changed = [found, fingerprint(adapter, &adapter.gguf()?)].concat();
            found = Sha256::digest(changed).into();
        }
        Ok(self.0.fingerprint.get_or_init(|| found))
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

/// Everything that is in a model file.
fn read(
    file: &ModelFile,
    gguf: &Gguf<'_>,
    load: LoadOptions,
    pool: &Pool,
    template: Option<ChatTemplate>,
    listener: &mut LoadListener<'_>,
) -> Result<(Prepared, Tokenizer, ChatTemplate)> {
    // The tokenizer is built beside the weights: both take their time on a small machine.
    let (prepared, tokenizer) = thread::scope(|scope| {
        let build = || Tokenizer::from_gguf(gguf);
        let beside = thread::Builder::new().spawn_scoped(scope, build);
        let prepared = Prepared::new(file, gguf, load, pool, listener);
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
    let template = match template {
        Some(template) => template,
        None => chat_template(gguf, &tokenizer)?,
    };
    Ok((prepared, tokenizer, template))
}

/// The template that a model file has; ChatML if it has none.
pub(crate) fn chat_template(gguf: &Gguf<'_>, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
    match gguf.opt_str("tokenizer.chat_template")? {
        Some(source) => Ok(ChatTemplate::new(source, text(tokenizer.bos()), text(tokenizer.eos()))?),
        None => Ok(ChatTemplate::chatml()),
    }
}
