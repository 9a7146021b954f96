//! A loaded model and its thread.

use crate::listener::Progress;
use crate::model::inspect;
use crate::options::{MOST_THREADS, within};
use crate::session::Inner;
use crate::worker::{Worker, caught};
use crate::{
    EngineConfig, HalfpiError, LoadListener, MemoryReport, ModelInfo, ModelSource, PowerMode, Session, SessionConfig,
    TrimLevel,
};
use halfpi::engine;
use halfpi::session;
use halfpi::tokenizer::Special;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A loaded model, shared by its sessions, with a thread of its own that does all the work.
///
/// Sessions keep the model alive. Dropping the last of engine and sessions gives everything back, and `close` does so
/// now.
#[derive(uniffi::Object)]
pub struct Engine(Arc<Shared>);

/// What an engine and its sessions have in common.
pub(crate) struct Shared {
    /// `None` once closed.
    engine: Mutex<Option<engine::Engine>>,
    pub(crate) worker: Arc<Worker>,
    /// The model's name, for messages.
    pub(crate) source: String,
    info: ModelInfo,
    backend: &'static str,
    sessions: Mutex<Vec<Weak<Inner>>>,
}

impl Shared {
    pub(crate) fn engine(&self) -> Result<engine::Engine, HalfpiError> {
        locked(&self.engine).clone().ok_or(HalfpiError::Closed)
    }

    pub(crate) fn token_count(&self, text: &str) -> Result<u64, HalfpiError> {
        let engine = self.engine()?;
        Ok(engine.tokenizer().encode(text, Special::Parse).len() as u64)
    }

    /// A new session of this engine, which closes with it.
    pub(crate) fn adopt(self: &Arc<Self>, session: session::Session) -> Result<Arc<Session>, HalfpiError> {
        let session = Session::new(self.clone(), session);
        let mut sessions = locked(&self.sessions);
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(session.downgrade());
        drop(sessions);
        // Closed meanwhile, without having heard of this session.
        self.engine().inspect_err(|_| session.close())?;
        Ok(Arc::new(session))
    }
}

#[uniffi::export]
impl Engine {
    /// Loads a model. This takes as long as the file is large, and blocks the calling thread, on which the listener hears
    /// some ten times a second how far it is.
    ///
    /// # Errors
    /// `Io`, `ModelFile`, `Unsupported`, `Backend`, `InvalidOption`, `MemoryBudget`, `OutOfMemory`; `Cancelled` and
    /// `Callback` from the listener.
    #[uniffi::constructor]
    pub fn load(
        source: ModelSource,
        config: EngineConfig,
        listener: Option<Arc<dyn LoadListener>>,
    ) -> Result<Arc<Self>, HalfpiError> {
        caught(|| {
            let options = config.options()?;
            let mut progress = Progress::begin(listener)?;
            let file = source.open()?;
            let info = ModelInfo::from(&inspect(&source, &file, &options)?);
            let loaded = engine::Engine::load_with(file, options, &mut |loaded| progress.tell(loaded.fraction()));
            progress.told()?;
            let engine = loaded.map_err(|error| HalfpiError::new(&error, &source.name()))?;
            let (threads, backend) = (engine.threads(), engine.backend().name());
            log::info!("{} runs on {threads} threads with {backend}", source.name());
            Ok(Arc::new(Engine(Arc::new(Shared {
                engine: Mutex::new(Some(engine)),
                worker: Arc::new(Worker::start()?),
                source: source.name(),
                info,
                backend,
                sessions: Mutex::default(),
            }))))
        })
    }

    /// What the model's file says of itself.
    pub fn info(&self) -> ModelInfo {
        self.0.info.clone()
    }

    /// The instruction set in use.
    pub fn backend(&self) -> String {
        self.0.backend.to_owned()
    }

    /// Threads in use; 0 once closed.
    pub fn threads(&self) -> u32 {
        self.0.engine().map_or(0, |engine| engine.threads() as u32)
    }

    /// Takes another number of threads from now on, also in answers that are being made: at least 1, and never more than
    /// those that the engine was loaded with.
    ///
    /// # Errors
    /// `InvalidOption`, `Closed`.
    pub fn set_threads(&self, threads: u32) -> Result<(), HalfpiError> {
        within("threads", threads, MOST_THREADS)?;
        self.0.engine()?.set_threads(threads as usize);
        Ok(())
    }

    /// How much of the machine is used.
    ///
    /// # Errors
    /// `Closed`.
    pub fn power_mode(&self) -> Result<PowerMode, HalfpiError> {
        Ok(self.0.engine()?.power_mode().into())
    }

    /// Uses more or less of the machine from the next token on: for thermal warnings, a low battery, or an app that leaves
    /// the screen. Does nothing once closed.
    pub fn set_power_mode(&self, mode: PowerMode) {
        if let Ok(engine) = self.0.engine() {
            engine.set_power_mode(mode.into());
            log::info!("power mode {mode:?}");
        }
    }

    /// What the engine and its sessions take now.
    ///
    /// # Errors
    /// `Closed`.
    pub fn memory(&self) -> Result<MemoryReport, HalfpiError> {
        Ok(self.0.engine()?.memory().into())
    }

    /// Gives memory back to the system; what is needed again is read again. Sessions in the middle of an answer keep what
    /// they use. Does nothing once closed.
    pub fn trim(&self, level: TrimLevel) {
        if let Ok(engine) = self.0.engine() {
            engine.trim(level.into());
            log::info!("memory given back: {level:?}");
        }
    }

    /// Tokens of a text, special ones counted as such.
    ///
    /// # Errors
    /// `Closed`.
    pub fn token_count(&self, text: String) -> Result<u64, HalfpiError> {
        self.0.token_count(&text)
    }

    /// A conversation of its own on this model.
    ///
    /// # Errors
    /// `Closed`, `InvalidOption` for a context that the model does not have, `MemoryBudget`, `OutOfMemory`.
    pub fn session(&self, config: SessionConfig) -> Result<Arc<Session>, HalfpiError> {
        caught(|| {
            let session = self.0.engine()?.session(config.options());
            let session = session.map_err(|error| HalfpiError::new(&error, &self.0.source))?;
            self.0.adopt(session)
        })
    }

    /// Cancels every answer, waits until their listeners have had their last calls, and gives the memory back; inside a
    /// listener it does not wait. From now on every call is `Closed`.
    pub fn close(&self) {
        let engine = locked(&self.0.engine).take();
        if let Some(engine) = engine {
            // What is paused could not end.
            engine.set_power_mode(engine::PowerMode::Full);
        }
        let sessions: Vec<_> = locked(&self.0.sessions).iter().filter_map(Weak::upgrade).collect();
        sessions.iter().for_each(|session| session.close_soon());
        drop(sessions);
        self.0.worker.close();
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is locked here is replaced whole, never left half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
