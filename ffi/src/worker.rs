//! The thread that a model runs on.

use crate::HalfpiError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

type Job = Box<dyn FnOnce() + Send>;

/// One thread with a queue, first come first served. It ends when it is closed or dropped, and what is queued is done.
pub(crate) struct Worker {
    /// `None` once closed.
    jobs: Mutex<Option<Sender<Job>>>,
    thread: ThreadId,
    ended: Arc<crate::generation::Outcome<()>>,
}

impl Worker {
    pub(crate) fn start() -> Result<Self, HalfpiError> {
        let (jobs, queue) = channel();
        let ended = Arc::new(crate::generation::Outcome::default());
        let end = ended.clone();
        let run = move || {
            work(queue);
            end.set(());
        };
        let thread = thread::Builder::new().name("halfpi".to_owned()).spawn(run);
        let thread = thread.map_err(|error| HalfpiError::Internal {
            detail: format!("no thread for the engine: {error}"),
        })?;
        Ok(Worker {
            jobs: Mutex::new(Some(jobs)),
            thread: thread.thread().id(),
            ended,
        })
    }

    /// Whether this is the worker's own thread, which must not wait for itself.
    pub(crate) fn is_current(&self) -> bool {
        thread::current().id() == self.thread
    }

    /// Queues a job; after [`close`](Self::close) that is an error, and the job is dropped.
    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), HalfpiError> {
        match &*self.jobs() {
            Some(jobs) => jobs.send(Box::new(job)).map_err(|_| HalfpiError::Closed),
            None => Err(HalfpiError::Closed),
        }
    }

    /// Queues a job and waits for it. On the worker's own thread, which only calls out between two passes of a model,
    /// the job runs at once.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, HalfpiError> + Send + 'static,
    ) -> Result<T, HalfpiError> {
        if self.is_current() {
            return caught(job);
        }
        let (sender, receiver) = sync_channel(1);
        self.submit(move || {
            // Nobody else has the receiver, and it waits.
            let _ = sender.send(caught(job));
        })?;
        receiver.recv().unwrap_or(Err(HalfpiError::Closed))
    }

    /// Takes no more jobs, and waits until those that are queued are done; not on the worker's own thread, which ends
    /// with them.
    pub(crate) fn close(&self) {
        drop(self.jobs().take());
        if !self.is_current() {
            self.ended.wait();
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Option<Sender<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(queue: Receiver<Job>) {
    for job in queue {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
            log::error!("{}", HalfpiError::panicked(&*panic));
        }
    }
}

/// Runs a job; a panic in it is an error.
pub(crate) fn caught<T>(job: impl FnOnce() -> Result<T, HalfpiError>) -> Result<T, HalfpiError> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| Err(HalfpiError::panicked(&*panic)))
}
