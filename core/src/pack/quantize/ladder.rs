//! Eight magnitudes and a sign: the φ ladder and its additive sister.
//!
//! The scale is chosen to minimise the squared error. For a given choice of levels l the best scale is Σ|w|l / Σl², and
//! it leaves the error Σw² - (Σ|w|l)² / Σl². So a range of scales is tried for the levels that they lead to, the one
//! with the largest (Σ|w|l)² / Σl² wins, and its scale is then refined as in Lloyd's algorithm (Lloyd 1982).

use half::f16;

use super::{inverse, to_f16};

/// Magnitudes in ascending order.
const LEVELS: usize = 8;
/// Neighbouring scales that are tried differ by this factor.
const STEP: f32 = 1.04;
/// Refinements of the best scale.
const ROUNDS: usize = 2;
/// Weights are taken by so many at a time, with as many sums: groups are multiples of 32.
const LANES: usize = 8;

pub(in super::super) struct Ladder {
    table: [i8; 16],
    levels: [f32; LEVELS],
    /// Above the i-th, a magnitude goes to level i + 1.
    thresholds: [f32; LEVELS - 1],
}

/// What a scale leads to: the sums of |w| times level and of level squared.
#[derive(Clone, Copy)]
struct Fit {
    dot: f32,
    norm: f32,
}

impl Fit {
    /// How much of Σw² the best scale for these levels explains.
    fn explained(self) -> f32 {
        self.dot * self.dot / self.norm
    }

    fn best_scale(self) -> f32 {
        self.dot / self.norm
    }
}

impl Ladder {
    /// A ladder of a table whose first half ascends from above 0, and whose second half is the first one negated.
    pub(super) fn new(table: [i8; 16]) -> Self {
        let levels: [f32; LEVELS] = std::array::from_fn(|i| f32::from(table[i]));
        Self {
            table,
            levels,
            thresholds: std::array::from_fn(|i| (levels[i] + levels[i + 1]) / 2.0),
        }
    }

    pub(super) fn table(&self) -> [i8; 16] {
        self.table
    }

    pub(super) fn value(&self, code: u8) -> f32 {
        f32::from(self.table[usize::from(code & 15)])
    }

    pub(super) fn quantize(&self, weights: &[f32], codes: &mut [u8]) -> f16 {
        let scale = to_f16(self.search(weights));
        let inverse = inverse(scale);
        for (code, weight) in codes.iter_mut().zip(weights) {
            let magnitude = weight.abs() * inverse;
            let level = self
                .thresholds
                .iter()
                .filter(|&&threshold| magnitude > threshold)
                .count() as u8;
            *code = level | if *weight < 0.0 { 8 } else { 0 };
        }
        scale
    }

    fn search(&self, weights: &[f32]) -> f32 {
        let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
        if largest == 0.0 {
            return 0.0;
        }
        // Below, scales are counted in units of the one that puts the largest weight at the top of the ladder.
        let unit = largest / self.levels[LEVELS - 1];
        let mean_square = weights.iter().map(|&w| (w / largest) * (w / largest)).sum::<f32>() / weights.len() as f32;
        // From a scale at which the largest weight is well inside the ladder down to one that cuts off everything above
        // the standard deviation: the best one for long-tailed rows is far below the largest weight.
        let mut relative = 1.25;
        let last = mean_square.sqrt().min(0.7);
        let mut best: Option<Fit> = None;
        while relative > last {
            let fit = self.fit(weights, 1.0 / (relative * unit));
            if best.is_none_or(|best| fit.explained() > best.explained()) {
                best = Some(fit);
            }
            relative /= STEP;
        }
        let Some(mut best) = best else { return 0.0 };
        for _ in 0..ROUNDS {
            best = self.fit(weights, 1.0 / best.best_scale());
        }
        best.best_scale()
    }

    /// The levels that a scale leads to.
    fn fit(&self, weights: &[f32], inverse: f32) -> Fit {
        let mut dot = [0f32; LANES];
        let mut norm = [0f32; LANES];
        for weights in weights.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                let magnitude = weights[lane].abs();
                let x = magnitude * inverse;
                let mut level = self.levels[0];
                for (i, &threshold) in self.thresholds.iter().enumerate() {
                    level = if x > threshold { self.levels[i + 1] } else { level };
                }
                dot[lane] += magnitude * level;
                norm[lane] += level * level;
            }
        }
        Fit {
            dot: dot.iter().sum(),
            norm: norm.iter().sum(),
        }
    }
}
