//! How large values can be: what decides how many products an instruction set may add before it needs wider sums.

use super::Codes;

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

    /// Of phase pairs.
    pub(crate) const fn pairs(stages: u8) -> Self {
        if stages == 1 {
            Bounds::new(-2, 2)
        } else {
            Bounds::new(-6, 6)
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

#[cfg(test)]
mod tests {
    use super::Codes;
    use crate::format::tables;

    #[test]
    fn every_code_has_a_value_within_the_bounds_and_some_have_the_bounds() {
        for codes in [
            Codes::Int8,
            Codes::Int6,
            Codes::Codebook5(core::array::from_fn(|i| 3 * i as i8 - 17)),
            Codes::Codebook4(tables::IQ4_NL),
            Codes::Codebook4(tables::Q4_1),
            Codes::Codebook2(tables::ODD2),
            Codes::Trits,
            Codes::PhasePair { stages: 1 },
            Codes::PhasePair { stages: 2 },
            Codes::PhaseAxis { magnitudes: true },
            Codes::PhaseAxis { magnitudes: false },
            Codes::PhaseComplex,
        ] {
            let block = codes.block();
            let places = (0..block.rows).flat_map(|row| (0..block.cols).map(move |col| (row, col)));
            let values = places.flat_map(|(row, col)| (0..codes.count()).map(move |code| (code as u16, row, col)));
            let (mut least, mut most) = (i8::MAX, i8::MIN);
            for (code, row, col) in values {
                let value = codes.value(code, row, col);
                (least, most) = (least.min(value), most.max(value));
            }
            assert_eq!((least, most), (codes.bounds().least, codes.bounds().most), "{codes:?}");
        }
    }
}
