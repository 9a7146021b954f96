//! How much of the machine is used, changed while it is.

use crate::pool::Pool;
use crate::session::CancelToken;
use halfpi_kernels::Parallel;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a paused answer may take to notice that it was cancelled. (A token cannot wake it.)
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How much of the machine an engine uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PowerMode {
    /// All of its threads.
    #[default]
    Full,
    /// Half of its threads.
    Reduced,
    /// Nothing: answers wait, between two tokens or two chunks of a prompt, for another mode or for being cancelled.
    Paused,
}

/// The mode, and the threads that were asked for.
pub(super) struct Power {
    state: Mutex<State>,
    changed: Condvar,
    /// What is looked at for every token.
    is_paused: AtomicBool,
}

struct State {
    mode: PowerMode,
    threads: usize,
}

impl Power {
    pub fn new(pool: &Pool) -> Self {
        Power {
            state: Mutex::new(State {
                mode: PowerMode::Full,
                threads: pool.threads(),
            }),
            changed: Condvar::new(),
            is_paused: AtomicBool::new(false),
        }
    }

    pub fn mode(&self) -> PowerMode {
        self.lock().mode
    }

    pub fn set_mode(&self, mode: PowerMode, pool: &Pool) {
        let mut state = self.lock();
        state.mode = mode;
        self.is_paused.store(mode == PowerMode::Paused, Relaxed);
        state.apply(pool);
        self.changed.notify_all();
    }

    pub fn set_threads(&self, threads: usize, pool: &Pool) {
        let mut state = self.lock();
        state.threads = threads.clamp(1, pool.threads());
        state.apply(pool);
    }

    pub fn may_go_on(&self, cancel: Option<&CancelToken>) -> bool {
        let is_cancelled = || cancel.is_some_and(CancelToken::is_cancelled);
        if self.is_paused.load(Relaxed) {
            let mut state = self.lock();
            while state.mode == PowerMode::Paused && !is_cancelled() {
                let woken = self.changed.wait_timeout(state, LOOK_AGAIN);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        !is_cancelled()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&self, pool: &Pool) {
        pool.set_limit(match self.mode {
            PowerMode::Reduced => self.threads.div_ceil(2),
            PowerMode::Full | PowerMode::Paused => self.threads,
        });
    }
}
