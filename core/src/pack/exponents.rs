//! Which powers of φ a ladder has.

use std::fmt;
use std::str::FromStr;

use halfpi_kernels::format::Codes;

use super::{Format, PackError};

/// The exponents of a ladder's levels, first and last: `--exponents`.
///
/// The level of exponent e is the Fibonacci number F_e, as near to φᵉ/√5 as an integer is; of `phi5`, that and √φ times
/// it, rounded. The scale is free, so only how many there are and how small they begin counts. Fewer levels than the
/// default's are worth their loss where a file is entropy-coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exponents {
    first: u8,
    last: u8,
}

/// What `phi4` and `phi5` have: as many as their codes have room for, up to the largest Fibonacci number of 7 bits.
impl Default for Exponents {
    fn default() -> Self {
        Self { first: 4, last: 11 }
    }
}

impl Exponents {
    /// From the second Fibonacci number on, which is the first that is no repetition.
    const FIRST: u8 = 2;
    const LAST: u8 = 11;
    const MOST: u8 = 8;

    fn fibonacci(self) -> impl Iterator<Item = u8> {
        let numbers = std::iter::successors(Some((1, 1)), |&(a, b): &(u8, u8)| Some((b, a + b)));
        // F_1, F_2, …
        let all = numbers.map(|(number, _)| number).take(Self::LAST.into());
        all.skip(usize::from(self.first) - 1)
            .take(usize::from(self.last - self.first) + 1)
    }

    /// The table of a ladder with these levels; `None` for formats that are none. Codes that are left over repeat the
    /// largest level, and none is written.
    pub(super) fn codes(self, format: Format) -> Option<Codes> {
        match format {
            Format::Phi4 => Some(Codes::Codebook4(table(self.fibonacci()))),
            Format::Phi5 => {
                let root = ((1.0 + 5f64.sqrt()) / 2.0).sqrt();
                let both = |number: u8| [number, (root * f64::from(number)).round() as u8];
                Some(Codes::Codebook5(table(self.fibonacci().flat_map(both))))
            }
            _ => None,
        }
    }
}

/// Magnitudes, and their opposites in the second half.
fn table<const N: usize>(magnitudes: impl Iterator<Item = u8>) -> [i8; N] {
    let magnitudes: Vec<i8> = magnitudes.map(|magnitude| magnitude as i8).collect();
    std::array::from_fn(|code| {
        let at = (code % (N / 2)).min(magnitudes.len().saturating_sub(1));
        let magnitude = magnitudes.get(at).copied().unwrap_or_default();
        if code < N / 2 { magnitude } else { -magnitude }
    })
}

impl fmt::Display for Exponents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.first, self.last)
    }
}

impl FromStr for Exponents {
    type Err = PackError;

    fn from_str(text: &str) -> Result<Self, PackError> {
        let bad = || PackError::BadExponents { text: text.to_owned() };
        let (first, last) = text.split_once("..").ok_or_else(bad)?;
        let [first, last] = [first, last].map(|number| number.parse::<u8>().ok());
        match (first, last) {
            (Some(first), Some(last))
                if (Self::FIRST..=Self::LAST).contains(&first)
                    && (first..=Self::LAST).contains(&last)
                    && last - first < Self::MOST =>
            {
                Ok(Self { first, last })
            }
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use halfpi_kernels::format::tables;

    use super::*;

    #[test]
    fn the_default_is_the_formats_own() {
        for format in [Format::Phi4, Format::Phi5] {
            assert_eq!(Exponents::default().codes(format), format.codes());
        }
        assert_eq!(Exponents::default().codes(Format::Phi4Additive), None);
    }

    #[test]
    fn fewer_levels_end_the_table() {
        let codes = |text: &str| text.parse::<Exponents>().unwrap().codes(Format::Phi4);
        let three = [34, 55, 89, 89, 89, 89, 89, 89].map(|level: i8| [level, -level]);
        let table = std::array::from_fn(|code| three[code % 8][code / 8]);
        assert_eq!(codes("9..11"), Some(Codes::Codebook4(table)));
        let Some(Codes::Codebook4(low)) = codes("2..9") else {
            panic!()
        };
        assert_eq!(low[..8], [1, 2, 3, 5, 8, 13, 21, 34]);
        assert_eq!(tables::PHI[..6], low[2..8]);
    }

    #[test]
    fn only_ranges_that_fit_are_read() {
        for text in ["4..11", "2..9", "11..11"] {
            assert_eq!(text.parse::<Exponents>().unwrap().to_string(), text);
        }
        for text in ["", "4", "1..8", "4..12", "3..11", "9..4", "..", "-4..3", "4..=11"] {
            assert!(
                matches!(text.parse::<Exponents>(), Err(PackError::BadExponents { .. })),
                "{text}"
            );
        }
    }
}
