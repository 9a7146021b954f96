//! What goes wrong between processes.

use std::time::Duration;

/// Why a world could not be formed, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParallelError {
    /// The launcher's variables do not describe a world.
    #[error("{name}={value}: {problem}")]
    Variable {
        /// The environment variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        problem: String,
    },
    /// A variable is missing beside others that need it.
    #[error("{name} is not set, but {because}")]
    MissingVariable {
        /// The environment variable.
        name: &'static str,
        /// What asks for it.
        because: String,
    },
    /// Rank 0 cannot listen where the others will look for it.
    #[error(
        "rank 0 cannot listen on {address}: {source} (if another program has the port, set HALFPI_MASTER_PORT to a free \
         one on all ranks)"
    )]
    Listen {
        /// Host and port.
        address: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A rank that the others must reach was not found.
    #[error(
        "rank {rank} was not found at {address} within {seconds} s: {source} (is it running, and may its port be reached \
         from here?)"
    )]
    Unreachable {
        /// Whom this process looked for.
        rank: usize,
        /// Host and port.
        address: String,
        /// For how long.
        seconds: u64,
        /// What the last try said.
        source: std::io::Error,
    },
    /// Some ranks never came.
    #[error("{} not come within {seconds} s: {} of the {size} ranks are there", Ranks(missing), size - missing.len())]
    Missing {
        /// The ranks that did not come, in order.
        missing: Vec<usize>,
        /// How many ranks there should be.
        size: usize,
        /// How long they were waited for.
        seconds: u64,
    },
    /// Rank 0 does not take this process in.
    #[error("rank 0 at {address} refuses this process (rank {rank}): {reason}")]
    Refused {
        /// Where rank 0 is.
        address: String,
        /// The refused rank: this process.
        rank: usize,
        /// Rank 0's reason.
        reason: String,
    },
    /// A rank of this job that cannot work with the others came to rank 0.
    #[error("rank {rank} cannot join: {reason}")]
    Mismatch {
        /// The other rank.
        rank: usize,
        /// In what it differs.
        reason: String,
    },
    /// A rank died, fell silent, gave up, or left while others needed it: the job is over.
    #[error("rank {rank} failed: {reason}")]
    RankFailed {
        /// The rank that failed, as well as can be known.
        rank: usize,
        /// What is known about it.
        reason: String,
    },
    /// Two ranks are not doing the same thing.
    #[error(
        "rank {rank} does {theirs}, while this process (rank {own_rank}) does {ours}: the ranks took different paths"
    )]
    OutOfStep {
        /// The other rank.
        rank: usize,
        /// What it does.
        theirs: String,
        /// This process.
        own_rank: usize,
        /// What it does.
        ours: String,
    },
    /// An integer sum does not fit.
    #[error("the sum of element {index} over ranks 0 to {rank} does not fit in 32 bits")]
    Overflow {
        /// The element of the slice.
        index: usize,
        /// The rank at which it no longer fits.
        rank: usize,
    },
    /// An argument that no world can serve.
    #[error("{what} is {value}, but must be less than {limit}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// What it is.
        value: usize,
        /// What it may not reach.
        limit: usize,
    },
    /// A process of a local world could not be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A process of a local world failed; the others have been stopped.
    #[error("rank {rank} of the local world ended with {status}{}{message}", if message.is_empty() { "" } else { ": " })]
    Local {
        /// The first rank that failed.
        rank: usize,
        /// Its end in words.
        status: String,
        /// What it would have a shell see: its exit code, or 128 + its signal.
        code: i32,
        /// The last line that it wrote to its standard error, where that was not this process's own.
        message: String,
    },
    /// The operating system refuses something that every rank needs.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// There is no GPU to compute on.
    #[error("CUDA cannot be used: {problem}")]
    Cuda {
        /// What is missing or failed.
        problem: String,
    },
    /// What GPUs have computed cannot be added up by NCCL.
    #[error("NCCL cannot be used: {problem}")]
    Nccl {
        /// What is missing or failed.
        problem: String,
    },
}

impl ParallelError {
    /// The ranks that never came.
    pub(crate) fn missing(missing: Vec<usize>, size: usize, waited: Duration) -> Self {
        Self::Missing {
            missing,
            size,
            seconds: waited.as_secs(),
        }
    }
}

/// "rank 3 has", "ranks 1, 2 have".
struct Ranks<'a>(&'a [usize]);

impl std::fmt::Display for Ranks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 16;
        let names: Vec<String> = self.0.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = if self.0.len() > SHOWN { ", …" } else { "" };
        match self.0.len() {
            1 => write!(f, "rank {} has", names[0]),
            _ => write!(f, "ranks {}{more} have", names.join(", ")),
        }
    }
}
