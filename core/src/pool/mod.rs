//! Threads for the transformer: a token is some 150 short jobs in a row, each a few microseconds of work.
//!
//! The rules that follow from this, and from phones being busy with other things:
//!
//! - Tasks are handed out by one atomic counter, to the calling thread as well. A job is over when its *tasks* are
//!   over: nobody waits for a worker that has not taken one, so a worker without a core costs nothing.
//! - A worker that finds no work spins for a moment, because in the middle of a token the next job is a microsecond
//!   away, and then sleeps. Only sleeping workers are woken, so jobs in a row make no system calls.
//! - A job allocates nothing.
//!
//! Why not one of the existing pools: docs/adr/0003-own-thread-pool.md.

mod cores;

use halfpi_kernels::{Parallel, Serial};
use std::any::Any;
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a thread spins before it sleeps, at most: longer than the serial stretches between the jobs of a token, and
/// about what going to sleep and being woken costs.
const LONGEST_SPIN: u32 = 50_000;
/// How long a thread spins that has often spun in vain.
const SHORTEST_SPIN: u32 = 500;
/// Looks between two readings of the clock, which costs as much as several looks.
const LOOKS: usize = 16;

/// A few threads that share the tasks of one job at a time.
///
/// The thread that calls [`run`](Parallel::run) takes part as thread 0. While a job is under way, any further one (from
/// inside a task, or from another thread) is run by its own caller alone, also as thread 0, so nothing waits for anything
/// and a nested job cannot deadlock.
///
/// A panic in a task reaches the caller once all tasks of the job are over; the pool stays usable.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// A job is under way.
    busy: AtomicBool,
    /// The caller's.
    patience: Patience,
}

impl Pool {
    /// The most threads a pool has: one bit each of those asleep, and the caller.
    pub const MAX_THREADS: usize = 65;

    /// A pool of `threads` threads, of which the caller is one: `threads - 1` are started.
    ///
    /// At least 1 and at most 65. If the system refuses to start a thread, the pool has those it got before: ask
    /// [`threads`](Parallel::threads).
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |thread: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("halfpi-{thread}"))
                .spawn(move || shared.serve(thread))
        };
        let workers: Vec<_> = (1..threads.min(Self::MAX_THREADS))
            .map_while(|thread| start(thread).ok())
            .collect();
        shared.limit.store(workers.len() + 1, Relaxed);
        Pool {
            shared,
            workers,
            busy: AtomicBool::new(false),
            patience: Patience::default(),
        }
    }

    /// How many of the threads take part.
    pub fn limit(&self) -> usize {
        self.shared.limit.load(Relaxed)
    }

    /// Lets only some of the threads take part from now on, at least 1: the others sleep. Indices of threads stay below
    /// [`threads`](Parallel::threads), which does not change, so this may come at any time, also during a job.
    pub fn set_limit(&self, limit: usize) {
        self.shared.limit.store(limit.clamp(1, self.workers.len() + 1), Relaxed);
    }

    /// How many threads suit this machine: its fast cores, at most 8.
    ///
    /// A slow core that takes the last task of a job keeps the fast ones waiting, so on Linux and Android, which tell
    /// the cores apart, only those with at least half of the fastest one's capacity count. Elsewhere every core that
    /// the process may use does. Decoding is bound by memory, which more than 8 cores do not read any faster.
    pub fn default_threads() -> usize {
        cores::fast_cores().min(8)
    }

    /// Publishes a job, takes part in it and returns when all of its tasks are finished.
    fn share(&self, job: &Job<'_>, unclaimed: isize) -> Vec<Panic> {
        let Shared { work, outcome, .. } = &*self.shared;
        outcome.pending.store(job.tasks, Relaxed);
        let address = ptr::from_ref(job).cast::<Job<'static>>();
        work.job.store(address.cast_mut(), Relaxed);
        // Releases the two stores above, and comes before the look at who sleeps (see `sleep`).
        work.unclaimed.store(unclaimed, SeqCst);
        // Bits of workers over the limit are left out: the caller and `limit - 1` others take part.
        let over = u64::MAX.checked_shl(self.limit() as u32 - 1).unwrap_or(0);
        let mut asleep = self.shared.asleep.load(SeqCst) & !over;
        for _ in 1..job.tasks {
            let Some(worker) = self.workers.get(asleep.trailing_zeros() as usize) else {
                break;
            };
            worker.thread().unpark();
            asleep &= asleep - 1;
        }
        if !self.shared.take_part(0) && !self.patience.spin(|| outcome.pending.load(Acquire) == 0) {
            self.shared.await_workers();
        }
        take(&mut *lock(&outcome.panics))
    }
}

// SAFETY: a task is called by the one thread that claimed it from the counter; workers have the indices from 1 on, each
// its own, and a job has one caller, index 0.
unsafe impl Parallel for Pool {
    fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    fn run(&self, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        let alone = self.workers.is_empty() || tasks < 2;
        match isize::try_from(tasks) {
            Ok(unclaimed) if !alone && self.limit() > 1 && !self.busy.swap(true, Acquire) => {
                let panics = self.share(&Job { call: job, tasks }, unclaimed);
                self.busy.store(false, Release);
                let first = panics.into_iter().next();
                if let Some(panic) = first {
                    resume_unwind(panic);
                }
            }
            _ => Serial.run(tasks, job),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches its tasks' panics, so it ends well.
            let _ = worker.join();
        }
    }
}

/// What a task panicked with.
type Panic = Box<dyn Any + Send>;

/// One call to `run`, on the caller's stack.
struct Job<'a> {
    call: &'a (dyn Fn(usize, usize) + Sync),
    tasks: usize,
}

/// What all threads of a pool see. What is written by different threads lies on different cache lines.
#[derive(Debug, Default)]
struct Shared {
    work: Work,
    outcome: Outcome,
    /// Bit `thread - 1` says that this worker sleeps, or is about to and will look for work once more.
    asleep: AtomicU64,
    /// Threads that take part, the caller counted: worker `n` does if `n` is below it.
    limit: AtomicUsize,
    /// The workers are to end.
    stop: AtomicBool,
    /// The caller sleeps until nothing is pending, or is about to and will look once more.
    caller_sleeps: AtomicBool,
    caller: Mutex<()>,
    all_done: Condvar,
}

/// Written by the caller once per job and by everyone who takes a task.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Work {
    /// Tasks of the job that nobody has taken; 0 or less when there are none. It says nothing about which job: a
    /// worker that comes late simply takes a task of the job that is there now.
    unclaimed: AtomicIsize,
    /// Valid for whoever holds an unfinished task, and for nobody else.
    job: AtomicPtr<Job<'static>>,
}

/// Written by everyone who has finished tasks.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Outcome {
    /// Tasks of the job that are not finished, or whose thread has not said so yet.
    pending: AtomicUsize,
    /// Those of the job's tasks.
    panics: Mutex<Vec<Panic>>,
}

impl Shared {
    /// A worker's life.
    fn serve(&self, thread: usize) {
        let patience = Patience::default();
        let has_work = || self.has_work(thread, Relaxed);
        while !self.stop.load(Relaxed) {
            if !patience.spin(has_work) {
                self.sleep(thread);
            } else if self.take_part(thread) && self.caller_sleeps.load(SeqCst) {
                // Locked once, so that the caller is not between its last look and its sleep.
                drop(lock(&self.caller));
                self.all_done.notify_one();
            }
        }
    }

    fn has_work(&self, thread: usize, order: Ordering) -> bool {
        self.work.unclaimed.load(order) > 0 && thread < self.limit.load(Relaxed)
    }

    /// Runs tasks until none is left to take. True if that finished the job.
    fn take_part(&self, thread: usize) -> bool {
        let mut finished = 0;
        loop {
            // Acquires what `share` stored before it published the job.
            let unclaimed = self.work.unclaimed.fetch_sub(1, Acquire);
            if unclaimed <= 0 {
                break;
            }
            // SAFETY: this thread has just taken a task of the current job, whichever that is. `pending` counts the
            // task until it is subtracted below, and `share` neither returns nor replaces the job before `pending`
            // is 0; so the job, and what it borrows, are alive until then.
            let job = unsafe { &*self.work.job.load(Relaxed) };
            let task = job.tasks - unclaimed.unsigned_abs();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (job.call)(task, thread))) {
                // Kept even if it is not the first: dropping it could panic again, here where nobody would catch it.
                lock(&self.outcome.panics).push(panic);
            }
            finished += 1;
        }
        // Releases the tasks' results; comes before the look at whether the caller sleeps.
        finished > 0 && self.outcome.pending.fetch_sub(finished, SeqCst) == finished
    }

    /// Puts a worker to sleep until it is woken, for whatever reason.
    fn sleep(&self, thread: usize) {
        let bit = 1 << (thread - 1);
        // Either this look at `unclaimed` sees the new job, or `share`'s look at `asleep` sees the bit.
        self.asleep.fetch_or(bit, SeqCst);
        if !self.has_work(thread, SeqCst) && !self.stop.load(SeqCst) {
            thread::park();
        }
        self.asleep.fetch_and(!bit, Relaxed);
    }

    /// Puts the caller to sleep until the tasks that workers have begun are finished.
    fn await_workers(&self) {
        let mut guard = lock(&self.caller);
        self.caller_sleeps.store(true, SeqCst);
        while self.outcome.pending.load(SeqCst) != 0 {
            guard = self.all_done.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_sleeps.store(false, Relaxed);
    }
}

/// How long one thread spins before it sleeps, in nanoseconds: less after each time in vain, more after each success.
///
/// On idle cores work comes soon and spins are long. Where other processes take turns on the cores, whoever is waited
/// for comes back after milliseconds, if not just because the waiting thread gave up its core.
#[derive(Debug)]
struct Patience(AtomicU32);

impl Default for Patience {
    fn default() -> Self {
        Patience(AtomicU32::new(LONGEST_SPIN))
    }
}

impl Patience {
    /// Spins until `ready`, or until patience is over: then false.
    fn spin(&self, ready: impl Fn() -> bool) -> bool {
        if ready() {
            return true;
        }
        let patience = self.0.load(Relaxed);
        let (limit, start) = (Duration::from_nanos(patience.into()), Instant::now());
        let found = loop {
            let look = |_| {
                std::hint::spin_loop();
                ready()
            };
            if (0..LOOKS).any(look) {
                break true;
            }
            if start.elapsed() >= limit {
                break false;
            }
        };
        let patience = if found { patience * 2 } else { patience / 4 };
        self.0.store(patience.clamp(SHORTEST_SPIN, LONGEST_SPIN), Relaxed);
        found
    }
}

/// No lock here guards anything that a panic could leave half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
