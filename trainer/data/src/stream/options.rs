//! What a stream is asked for.

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::sources::check;

/// How the tokens of a corpus become batches.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamOptions {
    /// Sequences of a batch.
    pub batch: usize,
    /// Tokens of a sequence.
    pub time: usize,
    /// How documents are put into sequences.
    pub packing: Packing,
    /// What happens to documents that are longer than a sequence.
    pub long_documents: LongDocuments,
    /// Sequences that are held in memory and shuffled together, and files are shuffled too; 0 keeps the order of the
    /// files. 1024 by default.
    pub shuffle: usize,
    /// What the order follows from.
    pub seed: u64,
    /// Which reader this is, of `world`.
    pub rank: usize,
    /// How many readers share the stream.
    pub world: usize,
    /// How often everything is read; `None` without end.
    pub epochs: Option<u64>,
}

impl StreamOptions {
    /// For training: shuffled and without end.
    pub fn new(batch: usize, time: usize) -> Self {
        Self {
            batch,
            time,
            packing: Packing::default(),
            long_documents: LongDocuments::default(),
            shuffle: 1024,
            seed: 0,
            rank: 0,
            world: 1,
            epochs: None,
        }
    }

    /// For judging: everything once, in order.
    pub fn once(batch: usize, time: usize) -> Self {
        Self {
            shuffle: 0,
            epochs: Some(1),
            ..Self::new(batch, time)
        }
    }

    pub(super) fn check(&self) -> Result<(), DataError> {
        check(self.batch > 0, "batch", self.batch, "at least 1")?;
        check(self.time > 0, "time", self.time, "at least 1")?;
        check(self.world > 0, "world", self.world, "at least 1")?;
        check(self.rank < self.world, "rank", self.rank, "less than world")?;
        // So that numbers of tokens can be computed; nobody's memory holds as many.
        let places = self
            .batch
            .checked_mul(self.world)
            .and_then(|rows| rows.checked_mul(self.time));
        let fits = places.is_some_and(|places| places < usize::MAX >> 8);
        check(fits, "batch", self.batch, "a number of sequences that fit in memory")
    }
}

/// How documents are put into sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packing {
    /// One after another, cut where a sequence ends: nothing is left empty.
    #[default]
    Continuous,
    /// A document begins a sequence of its own if it does not fit in what is left of one, whose rest is left empty.
    WholeDocuments,
}

/// What happens to documents that are longer than a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LongDocuments {
    /// They are split, and counted.
    #[default]
    Split,
    /// They are dropped, and counted. Pieces of a text file are no documents of their own: they are split.
    Drop,
}
