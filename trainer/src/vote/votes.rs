//! Votes: small integers that do not wrap.

use crate::memory::{self, Class};
use serde::{Deserialize, Serialize};

/// How a vote is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VoteWidth {
    /// -127 to 127.
    I8,
    /// -32767 to 32767.
    I16,
}

/// A vote for each weight of a matrix, row by row. What does not fit stays at the limit: the vote is still as sure as it
/// can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Votes {
    /// In 8 bits.
    I8(Vec<i8>),
    /// In 16 bits.
    I16(Vec<i16>),
}

impl Votes {
    /// No votes yet.
    pub fn new(width: VoteWidth, count: usize) -> Self {
        memory::class(Class::Votes, || match width {
            VoteWidth::I8 => Votes::I8(vec![0; count]),
            VoteWidth::I16 => Votes::I16(vec![0; count]),
        })
    }

    /// How they are stored.
    pub fn width(&self) -> VoteWidth {
        match self {
            Votes::I8(_) => VoteWidth::I8,
            Votes::I16(_) => VoteWidth::I16,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Votes::I8(votes) => votes.len(),
            Votes::I16(votes) => votes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vote for weight `index`.
    pub fn get(&self, index: usize) -> Option<i32> {
        match self {
            Votes::I8(votes) => votes.get(index).map(|&vote| vote.into()),
            Votes::I16(votes) => votes.get(index).map(|&vote| vote.into()),
        }
    }

    /// Forgets all votes.
    pub fn clear(&mut self) {
        match self {
            Votes::I8(votes) => votes.fill(0),
            Votes::I16(votes) => votes.fill(0),
        }
    }

    /// Hands all votes to `change`, a stretch at a time, as the integers that processes add up.
    ///
    /// # Errors
    /// That of `change`; the stretches before are changed then.
    pub fn change<E>(&mut self, change: impl FnMut(&mut [i32]) -> Result<(), E>) -> Result<(), E> {
        match self {
            Votes::I8(votes) => change_in_stretches(votes, change),
            Votes::I16(votes) => change_in_stretches(votes, change),
        }
    }
}

/// A vote as it is stored.
pub(super) trait Vote: Copy + Into<i32> {
    /// The nearest that can be stored; the limits are symmetric.
    fn saturated(vote: i32) -> Self;
}

impl Vote for i8 {
    fn saturated(vote: i32) -> Self {
        vote.clamp(-i32::from(i8::MAX), i8::MAX.into()) as i8
    }
}

impl Vote for i16 {
    fn saturated(vote: i32) -> Self {
        vote.clamp(-i32::from(i16::MAX), i16::MAX.into()) as i16
    }
}

/// How many votes are widened at a time: 1 MiB of them.
const STRETCH: usize = 1 << 18;

fn change_in_stretches<V: Vote, E>(
    votes: &mut [V],
    mut change: impl FnMut(&mut [i32]) -> Result<(), E>,
) -> Result<(), E> {
    let mut wide = Vec::with_capacity(votes.len().min(STRETCH));
    for votes in votes.chunks_mut(STRETCH) {
        wide.clear();
        wide.extend(votes.iter().map(|&vote| vote.into()));
        change(&mut wide)?;
        for (vote, &sum) in votes.iter_mut().zip(&wide) {
            *vote = V::saturated(sum);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stay_at_the_limit() {
        let mut votes = Votes::new(VoteWidth::I8, 3);
        votes
            .change(|votes| {
                votes.copy_from_slice(&[1000, -1000, -5]);
                Ok::<_, ()>(())
            })
            .unwrap();
        assert_eq!(votes, Votes::I8(vec![127, -127, -5]));
        let mut votes = Votes::I16(vec![30_000, -30_000]);
        votes
            .change(|votes| {
                votes.iter_mut().for_each(|vote| *vote *= 2);
                Ok::<_, ()>(())
            })
            .unwrap();
        assert_eq!(votes, Votes::I16(vec![32_767, -32_767]));
    }

    #[test]
    fn all_stretches_are_handed_out() {
        let mut votes = Votes::new(VoteWidth::I8, STRETCH + 7);
        let mut seen = 0;
        let add = |votes: &mut [i32]| {
            seen += votes.len();
            votes.iter_mut().for_each(|vote| *vote += 1);
            if seen > STRETCH { Err("stopped") } else { Ok(()) }
        };
        assert_eq!(votes.change(add), Err("stopped"));
        assert_eq!((votes.get(0), votes.get(STRETCH)), (Some(1), Some(0)));
        assert_eq!(seen, STRETCH + 7);
    }
}
