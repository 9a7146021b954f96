//! After the columns have been rounded one after the other: scales and codes, each chosen anew for what all others leave.
//!
//! What a row's output is off by, on average over the inputs, is e H eᵀ + 2 e·drift and what no choice can change. Half
//! its slope is p = e H + drift: the best level for column j, as everything else is, is the one nearest to
//! q_j + p_j / H_jj, and the best scale for levels v of a group is s + (p·v) / (v H vᵀ). Each choice lowers the sum, so
//! that going on until nothing changes ends (coordinate descent, as QuantEase, Behdin et al. 2023, arXiv:2309.01885,
//! algorithm 1, with the scales among the coordinates).

use super::super::super::scales::ScaleType;
use super::super::{Grid, inverse};
use super::{Feedback, Rounded, add_scaled};

/// Goes over all columns, at most.
const SWEEPS: usize = 4;

/// Rows that are being refined.
pub(super) struct Refinement<'a> {
    pub feedback: &'a Feedback<'a>,
    pub grid: &'a Grid,
    /// Columns that share a scale.
    pub group: usize,
    /// What holds a scale; `None` for scales that are given.
    pub ty: Option<ScaleType>,
}

impl Refinement<'_> {
    /// Refines rows of which the first is row `first` of the matrix.
    pub fn run(&self, first: usize, weights: &[f32], rounded: &mut Rounded) {
        let mut slopes = self.slopes(first, weights, rounded);
        let cols = self.feedback.factor.len();
        for _ in 0..SWEEPS {
            let mut changes = 0;
            for start in (0..cols).step_by(self.group) {
                // The rows of H that belong to the group stay in the cache for all rows of weights.
                for (row, slope) in slopes.chunks_exact_mut(cols).enumerate() {
                    let at = row * cols + start;
                    let codes = &mut rounded.codes[at..at + self.group];
                    changes += self.group(start, codes, &mut rounded.scales[at / self.group], slope);
                }
            }
            if changes == 0 {
                break;
            }
        }
    }

    /// p of each row.
    fn slopes(&self, first: usize, weights: &[f32], rounded: &Rounded) -> Vec<f32> {
        let cols = self.feedback.factor.len();
        let mut slopes = self.feedback.drift[first * cols..][..weights.len()].to_vec();
        for k in 0..cols {
            for (row, slope) in slopes.chunks_exact_mut(cols).enumerate() {
                let at = row * cols + k;
                let stored = rounded.scales[at / self.group] * self.grid.value(rounded.codes[at]);
                add_scaled(slope, weights[at] - stored, self.feedback.factor.moments(k));
            }
        }
        slopes
    }

    /// Chooses the scale and the codes of the group that begins at column `start`. Returns how many have changed.
    fn group(&self, start: usize, codes: &mut [u16], scale: &mut f32, slope: &mut [f32]) -> usize {
        if *scale == 0.0 {
            return 0;
        }
        let mut changes = self.scale(start, codes, scale, slope);
        let inverse = inverse(*scale);
        for (j, code) in (start..).zip(codes) {
            let row = self.feedback.factor.moments(j);
            let value = self.grid.value(*code);
            let best = self.grid.code(value + inverse * slope[j] / row[j]);
            let step = *scale * (self.grid.value(best) - value);
            if step != 0.0 {
                *code = best;
                add_scaled(slope, -step, row);
                changes += 1;
            }
        }
        changes
    }

    /// Chooses the scale of a group. Returns how many have changed.
    fn scale(&self, start: usize, codes: &[u16], scale: &mut f32, slope: &mut [f32]) -> usize {
        let Some(ty) = self.ty else { return 0 };
        let values: Vec<f32> = codes.iter().map(|&code| self.grid.value(code)).collect();
        let (mut pull, mut norm) = (0.0, 0.0);
        for (j, value) in (start..).zip(&values) {
            let row = &self.feedback.factor.moments(j)[start..][..values.len()];
            let share: f32 = row.iter().zip(&values).map(|(h, value)| h * value).sum();
            pull += slope[j] * value;
            norm += share * value;
        }
        let best = ty.round(*scale + pull / norm);
        let step = best - *scale;
        // Rounded, it may be no better.
        if !(norm > 0.0 && best != 0.0 && step * (step * norm - 2.0 * pull) < 0.0) {
            return 0;
        }
        *scale = best;
        for (j, value) in (start..).zip(&values) {
            add_scaled(slope, -step * value, self.feedback.factor.moments(j));
        }
        1
    }
}
