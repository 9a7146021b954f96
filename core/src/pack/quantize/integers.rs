//! Neighbouring integers: what 2-, 4-, 6- and 8-bit codes and ternary ones stand for.

use super::search::Levels;

/// The integers from `low` to `high`.
#[derive(Clone, Copy)]
pub(in super::super) struct Integers {
    low: f32,
    high: f32,
    /// The code of 0.
    zero: i32,
}

impl Integers {
    /// -127 to 127, each its own code. (-128 has no opposite.)
    pub(super) const INT8: Self = Self::new(-127, 127, 0);
    /// -31 to 31. (Kernels have -32 too, but an even number of levels around 0 gains nothing here.)
    pub(super) const INT6: Self = Self::new(-31, 31, 32);
    /// -8 to 7.
    pub(super) const INT4: Self = Self::new(-8, 7, 8);
    /// -2 to 1.
    pub(super) const INT2: Self = Self::new(-2, 1, 2);
    /// -1 to 1.
    pub(super) const TERNARY: Self = Self::new(-1, 1, 1);
    /// What the weights of phase pairs of one and of two stages are.
    pub(super) const PAIRS: [Self; 2] = [Self::new(-2, 2, 0), Self::new(-6, 6, 0)];

    const fn new(low: i8, high: i8, zero: i32) -> Self {
        Self {
            low: low as f32,
            high: high as f32,
            zero,
        }
    }

    pub(super) fn code(&self, x: f32) -> u16 {
        // 8-bit codes are two's complement; others are not negative.
        (self.nearest(x) as i32 + self.zero) as u8 as u16
    }

    pub(super) fn value(&self, code: u16) -> f32 {
        (i32::from(code) - self.zero) as u8 as i8 as f32
    }
}

impl Levels for Integers {
    fn magnitudes(&self) -> impl Iterator<Item = f32> {
        // None is larger than that of `low`.
        (1..=-self.low as i32).map(|level| level as f32)
    }

    fn is_symmetric(&self) -> bool {
        -self.low == self.high
    }

    #[inline(always)]
    fn nearest(&self, x: f32) -> f32 {
        x.round_ties_even().clamp(self.low, self.high)
    }
}
