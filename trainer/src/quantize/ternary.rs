//! Ternary weights with the mean magnitude as their scale (BitNet b1.58, arXiv:2402.17764, section 2).

use halfpi::pack::Scales;

use super::scale::project;
use crate::tensor::{Backend, Tensor, change_rows, matrix, of_rows, sum};

/// Thresholds below this count as this: nothing is divided by 0.
const LEAST: f32 = 1e-30;
/// Weights that are added up in one go.
const PART: usize = 4096;

/// -s, 0 or s, where s is the mean magnitude of the weights that share it: 0 for those of at most `threshold` times as
/// much. The identity on the way back.
pub(super) fn abs_mean<B: Backend>(weight: Tensor<B, 2>, scales: Scales, threshold: f32) -> Tensor<B, 2> {
    project(weight, scales, |weight| match B::Inner::floats(&weight) {
        Some(numbers) => on_host(weight, numbers.as_ref(), threshold),
        None => on_device(weight, threshold),
    })
}

/// Levels, and means as scales.
fn on_device<B: Backend>(weight: Tensor<B, 2>, threshold: f32) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let scale = weight.clone().abs().mean_dim(1);
    // What rounds to 0 is at most half of what it is divided by.
    let twice = (scale.clone() * (2.0 * threshold)).clamp_min(LEAST);
    ((weight * twice.recip()).round().clamp(-1.0, 1.0), scale)
}

/// The same in two passes.
fn on_host<B: Backend>(weight: Tensor<B, 2>, numbers: &[f32], threshold: f32) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let ([scales, shared], device) = (weight.dims(), weight.device());
    // Sums of a few thousand weights, and then the sum of those: exact enough, and the same with any number of threads.
    let part = (1..=PART.min(shared))
        .rev()
        .find(|part| shared.is_multiple_of(*part))
        .unwrap_or(1);
    let sums = of_rows(numbers, part, |_, part| sum(part, f32::abs));
    let total = |sums: &[f32]| sums.iter().map(|&sum| f64::from(sum)).sum::<f64>();
    let means: Vec<f32> = sums
        .chunks(shared / part)
        .map(|sums| (total(sums) / shared as f64) as f32)
        .collect();
    // In rows of one part each, so that a scale for the whole matrix leaves work for all threads.
    let parts = weight.reshape([numbers.len() / part, part]);
    let levels = change_rows(parts, |row, weights| {
        let factor = (means[row / (shared / part)] * (2.0 * threshold)).max(LEAST).recip();
        for weight in weights {
            let x = *weight * factor;
            *weight = if x.abs() > 0.5 { x.signum() } else { 0.0 };
        }
    });
    (levels.reshape([scales, shared]), matrix(means, [scales, 1], &device))
}

#[cfg(test)]
mod tests {
    use super::super::scale::by_scale;
    use super::super::testing::{assert_on_grid, converted, run, upstream, weights};
    use super::*;
    use crate::tensor::{Cpu, values};

    type Flex = <Cpu as Backend>::Inner;

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
    fn the_processor_does_what_other_devices_do() {
        for scales in [Scales::Tensor, Scales::Row, Scales::Group(32)] {
            let device = Default::default();
            let weight = by_scale(matrix::<Flex>(weights(SHAPE), SHAPE, &device), scales);
            let numbers = values(weight.clone());
            let (levels, means) = on_host(weight.clone(), &numbers, 0.7);
            let (expected, scale) = on_device(weight, 0.7);
            assert_eq!(values(levels), values(expected));
            for (mean, scale) in values(means).into_iter().zip(values(scale)) {
                assert!((mean - scale).abs() < 1e-6 * scale, "{mean} {scale}");
            }
        }
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
