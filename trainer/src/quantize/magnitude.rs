//! Pairs of weights as a complex number on an axis, with a magnitude of 8 bits: one of the two is 0. Pairs are columns 16
//! apart in groups of 32, as the packed format has them.

use halfpi::pack::Scales;
use halfpi_kernels::format::GROUP;

use super::integers::largest;
use crate::tensor::{Backend, Tensor, constant};

const HALF: usize = GROUP / 2;

/// The range of a magnitude and its sign.
const INT8: (f32, f32) = (-127.0, 127.0);

/// 1 for the larger weight of each pair, 0 for the other: the phase, but for its sign.
pub(super) fn axes<B: Backend>(weight: Tensor<B, 2>) -> Tensor<B, 2> {
    let [rows, cols] = weight.dims();
    let count = rows * cols / GROUP;
    let pairs = weight.abs().reshape([count, GROUP]);
    let first = pairs.clone().slice([0..count, 0..HALF]);
    let second = pairs.slice([0..count, HALF..GROUP]);
    let is_first = first.greater_equal(second).float();
    Tensor::cat(vec![is_first.clone(), is_first.neg() + 1.0], 1).reshape([rows, cols])
}

/// Weights with the axes they had at the beginning: only the weights on them have gradients.
pub(super) fn fixed<B: Backend>(weight: Tensor<B, 2>, axes: Tensor<B, 2>, scales: Scales) -> Tensor<B, 2> {
    largest(weight * axes, scales, INT8)
}

/// Weights with the axis of the larger of each pair. Both have gradients, so that the axis can change.
pub(super) fn free<B: Backend>(weight: Tensor<B, 2>, scales: Scales) -> Tensor<B, 2> {
    let axes = axes(constant(weight.clone()));
    let quantized = largest(constant(weight.clone()) * axes, scales, INT8);
    crate::tensor::straight_through(weight, quantized)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_on_grid, converted, run, upstream, weights};

    const SHAPE: [usize; 2] = [24, 64];

    #[test]
    fn packing_changes_no_bit() {
        for method in [
            "phase-magnitude",
            "phase-magnitude:largest",
            "phase-magnitude:scales=row",
        ] {
            assert_on_grid(method, SHAPE);
        }
    }

    #[test]
    fn the_larger_of_a_pair_is_kept() {
        let weights = weights(SHAPE);
        let sent = upstream(weights.len());
        for (method, is_fixed) in [("phase-magnitude", true), ("phase-magnitude:largest", false)] {
            let (parameters, scheme) = converted(weights.clone(), SHAPE, method);
            let outcome = run(&parameters, &scheme, &sent);
            for first in (0..weights.len()).step_by(32) {
                let largest = weights[first..first + 32]
                    .iter()
                    .fold(0f32, |largest, weight| largest.max(weight.abs()));
                for k in first..first + 16 {
                    let is_first = weights[k].abs() >= weights[k + 16].abs();
                    let (kept, other) = if is_first { (k, k + 16) } else { (k + 16, k) };
                    assert!((outcome.effective[kept] - weights[kept]).abs() < largest / 250.0);
                    assert_eq!(outcome.effective[other], 0.0);
                    assert_eq!(outcome.gradient[kept], sent[kept]);
                    assert_eq!(outcome.gradient[other], if is_fixed { 0.0 } else { sent[other] });
                }
            }
        }
    }

    /// A fixed axis stays where it is when the other weight grows.
    #[test]
    fn fixed_phases_stay() {
        let weights = weights(SHAPE);
        let (mut parameters, scheme) = converted(weights.clone(), SHAPE, "phase-magnitude");
        let zeros = |parameters: &_| {
            let effective = run(parameters, &scheme, &upstream(weights.len())).effective;
            effective.iter().map(|&weight| weight == 0.0).collect::<Vec<_>>()
        };
        let before = zeros(&parameters);
        let bent = |weight: crate::tensor::Tensor<_, 2>| weight.clone() * weight * 3.0 + 0.1;
        parameters.update(super::super::testing::NAME, bent).unwrap();
        assert_eq!(zeros(&parameters), before);
    }
}
