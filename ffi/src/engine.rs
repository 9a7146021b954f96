//! A loaded model and its thread.

use crate::listener::guarded;
use crate::worker::{Worker, caught};
use crate::{EngineConfig, HalfpiError, LoadListener, ModelInfo, ModelSource, Session, SessionConfig};
use crate::{model, session};
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
    engine: Mutex<Option<halfpi::engine::Engine>>,
    pub(crate) worker: Arc<Worker>,
    /// The model's name, for messages.
    pub(crate) source: String,
    info: ModelInfo,
    threads: u32,
    backend: &'static str,
    sessions: Mutex<Vec<Weak<session::Inner>>>,
}

impl Shared {
    pub(crate) fn engine(&self) -> Result<halfpi::engine::Engine, HalfpiError> {
        locked(&self.engine).clone().ok_or(HalfpiError::Closed)
    }

    pub(crate) fn token_count(&self, text: &str) -> Result<u64, HalfpiError> {
        let engine = self.engine()?;
        Ok(engine.tokenizer().encode(text, Special::Parse).len() as u64)
    }
}

#[uniffi::export]
impl Engine {
    /// Loads a model. This takes as long as the file is large, and blocks the calling thread.
    ///
    /// # Errors
    /// `Io`, `ModelFile`, `Unsupported`, `Backend`, `InvalidOption`, `OutOfMemory`; `Cancelled` and `Callback` from the
    /// listener.
    #[uniffi::constructor]
    pub fn load(
        source: ModelSource,
        config: EngineConfig,
        listener: Option<Arc<dyn LoadListener>>,
    ) -> Result<Arc<Self>, HalfpiError> {
        caught(|| {
            let options = config.options()?;
            let report = |fraction| match &listener {
                Some(listener) => match guarded(|| listener.on_progress(fraction))? {
                    true => Ok(()),
                    false => Err(HalfpiError::Cancelled),
                },
                None => Ok(()),
            };
            report(0.0)?;
            let file = source.open()?;
            let refuse = |error: halfpi::Error| HalfpiError::new(&error, &source.name());
            let info = model::info(&file).map_err(refuse)?;
            let engine = halfpi::engine::Engine::load(file, options).map_err(refuse)?;
            report(1.0)?;
            let (threads, backend) = (engine.threads() as u32, engine.backend().name());
            log::info!("{} runs on {threads} threads with {backend}", source.name());
            Ok(Arc::new(Engine(Arc::new(Shared {
                engine: Mutex::new(Some(engine)),
                worker: Arc::new(Worker::start()?),
                source: source.name(),
                info,
                threads,
                backend,
                sessions: Mutex::default(),
            }))))
        })
    }

    /// What the model's file says of itself.
    pub fn info(&self) -> ModelInfo {
        self.0.info.clone()
    }

    /// Threads in use.
    pub fn threads(&self) -> u32 {
        self.0.threads
    }

    /// The instruction set in use.
    pub fn backend(&self) -> String {
        self.0.backend.to_owned()
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
    /// `Closed`, `InvalidOption` for a context that the model does not have, `OutOfMemory`.
    pub fn session(&self, config: SessionConfig) -> Result<Arc<Session>, HalfpiError> {
        caught(|| {
            let session = self.0.engine()?.session(config.options());
            let session = session.map_err(|error| HalfpiError::new(&error, &self.0.source))?;
            let session = Session::new(self.0.clone(), session);
            let mut sessions = locked(&self.0.sessions);
            sessions.retain(|session| session.strong_count() > 0);
            sessions.push(session.downgrade());
            drop(sessions);
            // Closed meanwhile, without having heard of this session.
            self.0.engine().inspect_err(|_| session.close())?;
            Ok(Arc::new(session))
        })
    }

    /// Cancels every answer, waits until their listeners have had their last calls, and gives the memory back; inside a
    /// listener it does not wait. From now on every call is `Closed`.
    pub fn close(&self) {
        drop(locked(&self.0.engine).take());
        let sessions: Vec<_> = locked(&self.0.sessions).iter().filter_map(Weak::upgrade).collect();
        sessions.iter().for_each(|session| session.close_soon());
        self.0.worker.close();
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is locked here is replaced whole, never left half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
