//! A world over TCP.

#[cfg(feature = "nccl")]
use super::chain::Element;
use super::chain::{Chain, ChainError};
use super::collective::check_root;
use super::monitor::{Failure, Monitor, Shared};
use super::rendezvous::{Meeting, meet};
use super::{Collective, Options, ParallelError, World};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a rank whose link broke waits to hear why: which rank it was that failed first.
const CAUSE: Duration = Duration::from_secs(3);

/// The other ranks, over TCP: sums through the processors' memory, for training without GPUs and to set up training
/// with them.
///
/// Dropping it says goodbye; a rank that still needs this one then fails with an error that says so.
pub struct Tcp {
    rank: usize,
    size: usize,
    chain: Chain,
    shared: Arc<Shared>,
    monitor: Option<JoinHandle<()>>,
}

impl Tcp {
    /// Meets the other ranks. Rank 0 listens on the master's port, the others look for it there; every rank but the last
    /// also listens on a port of the system's choice.
    ///
    /// # Errors
    ///
    /// [`ParallelError::Listen`], [`ParallelError::Unreachable`], [`ParallelError::Missing`],
    /// [`ParallelError::Refused`], [`ParallelError::Mismatch`], [`ParallelError::RankFailed`];
    /// [`ParallelError::MissingVariable`] if the world has nowhere to meet.
    pub fn connect(world: &World, options: &Options) -> Result<Self, ParallelError> {
        let master = world.master.as_ref().ok_or_else(|| ParallelError::MissingVariable {
            name: "MASTER_ADDR",
            because: format!("the {} processes must find rank 0", world.size),
        })?;
        let shared = Arc::new(Shared::default());
        let Meeting { lines, below, above } = meet(world, master, options)?;
        let system = |action| move |source| ParallelError::System { action, source };
        let links = below
            .iter()
            .chain(&above)
            .map(|link| link.try_clone())
            .collect::<Result<_, _>>();
        let links = links.map_err(system("duplicate a connection"))?;
        let monitor = Monitor::new(Arc::clone(&shared), world.rank, lines, links, options);
        let monitor = std::thread::Builder::new()
            .name("parallel-monitor".to_string())
            .spawn(|| monitor.run());
        let monitor = Some(monitor.map_err(system("start a thread"))?);
        let chain = Chain::new(world.rank, world.size, below, above, Arc::clone(&shared));
        let mut tcp = Self {
            rank: world.rank,
            size: world.size,
            chain,
            shared,
            monitor,
        };
        // Nobody leaves before all links stand: who is still linking up would take that for a failure.
        tcp.barrier()?;
        Ok(tcp)
    }

    /// Does one operation, and finds out whose fault it is if it fails.
    fn together<T>(&mut self, work: impl FnOnce(&mut Chain) -> Result<T, ChainError>) -> Result<T, ParallelError> {
        self.check()?;
        self.shared.begun.fetch_add(1, Relaxed);
        let done = work(&mut self.chain);
        self.shared.ended.fetch_add(1, Relaxed);
        done.map_err(|error| self.blame(error))
    }

    /// Returns when all ranks have come to the same sum, which is then made elsewhere.
    #[cfg(feature = "nccl")]
    pub(crate) fn agree<T: Element>(&mut self, length: usize) -> Result<(), ParallelError> {
        self.together(|chain| chain.agree::<T>(length))
    }

    /// Ends the job for an error of the chain.
    fn blame(&self, error: ChainError) -> ParallelError {
        let own_rank = self.rank;
        match error {
            ChainError::Lost { rank, source } => {
                // The rank at the other end may itself only have heard of another's failure, and hung up.
                let guess = format!("its link with rank {own_rank} broke: {source}");
                self.shared.explain(rank, &guess, CAUSE).into()
            }
            ChainError::OutOfStep { rank, theirs, ours } => {
                let (theirs, ours) = (theirs.to_string(), ours.to_string());
                let reason = format!("it does {theirs}, while rank {own_rank} does {ours}");
                self.shared.fail(Failure { rank, reason });
                ParallelError::OutOfStep {
                    rank,
                    theirs,
                    own_rank,
                    ours,
                }
            }
            ChainError::Overflow { index } => {
                let error = ParallelError::Overflow { index, rank: own_rank };
                self.shared.fail(Failure {
                    rank: own_rank,
                    reason: error.to_string(),
                });
                error
            }
        }
    }
}

impl Collective for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.size
    }

    fn all_reduce_sum_f32(&mut self, values: &mut [f32]) -> Result<(), ParallelError> {
        self.together(|chain| chain.sum(values))
    }

    fn all_reduce_sum_i32(&mut self, values: &mut [i32]) -> Result<(), ParallelError> {
        self.together(|chain| chain.sum(values))
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<(), ParallelError> {
        check_root(root, self.size).inspect_err(|error| self.abort(&error.to_string()))?;
        self.together(|chain| chain.broadcast(bytes, root))
    }

    fn barrier(&mut self) -> Result<(), ParallelError> {
        self.together(Chain::barrier)
    }

    fn check(&self) -> Result<(), ParallelError> {
        self.shared.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn abort(&mut self, reason: &str) {
        self.shared.fail(Failure {
            rank: self.rank,
            reason: reason.to_string(),
        });
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort("it panicked");
        }
        self.shared.close();
        if let Some(monitor) = self.monitor.take() {
            let _ = monitor.join();
        }
    }
}
