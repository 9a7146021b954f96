//! The integers that weights may be, and the scales that suit them.

use half::f16;
use halfpi::pack::Format;
use serde::{Deserialize, Serialize};

/// The integers that the weights of a matrix may be: a range that one of the packed formats stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// -1 to 1: `ternary`.
    Ternary,
    /// -2 to 1: `halfpi2`.
    Int2,
    /// -8 to 7: `halfpi4`.
    Int4,
    /// -127 to 127: `halfpi8`.
    Int8,
}

impl Range {
    /// The format in which `halfpi pack` stores these integers as they are.
    pub fn format(self) -> Format {
        match self {
            Range::Ternary => Format::Ternary,
            Range::Int2 => Format::Halfpi2,
            Range::Int4 => Format::Halfpi4,
            Range::Int8 => Format::Halfpi8,
        }
    }

    /// The range of a packed format's integers; `None` for formats that are trained otherwise.
    pub fn of(format: Format) -> Option<Self> {
        [Range::Ternary, Range::Int2, Range::Int4, Range::Int8]
            .into_iter()
            .find(|range| range.format() == format)
    }

    /// The least integer.
    pub fn low(self) -> i8 {
        match self {
            Range::Ternary => -1,
            Range::Int2 => -2,
            Range::Int4 => -8,
            Range::Int8 => -127,
        }
    }

    /// The largest integer.
    pub fn high(self) -> i8 {
        match self {
            Range::Ternary | Range::Int2 => 1,
            Range::Int4 => 7,
            Range::Int8 => 127,
        }
    }

    /// Whether `code` is one of them.
    pub fn contains(self, code: i8) -> bool {
        (self.low()..=self.high()).contains(&code)
    }

    /// The integer nearest to `x`.
    pub fn nearest(self, x: f32) -> i8 {
        x.round_ties_even().clamp(f32::from(self.low()), f32::from(self.high())) as i8
    }

    /// The scale for normal weights of deviation 1: that of least squared error.
    pub(super) fn normal_scale(self) -> f32 {
        match self {
            Range::Ternary => 1.224,
            Range::Int2 => 0.996,
            Range::Int4 => 0.335,
            Range::Int8 => 0.0308,
        }
    }

    /// The scale nearest to this that training can use: positive, and such that every integer of the range times it is a
    /// number of 16 bits.
    ///
    /// So weights are kept to the bit whatever `halfpi pack` makes of them: where all weights of a group are multiples of
    /// 3 it may as well take three times the scale. At 8 bits that leaves a scale 4 significant ones, which costs
    /// nothing: what matters is where weights lie beside each other.
    pub fn scale(self, scale: f32) -> f32 {
        let multiples = match self.high() {
            1 => 0,
            high => high.ilog2() + 1,
        };
        let dropped = f32::MANTISSA_DIGITS - (f16::MANTISSA_DIGITS - multiples);
        let most = f16::MAX.to_f32() / f32::from(self.high()) / 2.0;
        let least = f16::MIN_POSITIVE_SUBNORMAL.to_f32();
        // NaN becomes the least.
        let scale = f16::from_f32(scale.min(most).max(least)).to_f32();
        let half = 1 << (dropped - 1);
        f32::from_bits((scale.to_bits() + half) & !((1 << dropped) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Range; 4] = [Range::Ternary, Range::Int2, Range::Int4, Range::Int8];

    #[test]
    fn every_level_is_a_number_of_16_bits() {
        for range in ALL {
            let mut scale = 1e-9;
            while scale < 1e6 {
                let near = range.scale(scale);
                assert_eq!(range.scale(near), near);
                for code in range.low()..=range.high() {
                    let level = near * f32::from(code);
                    assert_eq!(f16::from_f32(level).to_f32(), level, "{range:?} {near} {code}");
                }
                if (1e-4..100.0).contains(&scale) {
                    assert!((near / scale - 1.0).abs() < 1.0 / 15.0, "{range:?} {scale} {near}");
                }
                scale *= 1.013;
            }
            for odd in [0.0, -1.0, f32::NAN, f32::INFINITY] {
                assert!(range.scale(odd) > 0.0 && range.scale(odd).is_finite());
            }
        }
    }

    #[test]
    fn ranges_are_those_of_their_formats() {
        for range in ALL {
            assert_eq!(Range::of(range.format()), Some(range));
            assert_eq!(range.nearest(1e9), range.high());
            assert_eq!(range.nearest(-1e9), range.low());
            assert!(!range.contains(range.low() - 1) && !range.contains(range.high().wrapping_add(1)));
        }
        assert_eq!(Range::of(Format::Phi4), None);
    }

    #[test]
    fn the_scale_for_normal_weights_is_the_best_one() {
        let mut random = crate::Random::new(3);
        let weights: Vec<f32> = (0..20_000).map(|_| random.normal()).collect();
        for range in ALL {
            let error = |scale: f32| -> f32 {
                let errors = weights.iter().map(|w| w - scale * f32::from(range.nearest(w / scale)));
                errors.map(|error| error * error).sum()
            };
            let best = range.normal_scale();
            for other in [0.85, 1.18] {
                assert!(error(best) < error(best * other), "{range:?} {other}");
            }
        }
    }
}
