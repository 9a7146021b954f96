//! Steps beside the same in the engine's operations.

use std::array::from_fn;

use super::{Cpu, Tensor, matrix, values};
use crate::Random;

/// Normal numbers, chosen by `name`.
pub(super) fn normal(name: &str, [rows, cols]: [usize; 2]) -> Vec<f32> {
    let mut random = Random::of(7, name);
    (0..rows * cols).map(|_| random.normal()).collect()
}

type Function<const N: usize> = fn([Tensor<Cpu, 2>; N]) -> Tensor<Cpu, 2>;

/// The value, weighted with numbers so that every element has a gradient of its own, and the gradients of the inputs that
/// are `wanted`.
fn run<const N: usize>(
    function: Function<N>,
    inputs: &[(Vec<f32>, [usize; 2]); N],
    wanted: [bool; N],
) -> (Vec<f32>, Vec<f32>, [Option<Vec<f32>>; N]) {
    let device = Default::default();
    let inputs: [Tensor<Cpu, 2>; N] = from_fn(|i| {
        let input = matrix(inputs[i].0.clone(), inputs[i].1, &device);
        if wanted[i] { input.require_grad() } else { input }
    });
    let y = function(inputs.clone());
    let upstream = normal("upstream", y.dims());
    let gradients = (y.clone() * matrix(upstream.clone(), y.dims(), &device))
        .sum()
        .backward();
    let of = inputs.map(|input| input.grad(&gradients).map(values));
    (values(y), upstream, of)
}

fn assert_near(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1e-3f32, |size, number| size.max(number.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(error <= tolerance * size, "{what}, {i}: {found}, not {expected}");
    }
}

/// `step` has the values and gradients of `reference`, with any of the inputs constant, and the gradients of finite
/// differences.
pub(super) fn assert_same<const N: usize>(step: Function<N>, reference: Function<N>, shapes: [[usize; 2]; N]) {
    let inputs = from_fn(|i| (normal(&format!("input {i}"), shapes[i]), shapes[i]));
    for mask in 1..1 << N {
        let wanted = from_fn(|i| mask & (1 << i) != 0);
        let (found, _, gradients) = run(step, &inputs, wanted);
        let (expected, upstream, references) = run(reference, &inputs, wanted);
        assert_near("the value", &found, &expected, 1e-5);
        for (i, (found, expected)) in gradients.iter().zip(&references).enumerate() {
            let what = format!("gradient {i}, wanted {wanted:?}");
            match (found, expected) {
                (Some(found), Some(expected)) => assert_near(&what, found, expected, 2e-5),
                (found, expected) => assert_eq!(found, expected, "{what}"),
            }
        }
        for (i, gradient) in gradients.iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            // A few of the numbers, in a direction of all of them at once.
            let direction = normal("direction", shapes[i]);
            let moved = |by: f32| {
                let mut inputs = inputs.clone();
                for (number, towards) in inputs[i].0.iter_mut().zip(&direction) {
                    *number += by * towards;
                }
                let (y, _, _) = run(step, &inputs, wanted);
                y.iter()
                    .zip(&upstream)
                    .map(|(y, weight)| f64::from(y * weight))
                    .sum::<f64>()
            };
            let by = 1e-3;
            let slope = (moved(by) - moved(-by)) / (2.0 * f64::from(by));
            let expected: f64 = gradient.iter().zip(&direction).map(|(a, b)| f64::from(a * b)).sum();
            let size: f64 = gradient
                .iter()
                .zip(&direction)
                .map(|(a, b)| f64::from(a * b).powi(2))
                .sum::<f64>()
                .sqrt();
            assert!(
                (slope - expected).abs() < 2e-2 * size,
                "input {i}: {slope}, not {expected}"
            );
        }
    }
}
