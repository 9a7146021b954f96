//! How large values can be: what decides how many products an instruction set may add before it needs wider sums.

use super::Codes;
use super::phase::pair_value;

/// The least and the greatest value that codes stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub least: i8,
    pub most: i8,
}

impl Bounds {
    pub(crate) const INT8: Bounds = Bounds::new(i8::MIN, i8::MAX);
    pub(crate) const INT6: Bounds = Bounds::new(-32, 31);
    /// Of trits, and of powers of i.
    pub(crate) const UNIT: Bounds = Bounds::new(-1, 1);

    const fn new(least: i8, most: i8) -> Self {
        Bounds { least, most }
    }

    /// Of phase pairs of one stage.
    pub(crate) const ONE_STAGE: Bounds = Bounds::of_pairs(1);
    /// Of phase pairs of two stages.
    pub(crate) const TWO_STAGES: Bounds = Bounds::of_pairs(2);

    const fn of_pairs(stages: u8) -> Self {
        let mut bounds = Bounds::new(0, 0);
        let mut i = 0;
        while i < 4 * 256 {
            let value = pair_value(i / 4, stages, i as usize / 2 % 2, i as usize % 2);
            if value < bounds.least {
                bounds.least = value;
            }
            if value > bounds.most {
                bounds.most = value;
            }
            i += 1;
        }
        bounds
    }

    /// Of phase pairs.
    pub(crate) const fn pairs(stages: u8) -> Self {
        if stages == 1 {
            Bounds::ONE_STAGE
        } else {
            Bounds::TWO_STAGES
        }
    }

    /// Of the entries of a table.
    #[inline(always)]
    pub(crate) fn of(entries: &[i8]) -> Self {
        let (mut least, mut most) = (i8::MAX, i8::MIN);
        for &entry in entries {
            least = least.min(entry);
            most = most.max(entry);
        }
        Bounds::new(least, most)
    }
}

impl Codes {
    /// How large their values can be; `PhaseComplex` counts real and imaginary parts.
    pub(crate) fn bounds(&self) -> Bounds {
        match self {
            Codes::Int8 | Codes::PhaseAxis { magnitudes: true } => Bounds::INT8,
            Codes::Int6 => Bounds::INT6,
            Codes::Codebook5(table) => Bounds::of(table),
            Codes::Codebook4(table) => Bounds::of(table),
            Codes::Codebook2(table) => Bounds::of(table),
            Codes::PhasePair { stages } => Bounds::pairs(*stages),
            Codes::Trits | Codes::PhaseAxis { magnitudes: false } | Codes::PhaseComplex => Bounds::UNIT,
        }
    }
}

/// A table, and how large its entries are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<const N: usize> {
    pub entries: [i8; N],
    pub bounds: Bounds,
}

impl<const N: usize> Table<N> {
    #[inline(always)]
    pub(crate) fn of(entries: &[i8; N]) -> Self {
        Table {
            entries: *entries,
            bounds: Bounds::of(entries),
        }
    }
}
