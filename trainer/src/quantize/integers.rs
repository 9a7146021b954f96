//! Integers with the largest weight at the largest of them. The π/2 of `halfpi2`, `halfpi4` and `halfpi8` is in the scale.

use halfpi::pack::{Format, Scales};

use super::scale::{project, stored};
use crate::tensor::{Backend, Tensor};

/// Scales below this count as this when weights are divided by them: all weights are 0 then.
const LEAST: f32 = 1e-30;

/// The integers of a format, if it has such.
pub(super) fn range(format: Format) -> Option<(f32, f32)> {
    Some(match format {
        Format::Halfpi2 => (-2.0, 1.0),
        Format::Halfpi4 => (-8.0, 7.0),
        Format::Q6 => (-31.0, 31.0),
        Format::Q8 | Format::Halfpi8 | Format::PhaseMagnitude => (-127.0, 127.0),
        _ => return None,
    })
}

/// The nearest integers times their scales; the identity on the way back.
pub(super) fn largest<B: Backend>(weight: Tensor<B, 2>, scales: Scales, (low, high): (f32, f32)) -> Tensor<B, 2> {
    project(weight, scales, |weight| {
        let scale = stored(weight.clone().max_abs_dim(1) / high, scales);
        let levels = (weight / scale.clone().clamp_min(LEAST)).round().clamp(low, high);
        (levels, scale)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_on_grid, converted, run, upstream, weights};

    const SHAPE: [usize; 2] = [20, 96];

    #[test]
    fn packing_changes_no_bit() {
        for method in [
            "halfpi2:largest:scales=tensor",
            "halfpi4:largest",
            "halfpi4:largest:scales=row",
            "halfpi8",
            "halfpi8:scales=row",
            "q6",
            "q8:scales=tensor",
        ] {
            assert_on_grid(method, SHAPE);
        }
    }

    #[test]
    fn weights_are_rounded_to_integers_of_their_group() {
        let weights = weights(SHAPE);
        let (parameters, scheme) = converted(weights.clone(), SHAPE, "halfpi4:largest");
        let outcome = run(&parameters, &scheme, &upstream(weights.len()));
        for (weights, found) in weights.chunks(32).zip(outcome.effective.chunks(32)) {
            let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
            let scale = half::f16::from_f32(largest / 7.0).to_f32();
            for (weight, found) in weights.iter().zip(found) {
                assert_eq!(*found, (weight / scale).round_ties_even().clamp(-8.0, 7.0) * scale);
            }
        }
        assert_eq!(outcome.gradient, upstream(weights.len()));
    }

    #[test]
    fn zeros_stay_zeros() {
        let (parameters, scheme) = converted(vec![0.0; 64], [2, 32], "halfpi8");
        assert_eq!(run(&parameters, &scheme, &[1.0; 64]).effective, [0.0; 64]);
    }
}
