//! Magnitudes and a sign: the φ ladder and the √φ ladder.

use super::search::Levels;

/// `N` magnitudes and their opposites.
#[derive(Clone)]
pub(in super::super) struct Ladder<const N: usize> {
    /// In ascending order.
    magnitudes: [f32; N],
    /// Above the i-th, a magnitude goes to the next but i-th; the last one is never reached.
    thresholds: [f32; N],
}

impl<const N: usize> Ladder<N> {
    /// A ladder of a table whose first half ascends from above 0, and may repeat the last level, and whose second half is the first one negated.
    pub(super) fn new(table: &[i8]) -> Self {
        let magnitudes: [f32; N] = std::array::from_fn(|i| f32::from(table[i]));
        let threshold = |i: usize| match magnitudes.get(i + 1) {
            // A level that repeats has no weights.
            Some(next) if *next > magnitudes[i] => (magnitudes[i] + next) / 2.0,
            _ => f32::INFINITY,
        };
        Self {
            magnitudes,
            thresholds: std::array::from_fn(threshold),
        }
    }

    pub(super) fn code(&self, x: f32) -> u16 {
        let magnitude = x.abs();
        let level = self
            .thresholds
            .iter()
            .filter(|&&threshold| magnitude > threshold)
            .count();
        (level + if x < 0.0 { N } else { 0 }) as u16
    }

    pub(super) fn value(&self, code: u16) -> f32 {
        let magnitude = self.magnitudes[usize::from(code) % N];
        if usize::from(code) < N { magnitude } else { -magnitude }
    }
}

impl<const N: usize> Levels for Ladder<N> {
    fn magnitudes(&self) -> impl Iterator<Item = f32> {
        self.magnitudes.iter().copied()
    }

    fn is_symmetric(&self) -> bool {
        true
    }

    #[inline(always)]
    fn nearest(&self, x: f32) -> f32 {
        let magnitude = x.abs();
        let mut level = self.magnitudes[0];
        for i in 1..N {
            level = if magnitude > self.thresholds[i - 1] {
                self.magnitudes[i]
            } else {
                level
            };
        }
        level.copysign(x)
    }
}
