//! One thread per process that keeps watch over the others while the process computes. Every rank speaks every second
//! to rank 0 and hears from it; rank 0 passes bad news on; whoever hears bad news cuts the links over which its numbers
//! run, so that nothing keeps waiting on them.

use super::error::ParallelError;
use super::rendezvous::{Line, Options};
use super::wire::{Message, Progress, WireError, shorten};
use std::collections::BTreeSet;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long news may lie about.
const TICK: Duration = Duration::from_millis(50);

/// How often every rank speaks.
const BEAT: Duration = Duration::from_secs(1);

/// Why the job is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) rank: usize,
    pub(crate) reason: String,
}

impl From<Failure> for ParallelError {
    fn from(Failure { rank, reason }: Failure) -> Self {
        Self::RankFailed { rank, reason }
    }
}

/// What the watching thread and the computing one know of each other.
#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Collective operations begun.
    pub(crate) begun: AtomicU64,
    /// Collective operations ended.
    pub(crate) ended: AtomicU64,
    /// Chunks that have passed through.
    pub(crate) chunks: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The first that became known.
    failure: Option<Failure>,
    /// It became known here, and the others have not been told.
    untold: bool,
    /// Who has ended without a failure.
    left: BTreeSet<usize>,
    /// This process is done.
    closing: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure, if there was one.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.lock().failure.clone()
    }

    /// Why the link with `rank` broke: the job's failure, for which up to `patience` is waited, or else `guess`, which
    /// then is the job's failure.
    pub(crate) fn explain(&self, rank: usize, guess: &str, patience: Duration) -> Failure {
        let unknown = |state: &mut State| state.failure.is_none() && !state.left.contains(&rank);
        let waited = self.changed.wait_timeout_while(self.lock(), patience, unknown);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        // Every operation needs everybody, so if nothing else is known it is for want of who has ended.
        let absent = if state.left.contains(&rank) {
            Some(&rank)
        } else {
            state.left.first()
        };
        let guess = match absent {
            Some(&rank) => Failure {
                rank,
                reason: "it ended while others still needed it".to_string(),
            },
            None => Failure {
                rank,
                reason: guess.to_string(),
            },
        };
        let known = state.failure.clone();
        drop(state);
        known.unwrap_or_else(|| {
            self.fail(guess.clone());
            guess
        })
    }

    /// Notes who ends without a failure.
    fn leave(&self, rank: usize) {
        self.lock().left.insert(rank);
        self.changed.notify_all();
    }

    /// Ends the job on all ranks, unless it has ended already.
    pub(crate) fn fail(&self, failure: Failure) {
        let mut state = self.lock();
        if state.failure.is_none() {
            state.failure = Some(failure);
            state.untold = true;
            self.changed.notify_all();
        }
    }

    /// Lets the watching thread say goodbye and end.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    fn progress(&self) -> Progress {
        Progress {
            begun: self.begun.load(Relaxed),
            ended: self.ended.load(Relaxed),
            chunks: self.chunks.load(Relaxed),
        }
    }
}

/// The watching thread.
pub(crate) struct Monitor {
    shared: Arc<Shared>,
    rank: usize,
    watched: Vec<Watched>,
    /// Other handles to the links over which numbers run.
    links: Vec<TcpStream>,
    stall_timeout: Duration,
    silence_timeout: Duration,
    /// What everybody had done when something last moved, and when that was. Rank 0 only.
    movement: (Vec<Progress>, Instant),
}

/// Another rank.
struct Watched {
    line: Line,
    heard: Instant,
    progress: Progress,
    /// It has said goodbye.
    left: bool,
    /// Its connection is of no more use.
    gone: bool,
}

impl Monitor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        rank: usize,
        lines: Vec<Line>,
        links: Vec<TcpStream>,
        options: &Options,
    ) -> Self {
        let heard = Instant::now();
        let watch = |line| Watched {
            line,
            heard,
            progress: Progress::default(),
            left: false,
            gone: false,
        };
        Self {
            shared,
            rank,
            watched: lines.into_iter().map(watch).collect(),
            links,
            stall_timeout: options.stall_timeout,
            silence_timeout: options.silence_timeout,
            movement: (Vec::new(), heard),
        }
    }

    /// Watches until this process is done.
    pub(crate) fn run(mut self) {
        let (mut awake, mut spoken) = (Instant::now(), None);
        loop {
            let closing = self.wait();
            // This process was stopped or suspended itself, so the others' silence means nothing.
            if awake.elapsed() > self.silence_timeout / 2 {
                self.forgive();
            }
            awake = Instant::now();
            self.listen();
            if spoken.is_none_or(|at: Instant| at.elapsed() >= BEAT) {
                spoken = Some(awake);
                self.tell(&Message::Beat(self.shared.progress()));
                self.judge();
            }
            self.pass_on();
            if closing {
                return self.tell(&Message::Goodbye { rank: self.rank });
            }
        }
    }

    /// Waits for a tick, or for the computing thread.
    fn wait(&self) -> bool {
        let state = self.shared.lock();
        if state.closing || state.untold {
            return state.closing;
        }
        self.shared
            .changed
            .wait_timeout(state, TICK)
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .closing
    }

    /// Counts all silences from now.
    fn forgive(&mut self) {
        for watched in &mut self.watched {
            watched.heard = Instant::now();
        }
        self.movement.1 = Instant::now();
    }

    /// Takes in what has come.
    fn listen(&mut self) {
        let mut goodbyes = Vec::new();
        for watched in &mut self.watched {
            while !watched.gone {
                match watched.line.reader.poll(&watched.line.stream) {
                    Ok(None) => break,
                    Ok(Some(message)) => {
                        watched.heard = Instant::now();
                        match message {
                            Message::Beat(progress) => watched.progress = progress,
                            Message::Goodbye { rank } => {
                                watched.left |= rank == watched.line.rank;
                                self.shared.leave(rank);
                                goodbyes.push(rank);
                            }
                            Message::Failed { rank, reason } => self.shared.fail(Failure { rank, reason }),
                            _ => {}
                        }
                    }
                    Err(error) => {
                        watched.gone = true;
                        // After a goodbye even a reset is a way to hang up.
                        if !watched.left {
                            let reason = match error {
                                WireError::Broken(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                                    WireError::Closed.to_string()
                                }
                                error => error.to_string(),
                            };
                            self.shared.fail(Failure {
                                rank: watched.line.rank,
                                reason,
                            });
                        }
                    }
                }
            }
        }
        if self.rank == 0 {
            // Bad news first: whoever has failed says goodbye next.
            self.pass_on();
            goodbyes
                .into_iter()
                .for_each(|rank| self.tell(&Message::Goodbye { rank }));
        }
    }

    /// Looks for ranks that are silent, and (rank 0) for ranks that the others wait for.
    fn judge(&mut self) {
        for watched in &self.watched {
            if !watched.left && !watched.gone && watched.heard.elapsed() > self.silence_timeout {
                let seconds = watched.heard.elapsed().as_secs();
                let reason = format!("nothing was heard from it for {seconds} s: its machine or the network is down");
                self.shared.fail(Failure {
                    rank: watched.line.rank,
                    reason,
                });
            }
        }
        if self.rank == 0 {
            let now: Vec<Progress> = std::iter::once(self.shared.progress())
                .chain(self.watched.iter().map(|watched| watched.progress))
                .collect();
            if now != self.movement.0 {
                self.movement = (now, Instant::now());
            } else if self.movement.1.elapsed() > self.stall_timeout
                && let Some(failure) = stalled(&now, self.movement.1.elapsed())
            {
                self.shared.fail(failure);
            }
        }
    }

    /// Passes on what has become known, and cuts the links.
    fn pass_on(&mut self) {
        let failure = {
            let mut state = self.shared.lock();
            if !std::mem::take(&mut state.untold) {
                return;
            }
            state.failure.clone()
        };
        if let Some(Failure { rank, reason }) = failure {
            self.tell(&Message::Failed {
                rank,
                reason: shorten(&reason),
            });
            for link in &self.links {
                let _ = link.shutdown(Shutdown::Both);
            }
        }
    }

    fn tell(&mut self, message: &Message) {
        for watched in self.watched.iter().filter(|watched| !watched.gone && !watched.left) {
            // One that cannot be told is found out by its silence.
            let _ = message.send(&watched.line.stream);
        }
    }
}

/// Who holds up the others, by everybody's progress in the order of ranks; `None` if nobody waits.
fn stalled(progress: &[Progress], since: Duration) -> Option<Failure> {
    let last = progress.iter().map(|progress| progress.begun).max()?;
    let seconds = since.as_secs();
    if let Some(rank) = progress.iter().position(|progress| progress.begun < last) {
        let begun = progress[rank].begun;
        let reason = format!(
            "the others have waited for it for {seconds} s, in collective operation {last} while it has begun {begun}"
        );
        return Some(Failure { rank, reason });
    }
    let rank = progress.iter().position(|progress| progress.ended < last)?;
    Some(Failure {
        rank,
        reason: format!("collective operation {last} has not moved for {seconds} s"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_rank_is_blamed() {
        let progress = |begun, ended| Progress {
            begun,
            ended,
            chunks: 0,
        };
        let since = Duration::from_secs(7);
        assert_eq!(stalled(&[progress(3, 3), progress(3, 3)], since), None, "all compute");
        let failure = stalled(&[progress(4, 3), progress(3, 3), progress(4, 3)], since).unwrap();
        assert_eq!(failure.rank, 1);
        assert!(
            failure.reason.contains("7 s") && failure.reason.contains("operation 4"),
            "{}",
            failure.reason
        );
        assert_eq!(stalled(&[progress(4, 4), progress(4, 3)], since).unwrap().rank, 1);
    }
}
