//! What the app implements, and what becomes of it when that fails.

use crate::error::panic_text;
use crate::{Answer, HalfpiError, ToolCall};
use halfpi::session::Listener;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a listener throws. Exceptions of other types arrive as this one too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum CallbackError {
    /// It failed.
    #[error("{detail}")]
    Failed {
        /// What happened.
        detail: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for CallbackError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        CallbackError::Failed { detail: error.reason }
    }
}

/// Hears how far a model is loaded or unpacked, on the thread that does it.
#[uniffi::export(with_foreign)]
pub trait LoadListener: Send + Sync {
    /// `fraction` goes from 0 to 1. `false` cancels, and so does an error.
    fn on_progress(&self, fraction: f64) -> Result<bool, CallbackError>;
}

/// Takes an answer as it is made, on the engine's thread: until a call returns, the engine makes no further token.
///
/// The last call is `on_finished` or `on_failed`, one of them, once. By then the session is free for the next question.
#[uniffi::export(with_foreign)]
pub trait GenerationListener: Send + Sync {
    /// The next piece of the answer's text: whole characters, never empty. An error ends the answer with
    /// `HalfpiError.Callback`.
    fn on_text(&self, text: String) -> Result<(), CallbackError>;

    /// The next piece of what the model thinks before it answers; as [`on_text`](Self::on_text).
    fn on_thinking(&self, text: String) -> Result<(), CallbackError>;

    /// The model calls a tool.
    fn on_tool_call(&self, call: ToolCall) -> Result<(), CallbackError>;

    /// The answer is complete, or was cancelled.
    fn on_finished(&self, answer: Answer) -> Result<(), CallbackError>;

    /// There is no answer.
    fn on_failed(&self, error: HalfpiError) -> Result<(), CallbackError>;
}

/// Tells a listener how far the work is, until it wants no more.
pub(crate) struct Progress {
    listener: Option<Arc<dyn LoadListener>>,
    told: Result<(), HalfpiError>,
}

impl Progress {
    /// Nothing is done yet; a listener may not even want it begun.
    pub(crate) fn begin(listener: Option<Arc<dyn LoadListener>>) -> Result<Self, HalfpiError> {
        let mut progress = Progress { listener, told: Ok(()) };
        let _ = progress.tell(0.0);
        progress.told()?;
        Ok(progress)
    }

    /// Whether to go on.
    pub(crate) fn tell(&mut self, fraction: f64) -> ControlFlow<()> {
        if let (Some(listener), Ok(())) = (&self.listener, &self.told) {
            self.told = guarded(|| listener.on_progress(fraction)).and_then(|goes_on| match goes_on {
                true => Ok(()),
                false => Err(HalfpiError::Cancelled),
            });
        }
        match self.told {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// Why the work was to end, if it was.
    pub(crate) fn told(&self) -> Result<(), HalfpiError> {
        self.told.clone()
    }
}

/// Calls a listener until it fails.
pub(crate) struct Relay {
    listener: Arc<dyn GenerationListener>,
    failure: Option<HalfpiError>,
}

impl Relay {
    pub(crate) fn new(listener: Arc<dyn GenerationListener>) -> Self {
        Relay {
            listener,
            failure: None,
        }
    }

    /// Calls the listener, unless an earlier call failed.
    fn tell(&mut self, call: impl FnOnce(&dyn GenerationListener) -> Result<(), CallbackError>) -> ControlFlow<()> {
        if self.failure.is_none() {
            self.failure = guarded(|| call(&*self.listener)).err();
        }
        match self.failure {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    }

    /// Why the listener failed, if it did.
    pub(crate) fn failure(&mut self) -> Option<HalfpiError> {
        self.failure.take()
    }

    /// The last call. If it fails there is nobody left to tell but the log.
    pub(crate) fn end(self, outcome: &Result<Answer, HalfpiError>) {
        let told = guarded(|| match outcome.clone() {
            Ok(answer) => self.listener.on_finished(answer),
            Err(error) => self.listener.on_failed(error),
        });
        if let Err(error) = told {
            log::error!("after an answer: {error}");
        }
    }
}

impl Listener for Relay {
    fn on_text(&mut self, text: &str) -> ControlFlow<()> {
        self.tell(|listener| listener.on_text(text.to_owned()))
    }

    fn on_thinking(&mut self, text: &str) -> ControlFlow<()> {
        self.tell(|listener| listener.on_thinking(text.to_owned()))
    }

    fn on_tool_call(&mut self, call: &halfpi::tools::ToolCall) -> ControlFlow<()> {
        self.tell(|listener| listener.on_tool_call(call.clone().into()))
    }
}

/// Calls back to the app: whatever goes wrong there is an error here.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, CallbackError>) -> Result<T, HalfpiError> {
    let detail = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(CallbackError::Failed { detail })) => detail,
        Err(panic) => panic_text(&*panic).to_owned(),
    };
    Err(HalfpiError::Callback { detail })
}
