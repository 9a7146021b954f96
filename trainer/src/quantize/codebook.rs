//! The nearest level of a table times the scale of least squared error, nearly: the φ ladder, the additive φ table, the
//! √φ ladder, π/2 integers of 2 and 4 bits and ternary weights.
//!
//! Packing tries dozens of scales for each group. Here, at every update, eight are tried and the best one is refined as in
//! Lloyd's algorithm (Lloyd 1982); that costs up to 0.4 decibels, most with 5-bit tables. It is done on the host whatever the backend,
//! because looking up is slow as tensor operations: on a GPU the weights come and go at every update.

use std::thread;

use half::f16;
use halfpi::pack::Scales;

use super::scale::by_scale;
use crate::tensor::{Backend, Tensor, constant, matrix, straight_through, values, with_gradient_of};

/// Scales that are tried.
const CANDIDATES: usize = 8;
/// Weights of a group that they are tried on.
const SAMPLE: usize = 2048;
/// Places between 0 and the largest level for which the nearest level is known: a quarter of a level of the finest table.
const PLACES: usize = 512;
/// Weights for which a thread is worth its start.
const SHARE: usize = 1 << 15;

/// The levels of a format.
pub(super) struct Codebook {
    /// The lowest and the highest level.
    range: (f32, f32),
    /// The largest magnitude of a level.
    top: f32,
    /// The level nearest to `(i - PLACES) / PLACES` of the top.
    nearest: Vec<f32>,
    scales: Scales,
    /// So many neighbours share a magnitude.
    cluster: usize,
    /// Whether weights beyond the outermost levels have no gradient.
    is_clipped: bool,
}

impl Codebook {
    /// Of these levels, in ascending order.
    pub(super) fn new(levels: Vec<f32>, scales: Scales, cluster: usize, is_clipped: bool) -> Self {
        let top = levels.iter().fold(0f32, |top, level| top.max(level.abs()));
        let nearest = |place: usize| {
            let x = (place as f32 / PLACES as f32 - 1.0) * top;
            let distance = |level: &&f32| (*level - x).abs();
            let nearest = levels.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
            nearest.copied().unwrap_or_default()
        };
        Self {
            range: (
                levels.first().copied().unwrap_or_default(),
                levels.last().copied().unwrap_or_default(),
            ),
            top,
            nearest: (0..=2 * PLACES).map(nearest).collect(),
            scales,
            cluster,
            is_clipped,
        }
    }

    /// Weights as levels times scales. On the way back the identity, of the float weights themselves, but for those that
    /// are clipped.
    pub(super) fn quantize<B: Backend>(&self, weight: Tensor<B, 2>) -> Tensor<B, 2> {
        let (shape, device) = (weight.dims(), weight.device());
        let groups = by_scale(constant(weight.clone()), self.scales);
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
        for (inside, weight) in inside.iter_mut().zip(&*weights) {
            let x = weight * inverse;
            *inside = f32::from(u8::from(self.range.0 <= x && x <= self.range.1));
        }
        let places = inverse * PLACES as f32 / self.top;
        weights
            .iter_mut()
            .for_each(|weight| *weight = self.level(*weight * places) * scale);
    }

    /// The nearest level to a weight, counted in places.
    #[inline(always)]
    fn level(&self, x: f32) -> f32 {
        let place = (x + (PLACES as f32 + 0.5)).clamp(0.0, 2.0 * PLACES as f32);
        self.nearest[place as usize]
    }

    /// The scale, of either sign where levels have no opposites, of least squared error, nearly; 0 if all weights are.
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
        // From a scale at which the largest weight is inside the levels down to one at which what is far above the
        // deviation is cut off.
        let (first, last) = (1.1f32, (1.2 * mean_square.sqrt()).clamp(0.05, 0.8));
        let step = (last / first).powf(1.0 / (CANDIDATES - 1) as f32);
        let is_symmetric = -self.range.0 == self.range.1;
        let signs: &[f32] = if is_symmetric { &[1.0] } else { &[1.0, -1.0] };
        let (mut best, mut scale) = (0.0, 0.0);
        let mut size = first * largest / self.top;
        for _ in 0..CANDIDATES {
            for sign in signs {
                let (dot, norm) = self.fit(&sample, sign * size);
                // What the best scale for these levels explains of the squares.
                if dot * dot > best * norm {
                    (best, scale) = (dot * dot / norm, dot / norm);
                }
            }
            size *= step;
        }
        let (dot, norm) = self.fit(weights, scale as f32);
        if norm > 0.0 {
            scale = dot / norm;
        }
        scale as f32
    }

    /// The sums of weight times level and of level squared.
    fn fit(&self, weights: &[f32], scale: f32) -> (f64, f64) {
        let places = inverse(scale) * PLACES as f32 / self.top;
        let runs = weights.chunks(1 << 10).map(|run| {
            run.iter().fold((0f32, 0f32), |(dot, norm), &weight| {
                let level = self.level(weight * places);
                (dot + weight * level, norm + level * level)
            })
        });
        runs.fold((0.0, 0.0), |sums, run| {
            (sums.0 + f64::from(run.0), sums.1 + f64::from(run.1))
        })
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
