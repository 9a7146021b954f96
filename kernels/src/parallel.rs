//! How work is handed to threads.

/// Runs independent tasks, on as many threads as it has.
///
/// The crate owns no threads: an application passes its pool, a bare-metal program passes [`Serial`].
///
/// # Safety
/// Tasks write to memory that no other task touches, without a lock: an implementation must call each task once, and
/// keep its promises about `thread`.
pub unsafe trait Parallel: Sync {
    /// How many threads may run tasks at the same time, at least 1.
    fn threads(&self) -> usize;

    /// Calls `job(task, thread)` once for every `task < tasks` and returns when all have finished.
    ///
    /// `thread < self.threads()`, and no two of these calls that run at the same time get the same `thread`, so it can
    /// index scratch memory.
    fn run(&self, tasks: usize, job: &(dyn Fn(usize, usize) + Sync));
}

/// Runs every task on the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

// SAFETY: each task is called once, one after the other, all on thread 0 of 1.
unsafe impl Parallel for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        for task in 0..tasks {
            job(task, 0);
        }
    }
}
