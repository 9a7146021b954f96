//! Neighbouring integers, or odd ones: what 2-, 4-, 6- and 8-bit codes and ternary ones stand for.

use super::search::Levels;

/// The integers from `low` to `high`, or every second one.
#[derive(Clone, Copy)]
pub(in super::super) struct Integers {
    low: f32,
    high: f32,
    /// 1, or 2 for odd integers.
    step: f32,
    /// The code that 0 has, or would have.
    zero: f32,
}

impl Integers {
    /// -127 to 127, each its own code. (-128 has no opposite.)
    pub(super) const INT8: Self = Self::new(-127, 127, 0);
    /// -31 to 31. (Kernels have -32 too, but an even number of levels around 0 gains nothing here.)
    pub(super) const INT6: Self = Self::new(-31, 31, 32);
    /// All of them: -32 to 31.
    pub(super) const INT6_WHOLE: Self = Self::new(-32, 31, 32);
    /// -8 to 7.
    pub(super) const INT4: Self = Self::new(-8, 7, 8);
    /// -2 to 1.
    pub(super) const INT2: Self = Self::new(-2, 1, 2);
    /// -1 to 1.
    pub(super) const TERNARY: Self = Self::new(-1, 1, 1);
    /// ±1 and ±3.
    pub(super) const ODD2: Self = Self {
        low: -3.0,
        high: 3.0,
        step: 2.0,
        zero: 1.5,
    };
    /// What the weights of phase pairs of one and of two stages are.
    pub(super) const PAIRS: [Self; 2] = [Self::new(-2, 2, 0), Self::new(-6, 6, 0)];

    const fn new(low: i8, high: i8, zero: i8) -> Self {
        Self {
            low: low as f32,
            high: high as f32,
            step: 1.0,
            zero: zero as f32,
        }
    }

    pub(super) fn code(&self, x: f32) -> u16 {
        // 8-bit codes are two's complement; others are not negative.
        ((self.nearest(x) / self.step + self.zero) as i32) as u8 as u16
    }

    pub(super) fn value(&self, code: u16) -> f32 {
        let code = if self.zero == 0.0 {
            f32::from(code as u8 as i8)
        } else {
            f32::from(code)
        };
        (code - self.zero) * self.step
    }
}

impl Levels for Integers {
    fn magnitudes(&self) -> impl Iterator<Item = f32> {
        // None is larger than that of `low`; 1 is the least of all.
        (1..=-self.low as i32)
            .step_by(self.step as usize)
            .map(|level| level as f32)
    }

    fn is_symmetric(&self) -> bool {
        -self.low == self.high
    }

    #[inline(always)]
    fn nearest(&self, x: f32) -> f32 {
        // Odd integers are even ones plus 1.
        let odd = self.step - 1.0;
        let nearest = ((x - odd) / self.step).round_ties_even() * self.step + odd;
        nearest.clamp(self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back_to_their_integers() {
        for (integers, levels) in [
            (Integers::INT8, (-127..=127).collect::<Vec<i32>>()),
            (Integers::INT6, (-31..=31).collect()),
            (Integers::INT4, (-8..=7).collect()),
            (Integers::INT2, (-2..=1).collect()),
            (Integers::TERNARY, vec![-1, 0, 1]),
            (Integers::ODD2, vec![-3, -1, 1, 3]),
        ] {
            for &level in &levels {
                let level = level as f32;
                for x in [level - 0.3, level, level + 0.3] {
                    assert_eq!(integers.value(integers.code(x)), level);
                }
            }
            let most = levels[levels.len() - 1] as f32;
            assert_eq!(integers.value(integers.code(1e9)), most);
            assert_eq!(integers.value(integers.code(-1e9)), levels[0] as f32);
        }
    }
}
