//! Ternary weights with the mean magnitude as their scale (BitNet b1.58, arXiv:2402.17764, section 2).

use halfpi::pack::Scales;

use super::scale::project;
use crate::tensor::{Backend, Tensor};

/// Thresholds below this count as this: nothing is divided by 0.
const LEAST: f32 = 1e-30;

/// -s, 0 or s, where s is the mean magnitude of the weights that share it: 0 for those of at most `threshold` times as
/// much. The identity on the way back.
pub(super) fn abs_mean<B: Backend>(weight: Tensor<B, 2>, scales: Scales, threshold: f32) -> Tensor<B, 2> {
    project(weight, scales, |weight| {
        let scale = weight.clone().abs().mean_dim(1);
        // What rounds to 0 is at most half of what it is divided by.
        let twice = (scale.clone() * (2.0 * threshold)).clamp_min(LEAST);
        ((weight * twice.recip()).round().clamp(-1.0, 1.0), scale)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_on_grid, converted, run, upstream, weights};

    const SHAPE: [usize; 2] = [40, 64];

    /// As the paper says: round and clip.
    #[test]
    fn weights_are_rounded_and_clipped() {
        let weights = weights(SHAPE);
        let (parameters, scheme) = converted(weights.clone(), SHAPE, "ternary");
        let outcome = run(&parameters, &scheme, &upstream(weights.len()));
        let mean = weights.iter().map(|weight| weight.abs()).sum::<f32>() / weights.len() as f32;
        for (weight, found) in weights.iter().zip(&outcome.effective) {
            let expected = (weight / mean).round_ties_even().clamp(-1.0, 1.0) * mean;
            assert!((found - expected).abs() < 1e-6 * mean, "{weight}: {found} {expected}");
        }
        assert_eq!(outcome.gradient, upstream(weights.len()));
    }

    #[test]
    fn a_higher_threshold_leaves_more_zeros() {
        let weights = weights(SHAPE);
        let zeros = |method: &str| {
            let (parameters, scheme) = converted(weights.clone(), SHAPE, method);
            let effective = run(&parameters, &scheme, &upstream(weights.len())).effective;
            effective.iter().filter(|&&weight| weight == 0.0).count() as f32 / effective.len() as f32
        };
        // Of normal weights the mean magnitude is 0.8 deviations.
        let shares = ["ternary:threshold=0", "ternary", "ternary:threshold=1"].map(zeros);
        for (share, expected) in shares.into_iter().zip([0.0, 0.31, 0.575]) {
            assert!((share - expected).abs() < 0.04, "{shares:?}");
        }
    }

    #[test]
    fn packing_changes_no_bit() {
        for method in [
            "ternary",
            "ternary:scales=row",
            "ternary:scales=32",
            "ternary:threshold=0.9:scales=64",
        ] {
            assert_on_grid(method, SHAPE);
        }
    }
}
