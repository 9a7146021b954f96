//! The nearest level of a table times the scale of least squared error, nearly: the φ ladder, the additive φ table, the
//! √φ ladder, π/2 integers of 2 and 4 bits and ternary weights.
//!
//! Packing tries dozens of scales for each group. Here, at every update, a few are tried and the best one is refined as in
//! Lloyd's algorithm (Lloyd 1982); that costs a few hundredths of a decibel. It is done on the host whatever the backend,
//! because look-ups in tables are slow as tensor operations: on a GPU the weights come and go at every update.

use std::thread;

use half::f16;
use halfpi::pack::Scales;

use super::scale::by_scale;
use crate::tensor::{Backend, Tensor, matrix, straight_through, values, with_gradient_of};

/// Scales that are tried.
const CANDIDATES: usize = 8;
/// Refinements of the best scale.
const ROUNDS: usize = 1;
/// Weights of a group that scales are tried on.
const SAMPLE: usize = 2048;
/// Weights that are looked up at a time: they stay in the fastest memory.
const RUN: usize = 64;
/// Weights for which a thread is worth its start.
const SHARE: usize = 1 << 15;

/// The levels of a format.
pub(super) struct Codebook {
    /// Ascending.
    levels: Vec<f32>,
    /// Above the i-th a weight, divided by its scale, goes to the next level but i.
    thresholds: Vec<f32>,
    scales: Scales,
    /// So many neighbours share a magnitude.
    cluster: usize,
    /// Whether weights beyond the outermost levels have no gradient.
    is_clipped: bool,
}

impl Codebook {
    /// Of these levels, in ascending order.
    pub(super) fn new(levels: Vec<f32>, scales: Scales, cluster: usize, is_clipped: bool) -> Self {
        let thresholds = levels.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
        Self {
            levels,
            thresholds,
            scales,
            cluster,
            is_clipped,
        }
    }

    /// Weights as levels times scales. On the way back the identity, of the float weights themselves, but for those that
    /// are clipped.
    pub(super) fn quantize<B: Backend>(&self, weight: Tensor<B, 2>) -> Tensor<B, 2> {
        let (shape, device) = (weight.dims(), weight.device());
        let groups = by_scale(weight.clone().detach(), self.scales);
        let group = groups.dims()[1];
        let mut weights = values(groups);
        let mut inside = vec![1.0; if self.is_clipped { weights.len() } else { 0 }];
        let threads = thread::available_parallelism().map_or(1, |threads| threads.get());
        // Whole groups, whose results do not depend on who computes them.
        let share = (weights.len() / group).div_ceil(threads).max(SHARE.div_ceil(group)) * group;
        thread::scope(|scope| {
            let mut inside = inside.chunks_mut(share);
            for weights in weights.chunks_mut(share) {
                let inside = inside.next().unwrap_or_default();
                scope.spawn(move || {
                    let mut inside = inside.chunks_mut(group);
                    for weights in weights.chunks_mut(group) {
                        self.quantize_group(weights, inside.next().unwrap_or_default());
                    }
                });
            }
        });
        let quantized = matrix(weights, shape, &device);
        if self.is_clipped {
            with_gradient_of(quantized, weight * matrix(inside, shape, &device))
        } else {
            straight_through(weight, quantized)
        }
    }

    /// Replaces the weights that share a scale, and says which have a gradient.
    fn quantize_group(&self, weights: &mut [f32], inside: &mut [f32]) {
        if self.cluster > 1 {
            share_magnitudes(weights, self.cluster);
        }
        let scale = match self.scales {
            Scales::Tensor => self.scale(weights),
            Scales::Row | Scales::Group(_) => f16::from_f32(self.scale(weights).clamp(-65504.0, 65504.0)).to_f32(),
        };
        let inverse = inverse(scale);
        let (low, high) = (self.levels[0], self.levels[self.levels.len() - 1]);
        for (inside, weight) in inside.iter_mut().zip(&*weights) {
            let x = weight * inverse;
            *inside = f32::from((low..=high).contains(&x));
        }
        let mut levels = [0.0; RUN];
        for weights in weights.chunks_mut(RUN) {
            let levels = &mut levels[..weights.len()];
            self.nearest(weights, inverse, levels);
            for (weight, level) in weights.iter_mut().zip(levels) {
                *weight = *level * scale;
            }
        }
    }

    /// The levels nearest to weights divided by their scale. The loops are so that the compiler makes vectors of them.
    fn nearest(&self, weights: &[f32], inverse: f32, levels: &mut [f32]) {
        levels.fill(self.levels[0]);
        for (threshold, next) in self.thresholds.iter().zip(&self.levels[1..]) {
            for (level, weight) in levels.iter_mut().zip(weights) {
                *level = if weight * inverse > *threshold { *next } else { *level };
            }
        }
    }

    /// The scale, of either sign where levels have no opposites, of least squared error; 0 if all weights are.
    fn scale(&self, weights: &[f32]) -> f32 {
        let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
        if largest == 0.0 || !largest.is_finite() {
            return 0.0;
        }
        let sample: Vec<f32> = weights
            .iter()
            .copied()
            .step_by(weights.len().div_ceil(SAMPLE))
            .collect();
        let mean_square = sample.iter().map(|&w| (w / largest) * (w / largest)).sum::<f32>() / sample.len() as f32;
        // From a scale at which the largest weight is inside the levels down to one that cuts off all above the deviation.
        let (first, last) = (1.15f32, mean_square.sqrt().clamp(0.05, 0.7));
        let step = (last / first).powf(1.0 / (CANDIDATES - 1) as f32);
        let top = self.levels.iter().fold(0f32, |top, level| top.max(level.abs()));
        let is_symmetric = self.levels[0] == -self.levels[self.levels.len() - 1];
        let signs: &[f32] = if is_symmetric { &[1.0] } else { &[1.0, -1.0] };
        let (mut best, mut scale) = (0.0, 0.0);
        let mut size = first * largest / top;
        for _ in 0..CANDIDATES {
            for sign in signs {
                let (dot, norm) = self.fit(&sample, (sign * size).recip());
                // What the best scale for these levels explains of the squares.
                if dot * dot > best * norm {
                    (best, scale) = (dot * dot / norm, dot / norm);
                }
            }
            size *= step;
        }
        for _ in 0..ROUNDS {
            let (dot, norm) = self.fit(weights, inverse(scale as f32));
            if norm > 0.0 {
                scale = dot / norm;
            }
        }
        scale as f32
    }

    /// The sums of weight times level and of level squared.
    fn fit(&self, weights: &[f32], inverse: f32) -> (f64, f64) {
        let (mut dot, mut norm) = (0f64, 0f64);
        let mut levels = [0.0; RUN];
        for weights in weights.chunks(RUN) {
            let levels = &mut levels[..weights.len()];
            self.nearest(weights, inverse, levels);
            let sums = weights
                .iter()
                .zip(&*levels)
                .fold((0f32, 0f32), |(dot, norm), (weight, level)| {
                    (dot + weight * level, norm + level * level)
                });
            dot += f64::from(sums.0);
            norm += f64::from(sums.1);
        }
        (dot, norm)
    }
}

/// A scale's inverse; 0 for the scale of zeros.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 {
        0.0
    } else {
        (1.0 / scale).clamp(f32::MIN, f32::MAX)
    }
}

/// Gives neighbours their mean magnitude, as packing does.
fn share_magnitudes(weights: &mut [f32], cluster: usize) {
    for weights in weights.chunks_mut(cluster) {
        let mean = weights.iter().map(|weight| weight.abs()).sum::<f32>() / weights.len() as f32;
        weights.iter_mut().for_each(|weight| *weight = mean.copysign(*weight));
    }
}

#[cfg(test)]
mod tests {
    use halfpi::pack::Format;

    use super::super::testing::{assert_on_grid, converted, run, sqnr, unpacked, upstream, weights};

    const SHAPE: [usize; 2] = [24, 96];

    const METHODS: [&str; 6] = ["phi4", "phi4-additive", "phi5", "phi5-additive", "halfpi2", "halfpi4"];

    #[test]
    fn packing_changes_no_bit() {
        for method in METHODS {
            for scales in ["tensor", "row", "32"] {
                assert_on_grid(&format!("{method}:scales={scales}"), SHAPE);
            }
        }
        assert_on_grid("ternary:least-squares:scales=row", SHAPE);
        assert_on_grid("phi4:cluster=2:clip", SHAPE);
    }

    /// Nearly as good as the search that packing makes once.
    #[test]
    fn little_is_lost_by_trying_few_scales() {
        let weights = weights(SHAPE);
        for method in METHODS {
            let (parameters, scheme) = converted(weights.clone(), SHAPE, method);
            let effective = run(&parameters, &scheme, &upstream(weights.len())).effective;
            let layers = scheme.layers;
            let best = sqnr(&weights, &unpacked(&weights, SHAPE, layers.format, layers.scales));
            let found = sqnr(&weights, &effective);
            assert!(found > best - 0.4, "{method}: {found} dB, packing {best} dB");
        }
    }

    #[test]
    fn what_is_clipped_has_no_gradient() {
        let weights = weights(SHAPE);
        let sent = upstream(weights.len());
        for (method, clips) in [("phi4", false), ("phi4:clip", true)] {
            let (parameters, scheme) = converted(weights.clone(), SHAPE, method);
            let outcome = run(&parameters, &scheme, &sent);
            let clipped = outcome.gradient.iter().zip(&sent).filter(|(found, sent)| found != sent);
            let clipped: Vec<_> = clipped.collect();
            assert!(clipped.iter().all(|(found, _)| **found == 0.0));
            assert_eq!(!clipped.is_empty(), clips, "{method}");
        }
    }

    #[test]
    fn clusters_share_magnitudes_and_keep_signs() {
        let weights = weights(SHAPE);
        let (parameters, scheme) = converted(weights.clone(), SHAPE, "phi5:cluster=4");
        let effective = run(&parameters, &scheme, &upstream(weights.len())).effective;
        assert_eq!(scheme.layers.format, Format::Phi5);
        for (weights, found) in weights.chunks(4).zip(effective.chunks(4)) {
            assert!(found.iter().all(|weight| weight.abs() == found[0].abs()));
            assert!(weights.iter().zip(found).all(|(weight, found)| weight * found > 0.0));
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let (parameters, scheme) = converted(vec![0.0; 64], [2, 32], "phi4");
        assert_eq!(run(&parameters, &scheme, &[1.0; 64]).effective, [0.0; 64]);
    }
}
