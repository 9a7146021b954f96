//! Tables of levels, and the scales they are used with.

use half::f16;

use super::Distortion;

/// A sign and the powers of two from 1 down to 2⁻⁷.
pub(super) const LOG2: [f32; 16] = [
    -1.0, -0.5, -0.25, -0.125, -0.0625, -0.03125, -0.015625, -0.0078125, 0.0078125, 0.015625, 0.03125, 0.0625, 0.125,
    0.25, 0.5, 1.0,
];
/// The whole numbers from -7 to 7.
pub(super) const INT4: [f32; 15] = [
    -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0,
];
/// NormalFloat: quantiles of a Gaussian (QLoRA, arXiv:2305.14314, appendix E).
pub(super) const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Neighbouring scales that are tried differ by this factor.
const STEP: f32 = 1.04;
/// Refinements of the best scale, as in Lloyd's algorithm.
const ROUNDS: usize = 2;
/// Sums that are kept side by side, so that the loop over the weights can be one of vectors.
const LANES: usize = 8;

/// Levels in ascending order, with the borders between them.
pub(super) struct Codebook {
    levels: Vec<f32>,
    borders: Vec<f32>,
    largest: f32,
}

impl Codebook {
    /// At least one of the levels, which ascend, is not 0.
    pub(super) fn new(levels: Vec<f32>) -> Self {
        Self {
            borders: levels.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect(),
            largest: levels.iter().fold(0f32, |largest, level| largest.max(level.abs())),
            levels,
        }
    }

    /// What is lost if each group gets the scale that `choose` gives it, in f16.
    pub(super) fn loss<'a>(
        &self,
        groups: impl Iterator<Item = &'a [f32]>,
        choose: fn(&Self, &[f32]) -> f32,
    ) -> Distortion {
        let mut lost = Distortion::default();
        for group in groups {
            let scale = f16::from_f32(choose(self, group).min(f16::MAX.to_f32())).to_f32();
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            for &weight in group {
                lost.add(weight, scale * self.nearest(weight * inverse));
            }
        }
        lost
    }

    /// The scale at which the largest weight is the largest level.
    pub(super) fn absmax_scale(&self, weights: &[f32]) -> f32 {
        absmax(weights) / self.largest
    }

    /// The scale of least squared error, searched as the φ formats' quantizer does.
    ///
    /// For given levels l the best scale is Σwl / Σl², which explains (Σwl)² / Σl² of Σw².
    pub(super) fn searched_scale(&self, weights: &[f32]) -> f32 {
        let largest = absmax(weights);
        if largest == 0.0 {
            return 0.0;
        }
        let mean_square = weights.iter().map(|&w| (w / largest) * (w / largest)).sum::<f32>() / weights.len() as f32;
        let (mut relative, last) = (1.25, mean_square.sqrt().min(0.7));
        // (what it explains, the scale)
        let mut best = (0.0, largest / self.largest);
        while relative > last {
            let (dot, norm) = self.fit(weights, self.largest / (relative * largest));
            if norm > 0.0 && dot > 0.0 && dot * dot / norm > best.0 {
                best = (dot * dot / norm, dot / norm);
            }
            relative /= STEP;
        }
        for _ in 0..ROUNDS {
            let (dot, norm) = self.fit(weights, 1.0 / best.1);
            if norm > 0.0 && dot > 0.0 {
                best.1 = dot / norm;
            }
        }
        best.1
    }

    /// Σwl and Σl² for the levels that the inverse of a scale leads to.
    fn fit(&self, weights: &[f32], inverse: f32) -> (f32, f32) {
        let (mut dot, mut norm) = ([0f32; LANES], [0f32; LANES]);
        let (whole, rest) = weights.as_chunks::<LANES>();
        for weights in whole {
            for lane in 0..LANES {
                let level = self.nearest(weights[lane] * inverse);
                dot[lane] += weights[lane] * level;
                norm[lane] += level * level;
            }
        }
        for (lane, weight) in rest.iter().enumerate() {
            let level = self.nearest(weight * inverse);
            dot[lane] += weight * level;
            norm[lane] += level * level;
        }
        (dot.iter().sum(), norm.iter().sum())
    }

    #[inline]
    fn nearest(&self, x: f32) -> f32 {
        let mut nearest = self.levels[0];
        for (&border, &level) in self.borders.iter().zip(&self.levels[1..]) {
            nearest = if x > border { level } else { nearest };
        }
        nearest
    }
}

pub(super) fn absmax(weights: &[f32]) -> f32 {
    weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()))
}
