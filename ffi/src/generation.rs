//! An answer that is being made.

use crate::worker::Worker;
use crate::{Answer, HalfpiError};
use halfpi::session::CancelToken;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// An answer that is being made. Dropping it cancels the answer.
#[derive(uniffi::Object)]
pub struct Generation {
    pub(crate) cancel: CancelToken,
    pub(crate) outcome: Arc<Finish>,
    pub(crate) worker: Arc<Worker>,
}

#[uniffi::export]
impl Generation {
    /// Asks the answer to end: it does so within one token, or one chunk of the prompt, and `on_finished` gets what
    /// there is of it.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Whether the listener has had its last call.
    pub fn is_finished(&self) -> bool {
        self.outcome.is_set()
    }

    /// Waits until the listener has had its last call. Not from inside a listener, which would wait for itself.
    ///
    /// # Errors
    /// What `on_failed` got, and `Callback` inside a listener.
    pub fn wait(&self) -> Result<Answer, HalfpiError> {
        if self.worker.is_current() && !self.is_finished() {
            return Err(HalfpiError::Callback {
                detail: "wait inside a listener would wait for itself; use on_finished".to_owned(),
            });
        }
        self.outcome.wait()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// How an answer ended.
pub(crate) type Finish = Outcome<Result<Answer, HalfpiError>>;

/// A value that is set once and waited for.
pub(crate) struct Outcome<T> {
    value: Mutex<Option<T>>,
    is_set: Condvar,
}

impl<T> Default for Outcome<T> {
    fn default() -> Self {
        Outcome {
            value: Mutex::new(None),
            is_set: Condvar::new(),
        }
    }
}

impl<T: Clone> Outcome<T> {
    pub(crate) fn set(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.is_set.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(crate) fn wait(&self) -> T {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = &*value {
                return value.clone();
            }
            value = self.is_set.wait(value).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
