//! How often codes occur, and what they could be squeezed into.

use halfpi_kernels::format::{Codes, Packed};

/// How often a code occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeCount {
    /// The integer that the code stands for; the code itself where one code decides about several weights.
    pub value: i32,
    /// How many weights it decides about.
    pub count: u64,
}

/// Bits of a code for each real weight, scales left out.
pub(in super::super) fn bits_per_weight(codes: Codes) -> f64 {
    match codes {
        // Counted for each complex weight.
        Codes::PhaseComplex => f64::from(codes.bits_per_weight()) / 2.0,
        _ => f64::from(codes.bits_per_weight()),
    }
}

/// Real weights that one code decides about.
fn weights_per_code(codes: Codes) -> f64 {
    match codes {
        Codes::PhasePair { .. } => 4.0,
        Codes::PhaseAxis { .. } | Codes::PhaseComplex => 2.0,
        _ => 1.0,
    }
}

pub(super) struct CodeCounts {
    codes: Codes,
    counts: Vec<u64>,
}

impl CodeCounts {
    pub(super) fn new(codes: Codes) -> Self {
        Self {
            codes,
            counts: vec![0; codes.count() as usize],
        }
    }

    /// Counts a row.
    pub(super) fn add(&mut self, packed: &Packed<'_>, row: usize) {
        for code in (0..packed.cols()).filter_map(|col| packed.code(row, col).ok()) {
            self.counts[usize::from(code)] += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
    }

    /// All codes, from the most negative value to the most positive.
    pub(super) fn in_order(&self) -> Vec<CodeCount> {
        let value = |code: usize| match self.codes {
            Codes::Int8 => i32::from(code as u8 as i8),
            Codes::Int6 => code as i32 - 32,
            Codes::Codebook5(table) => i32::from(table[code]),
            Codes::Codebook4(table) => i32::from(table[code]),
            Codes::Codebook2(table) => i32::from(table[code]),
            Codes::Trits => code as i32 - 1,
            Codes::PhasePair { .. } | Codes::PhaseAxis { .. } | Codes::PhaseComplex => code as i32,
        };
        let count = |(code, &count)| CodeCount {
            value: value(code),
            count,
        };
        let mut all: Vec<_> = self.counts.iter().enumerate().map(count).collect();
        all.sort_by_key(|code| code.value);
        all
    }

    /// Bits of a weight's code as it is stored.
    pub(super) fn stored_bits(&self) -> f64 {
        bits_per_weight(self.codes)
    }

    /// Shannon's entropy, in bits a weight.
    pub(super) fn entropy_bits(&self) -> f64 {
        let total = self.counts.iter().sum::<u64>().max(1) as f64;
        let part = |count: u64| {
            let p = count as f64 / total;
            -p * p.log2()
        };
        let used = self.counts.iter().filter(|count| **count > 0);
        used.map(|&count| part(count)).sum::<f64>() / weights_per_code(self.codes)
    }
}
