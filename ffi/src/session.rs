//! A conversation, used from any thread.

use crate::engine::{Shared, locked};
use crate::generation::{Finish, Outcome};
use crate::listener::Relay;
use crate::worker::caught;
use crate::{Answer, ChatMessage, Generation, GenerationListener, GenerationOptions, HalfpiError};
use halfpi::session::{self, CancelToken, GenerateOptions, Listener};
use halfpi::template::{Message, Role};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

/// A conversation. It does one thing at a time: while it answers, most other calls are `SessionBusy`.
#[derive(uniffi::Object)]
pub struct Session(Arc<Inner>);

pub(crate) struct Inner {
    shared: Arc<Shared>,
    slot: Mutex<Slot>,
    /// The slot is no longer busy.
    is_free: Condvar,
    context_length: u32,
    /// The last answer asked for.
    last: Mutex<Option<Arc<Finish>>>,
}

/// Where the session is.
enum Slot {
    Idle(Box<session::Session>),
    /// At work on the engine's thread, or queued for it.
    Busy {
        cancel: CancelToken,
        /// It is to be dropped afterwards.
        is_closing: bool,
    },
    Closed,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, session: session::Session) -> Self {
        Session(Arc::new(Inner {
            shared,
            context_length: session.context_length() as u32,
            slot: Mutex::new(Slot::Idle(Box::new(session))),
            is_free: Condvar::new(),
            last: Mutex::default(),
        }))
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    /// Queues an answer. The conversation of a failed one is what it was before.
    fn start(
        &self,
        options: GenerationOptions,
        listener: Arc<dyn GenerationListener>,
        ask: impl Ask,
    ) -> Result<Arc<Generation>, HalfpiError> {
        let cancel = CancelToken::new();
        let options = options.options(cancel.clone())?;
        let mut taken = Inner::take(&self.0, cancel.clone())?;
        let (shared, outcome) = (&self.0.shared, Arc::new(Outcome::default()));
        let end = outcome.clone();
        *locked(&self.0.last) = Some(outcome.clone());
        let submitted = shared.worker.submit(move || {
            let mut relay = Relay::new(listener);
            let result = caught(|| taken.answer(&options, &mut relay, ask));
            // First, so that the listener may ask the next question.
            drop(taken);
            if let Ok(answer) = &result {
                let usage = &answer.usage;
                let (read, made) = (usage.prefill_tokens, usage.generated_tokens);
                let seconds = usage.prefill_seconds + usage.decode_seconds;
                log::debug!(
                    "{:?} after {read} tokens read and {made} made in {seconds:.2} s",
                    answer.finish
                );
            }
            relay.end(&result);
            end.set(result);
        });
        if let Err(error) = submitted {
            // A close may be waiting for it.
            outcome.set(Err(error.clone()));
            return Err(error);
        }
        Ok(Arc::new(Generation {
            cancel,
            outcome,
            worker: shared.worker.clone(),
        }))
    }
}

#[uniffi::export]
impl Session {
    /// Says `prompt` as the user and streams the answer to the listener; both become part of the conversation. After a
    /// failure, or an answer that was cancelled before its first token, the conversation is what it was before.
    ///
    /// # Errors
    /// `InvalidOption`, `SessionBusy`, `Closed`; everything else goes to the listener's `on_failed`.
    pub fn generate(
        &self,
        prompt: String,
        options: GenerationOptions,
        listener: Arc<dyn GenerationListener>,
    ) -> Result<Arc<Generation>, HalfpiError> {
        self.start(options, listener, move |session, options, listener| {
            session.send(&prompt, options, listener)
        })
    }

    /// Streams the answer to a conversation that the caller keeps. What of it is cached is not read again. The session's
    /// own conversation stays as it is.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn respond(
        &self,
        messages: Vec<ChatMessage>,
        options: GenerationOptions,
        listener: Arc<dyn GenerationListener>,
    ) -> Result<Arc<Generation>, HalfpiError> {
        let messages: Vec<Message> = messages.into_iter().map(Message::from).collect();
        self.start(options, listener, move |session, options, listener| {
            session.respond(&messages, options, listener)
        })
    }

    /// Goes on after an answer with tool calls: one result for each call, in the same order, as text (JSON, mostly).
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn reply_tool_results(
        &self,
        results: Vec<String>,
        options: GenerationOptions,
        listener: Arc<dyn GenerationListener>,
    ) -> Result<Arc<Generation>, HalfpiError> {
        let messages: Vec<Message> = results
            .into_iter()
            .map(|result| Message::new(Role::Tool, result))
            .collect();
        self.start(options, listener, move |session, options, listener| {
            session.send_messages(messages, options, listener)
        })
    }

    /// Reads now what the next prompt will begin with, so that the next answer comes sooner. Blocks until that is done,
    /// after whatever the engine was asked before.
    ///
    /// # Errors
    /// `SessionBusy`, `Closed`, `Template`.
    pub fn prewarm(&self) -> Result<(), HalfpiError> {
        let cancel = CancelToken::new();
        let mut taken = Inner::take(&self.0, cancel.clone())?;
        self.0.shared.worker.run(move || {
            let warmed = taken.session()?.prewarm_with(Some(&cancel));
            warmed.map_err(|error| HalfpiError::new(&error, &taken.inner.shared.source))?;
            // Only a close cancels it.
            if cancel.is_cancelled() {
                Err(HalfpiError::Closed)
            } else {
                Ok(())
            }
        })
    }

    /// Tokens of a text, special ones counted as such.
    ///
    /// # Errors
    /// `Closed`.
    pub fn token_count(&self, text: String) -> Result<u64, HalfpiError> {
        match &*locked(&self.0.slot) {
            Slot::Closed => Err(HalfpiError::Closed),
            _ => self.0.shared.token_count(&text),
        }
    }

    /// Everything said, the system message first.
    ///
    /// # Errors
    /// `SessionBusy`, `Closed`.
    pub fn messages(&self) -> Result<Vec<ChatMessage>, HalfpiError> {
        self.0
            .with(|session| session.messages().iter().map(ChatMessage::from).collect())
    }

    /// Replaces what has been said, for instance with a stored conversation. What of it is cached stays cached.
    ///
    /// # Errors
    /// `SessionBusy`, `Closed`.
    pub fn set_messages(&self, messages: Vec<ChatMessage>) -> Result<(), HalfpiError> {
        let messages = messages.into_iter().map(Message::from).collect();
        self.0.with(|session| session.set_messages(messages))
    }

    /// Starts the conversation anew, with the same system message.
    ///
    /// # Errors
    /// `SessionBusy`, `Closed`.
    pub fn reset(&self) -> Result<(), HalfpiError> {
        self.0.with(|session| session.reset())
    }

    /// Writes the conversation with its cache to a file, which `restore` reads. The file is there whole or not at all.
    /// What was said can be read in it.
    ///
    /// # Errors
    /// `SessionBusy`, `Closed`, `Io`.
    pub fn save(&self, path: String) -> Result<(), HalfpiError> {
        self.0.at_once(|session| session.save(&path))
    }

    /// Takes up a conversation that `save` wrote, with the same model file. After an error the session is as it was.
    ///
    /// # Errors
    /// `SessionBusy`, `Closed`, `Io`; `SavedState` for another model's conversation, a damaged or a foreign file.
    pub fn restore(&self, path: String) -> Result<(), HalfpiError> {
        self.0.at_once(|session| session.restore(&path))
    }

    /// Another session that goes on from here, with the same conversation and cache.
    ///
    /// # Errors
    /// `SessionBusy`, `Closed`, `MemoryBudget`, `OutOfMemory`.
    pub fn fork(&self) -> Result<Arc<Session>, HalfpiError> {
        let fork = self.0.at_once(|session| session.fork())?;
        self.0.shared.adopt(fork)
    }

    /// Tokens of prompt and answer that fit together.
    pub fn context_length(&self) -> u32 {
        self.0.context_length
    }

    /// Cancels the answer at work, waits until its listener has had its last call, and gives the memory back; inside a
    /// listener it does not wait. From now on every call is `Closed`.
    pub fn close(&self) {
        self.0.close_soon();
        if self.0.shared.worker.is_current() {
            return;
        }
        let mut slot = locked(&self.0.slot);
        while matches!(&*slot, Slot::Busy { .. }) {
            slot = self.0.is_free.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
        drop(slot);
        let last = locked(&self.0.last).take();
        last.map(|outcome| outcome.wait());
    }
}

impl Inner {
    /// Takes the session for a job. It comes back when the result is dropped.
    fn take(this: &Arc<Self>, cancel: CancelToken) -> Result<Taken, HalfpiError> {
        let mut slot = locked(&this.slot);
        match mem::replace(&mut *slot, Slot::Closed) {
            Slot::Idle(session) => {
                *slot = Slot::Busy {
                    cancel,
                    is_closing: false,
                };
                Ok(Taken {
                    inner: this.clone(),
                    session: Some(session),
                })
            }
            busy @ Slot::Busy { .. } => {
                *slot = busy;
                Err(HalfpiError::SessionBusy)
            }
            Slot::Closed => Err(HalfpiError::Closed),
        }
    }

    /// Something quick with an idle session.
    fn with<T>(&self, job: impl FnOnce(&mut session::Session) -> T) -> Result<T, HalfpiError> {
        match &mut *locked(&self.slot) {
            Slot::Idle(session) => Ok(job(session)),
            Slot::Busy { .. } => Err(HalfpiError::SessionBusy),
            Slot::Closed => Err(HalfpiError::Closed),
        }
    }

    /// Something that takes a while but none of the engine's time: it runs on the calling thread.
    fn at_once<T>(
        self: &Arc<Self>,
        job: impl FnOnce(&mut session::Session) -> halfpi::Result<T>,
    ) -> Result<T, HalfpiError> {
        let mut taken = Inner::take(self, CancelToken::new())?;
        caught(|| job(taken.session()?).map_err(|error| HalfpiError::new(&error, &self.shared.source)))
    }

    /// Drops the session: now, or when the answer that is cancelled here has ended.
    pub(crate) fn close_soon(&self) {
        let mut slot = locked(&self.slot);
        match &mut *slot {
            Slot::Busy { cancel, is_closing } => {
                cancel.cancel();
                *is_closing = true;
            }
            Slot::Idle(_) | Slot::Closed => *slot = Slot::Closed,
        }
    }
}

/// A session at work.
struct Taken {
    inner: Arc<Inner>,
    /// `None` only while it is dropped.
    session: Option<Box<session::Session>>,
}

impl Taken {
    fn session(&mut self) -> Result<&mut session::Session, HalfpiError> {
        self.session.as_deref_mut().ok_or(HalfpiError::Closed)
    }

    /// A failing listener undoes the turn, as every failure does.
    fn answer(&mut self, options: &GenerateOptions, relay: &mut Relay, ask: impl Ask) -> Result<Answer, HalfpiError> {
        let session = self.session()?;
        let before = session.messages().to_vec();
        let answer = ask(session, options, relay);
        if let Some(failure) = relay.failure() {
            session.set_messages(before);
            return Err(failure);
        }
        answer
            .map(Answer::from)
            .map_err(|error| HalfpiError::new(&error, &self.inner.shared.source))
    }
}

/// What is asked of a session.
trait Ask:
    FnOnce(&mut session::Session, &GenerateOptions, &mut dyn Listener) -> halfpi::Result<session::Answer> + Send + 'static
{
}

impl<F> Ask for F where
    F: FnOnce(&mut session::Session, &GenerateOptions, &mut dyn Listener) -> halfpi::Result<session::Answer>
        + Send
        + 'static
{
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let mut slot = locked(&self.inner.slot);
        let is_closing = matches!(&*slot, Slot::Busy { is_closing: true, .. });
        *slot = if is_closing { Slot::Closed } else { Slot::Idle(session) };
        drop(slot);
        self.inner.is_free.notify_all();
    }
}
