//! The arithmetic on the wire. The ranks stand in a row, each linked with the one below and the one above. A sum climbs
//! the row, every rank adding its own share, and comes down again finished:
//!
//! ```text
//! rank 0 ──▶ rank 1 ──▶ rank 2 ──▶ rank 3     partial sums, chunk by chunk
//!        ◀──        ◀──        ◀──            sums
//! ```
//!
//! So the order of the sum is that of the ranks, for every element, whatever the length; a ring would start each part
//! of the slice at another rank. Nor is it slower: a rank inside the row sends twice the slice, as in a ring, each link
//! carries it once each way, and of two ranks each sends it only once.
//!
//! Both ways run at once: a chunk goes down [`window`](Chain::window) steps after it went up, on every rank. All ranks
//! therefore agree on the order of everything that passes over a link, and no two can wait for each other, however
//! little the system buffers.

use super::monitor::Shared;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Elements that travel together.
const CHUNK: usize = 1 << 16;

/// One collective operation, as every rank must understand it; it goes before its numbers, both ways.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// Which one it is, counted from 1.
    number: u64,
    operation: u8,
    root: u32,
    length: u64,
}

const SUM_F32: u8 = 1;
const SUM_I32: u8 = 2;
const BROADCAST: u8 = 3;
const BARRIER: u8 = 4;

/// Bytes of a [`Step`] on the wire.
const STEP: usize = 21;

impl Step {
    fn encode(self) -> [u8; STEP] {
        let mut bytes = [0; STEP];
        bytes[..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.root.to_le_bytes());
        bytes[20] = self.operation;
        bytes
    }

    fn decode(bytes: &[u8; STEP]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let root = u32::from_le_bytes(std::array::from_fn(|i| bytes[16 + i]));
        Self {
            number: word(0),
            length: word(8),
            root,
            operation: bytes[20],
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            operation,
            root,
            length,
        } = self;
        write!(f, "operation {number}, ")?;
        match *operation {
            SUM_F32 => write!(f, "a sum of {length} floats"),
            SUM_I32 => write!(f, "a sum of {length} integers"),
            BROADCAST => write!(f, "a broadcast of {length} bytes from rank {root}"),
            BARRIER => write!(f, "a barrier"),
            _ => write!(f, "which is unknown here"),
        }
    }
}

/// Why an operation could not be done.
#[derive(Debug)]
pub(crate) enum ChainError {
    /// A neighbour's link broke.
    Lost { rank: usize, source: io::Error },
    /// A neighbour does something else.
    OutOfStep { rank: usize, theirs: Step, ours: Step },
    /// An integer sum does not fit.
    Overflow { index: usize },
}

/// What can be summed.
pub(crate) trait Element: Copy {
    const SUM: u8;
    fn from_le(bytes: [u8; 4]) -> Self;
    fn to_le(self) -> [u8; 4];
    fn plus(self, own: Self) -> Self;
    /// Whether `self`, a sum, lost something when `part` was added.
    fn overflowed(self, part: Self) -> bool;
}

impl Element for f32 {
    const SUM: u8 = SUM_F32;

    fn from_le(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }

    fn to_le(self) -> [u8; 4] {
        self.to_le_bytes()
    }

    fn plus(self, own: Self) -> Self {
        self + own
    }

    fn overflowed(self, _part: Self) -> bool {
        false
    }
}

impl Element for i32 {
    const SUM: u8 = SUM_I32;

    fn from_le(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }

    fn to_le(self) -> [u8; 4] {
        self.to_le_bytes()
    }

    fn plus(self, own: Self) -> Self {
        self.wrapping_add(own)
    }

    fn overflowed(self, part: Self) -> bool {
        self.checked_sub(part).is_none()
    }
}

/// A neighbour.
struct Link {
    rank: usize,
    stream: TcpStream,
}

impl Link {
    fn lost(&self) -> impl Fn(io::Error) -> ChainError + use<> {
        let rank = self.rank;
        move |source| ChainError::Lost { rank, source }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), ChainError> {
        self.stream.write_all(bytes).map_err(self.lost())
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<(), ChainError> {
        self.stream.read_exact(bytes).map_err(self.lost())
    }

    /// Receives what the neighbour does, which must be `ours`.
    fn agree(&mut self, ours: Step) -> Result<(), ChainError> {
        let mut bytes = [0; STEP];
        self.receive(&mut bytes)?;
        let theirs = Step::decode(&bytes);
        if theirs == ours {
            Ok(())
        } else {
            Err(ChainError::OutOfStep {
                rank: self.rank,
                theirs,
                ours,
            })
        }
    }
}

/// One rank's place in the row.
pub(crate) struct Chain {
    rank: usize,
    size: usize,
    below: Option<Link>,
    above: Option<Link>,
    /// A chunk as it travels: all the memory that an operation takes.
    bytes: Vec<u8>,
    shared: Arc<Shared>,
}

impl Chain {
    pub(crate) fn new(
        rank: usize,
        size: usize,
        below: Option<TcpStream>,
        above: Option<TcpStream>,
        shared: Arc<Shared>,
    ) -> Self {
        let below = below.map(|stream| Link { rank: rank - 1, stream });
        let above = above.map(|stream| Link { rank: rank + 1, stream });
        Self {
            rank,
            size,
            below,
            above,
            bytes: Vec::new(),
            shared,
        }
    }

    /// How many chunks may be on their way up and down: one for each link of the way and its two ends.
    fn window(&self) -> usize {
        2 * self.size
    }

    /// The next operation.
    fn step(&self, operation: u8, root: usize, length: usize) -> Step {
        let number = self.shared.begun.load(Relaxed);
        Step {
            number,
            operation,
            root: root as u32,
            length: length as u64,
        }
    }

    /// Replaces every element by its sum over the ranks.
    pub(crate) fn sum<T: Element>(&mut self, values: &mut [T]) -> Result<(), ChainError> {
        let step = self.step(T::SUM, 0, values.len());
        let chunk = |index: usize| index * CHUNK..values.len().min((index + 1) * CHUNK);
        let chunks: Vec<Range<usize>> = (0..values.len().div_ceil(CHUNK)).map(chunk).collect();
        let window = self.window();
        self.climb(step)?;
        for now in 0..chunks.len() + window {
            if let Some(chunk) = chunks.get(now) {
                let start = chunk.start;
                self.add(&mut values[chunk.clone()], start)?;
            }
            if now == window.min(chunks.len()) {
                self.descend(step)?;
            }
            if let Some(chunk) = now.checked_sub(window).and_then(|now| chunks.get(now)) {
                self.take(&mut values[chunk.clone()])?;
            }
        }
        Ok(())
    }

    /// Returns when all ranks have come.
    pub(crate) fn barrier(&mut self) -> Result<(), ChainError> {
        self.meet(self.step(BARRIER, 0, 0))
    }

    /// Returns when all ranks have come to the same sum, which is then made elsewhere.
    #[cfg(feature = "nccl")]
    pub(crate) fn agree<T: Element>(&mut self, length: usize) -> Result<(), ChainError> {
        self.meet(self.step(T::SUM, 0, length))
    }

    /// Returns when all ranks have come to this operation.
    fn meet(&mut self, step: Step) -> Result<(), ChainError> {
        self.climb(step)?;
        self.descend(step)
    }

    /// Replaces the bytes by those of `root`, which pass away from it to both ends of the row.
    pub(crate) fn broadcast(&mut self, bytes: &mut [u8], root: usize) -> Result<(), ChainError> {
        let step = self.step(BROADCAST, root, bytes.len());
        let (mut from, mut to) = match self.rank.cmp(&root) {
            std::cmp::Ordering::Less => (self.above.as_mut(), [self.below.as_mut(), None]),
            std::cmp::Ordering::Equal => (None, [self.below.as_mut(), self.above.as_mut()]),
            std::cmp::Ordering::Greater => (self.below.as_mut(), [self.above.as_mut(), None]),
        };
        if let Some(from) = &mut from {
            from.agree(step)?;
        }
        for to in to.iter_mut().flatten() {
            to.send(&step.encode())?;
        }
        for chunk in bytes.chunks_mut(4 * CHUNK) {
            if let Some(from) = &mut from {
                from.receive(chunk)?;
            }
            for to in to.iter_mut().flatten() {
                to.send(chunk)?;
            }
            self.shared.chunks.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// Lets the word of an operation climb.
    fn climb(&mut self, step: Step) -> Result<(), ChainError> {
        if let Some(below) = &mut self.below {
            below.agree(step)?;
        }
        self.above.as_mut().map_or(Ok(()), |above| above.send(&step.encode()))
    }

    /// Lets the word of an operation come down.
    fn descend(&mut self, step: Step) -> Result<(), ChainError> {
        if let Some(above) = &mut self.above {
            above.agree(step)?;
        }
        self.below.as_mut().map_or(Ok(()), |below| below.send(&step.encode()))
    }

    /// Adds this rank's share, which starts at element `start`, to the sum that climbs.
    fn add<T: Element>(&mut self, own: &mut [T], start: usize) -> Result<(), ChainError> {
        if let Some(below) = &mut self.below {
            self.bytes.resize(4 * own.len(), 0);
            below.receive(&mut self.bytes)?;
            let climbed = self.bytes.as_chunks().0;
            let mut overflowed = false;
            for (own, climbed) in own.iter_mut().zip(climbed) {
                let climbed = T::from_le(*climbed);
                *own = climbed.plus(*own);
                overflowed |= own.overflowed(climbed);
            }
            if overflowed {
                let at = own
                    .iter()
                    .zip(climbed)
                    .position(|(sum, climbed)| sum.overflowed(T::from_le(*climbed)));
                return Err(ChainError::Overflow {
                    index: start + at.unwrap_or(0),
                });
            }
        }
        self.shared.chunks.fetch_add(1, Relaxed);
        let Some(above) = &mut self.above else { return Ok(()) };
        above.send(encode(&mut self.bytes, own))
    }

    /// Takes the sum that comes down.
    fn take<T: Element>(&mut self, own: &mut [T]) -> Result<(), ChainError> {
        if let Some(above) = &mut self.above {
            self.bytes.resize(4 * own.len(), 0);
            above.receive(&mut self.bytes)?;
            for (own, sum) in own.iter_mut().zip(self.bytes.as_chunks().0) {
                *own = T::from_le(*sum);
            }
        } else {
            encode(&mut self.bytes, own);
        }
        self.shared.chunks.fetch_add(1, Relaxed);
        self.below.as_mut().map_or(Ok(()), |below| below.send(&self.bytes))
    }
}

/// The values as they travel.
fn encode<'a, T: Element>(bytes: &'a mut Vec<u8>, values: &[T]) -> &'a [u8] {
    bytes.resize(4 * values.len(), 0);
    for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *bytes = value.to_le();
    }
    bytes
}
