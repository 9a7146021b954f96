//! What the tests of all methods have in common.

use halfpi::pack::{Format, Scales, pack_matrix};
use halfpi_kernels::format::{Matrix, Packed};

use super::{Method, Quantized, Scheme, convert};
use crate::tensor::{Cpu, Tensor, matrix, values};
use crate::{Parameters, Random};

/// The name of the matrix.
pub(super) const NAME: &str = "blk.0.ffn_up.weight";

/// Normal weights, of deviation 0.05 and, by rows, more.
pub(super) fn weights([rows, cols]: [usize; 2]) -> Vec<f32> {
    let mut random = Random::new(3);
    let mut row = |row: usize| -> Vec<f32> {
        let deviation = 0.05 * (1.0 + 0.1 * (row % 7) as f32);
        (0..cols).map(|_| deviation * random.normal()).collect()
    };
    (0..rows).flat_map(&mut row).collect()
}

/// A model of one matrix, converted.
pub(super) fn converted(values: Vec<f32>, shape: [usize; 2], method: &str) -> (Parameters<Cpu>, Scheme) {
    let scheme = Scheme::new(method.parse().unwrap());
    let mut parameters = Parameters::default();
    parameters.insert(NAME, matrix(values, shape, &Default::default()));
    convert(&mut parameters, &scheme).unwrap();
    (parameters, scheme)
}

/// What weights become, and the gradients of the weights and of what the method adds if the loss is the sum of what they
/// become times `upstream`.
pub(super) struct Outcome {
    pub effective: Vec<f32>,
    pub gradient: Vec<f32>,
    pub added: Option<Vec<f32>>,
}

pub(super) fn run(parameters: &Parameters<Cpu>, scheme: &Scheme, upstream: &[f32]) -> Outcome {
    let effective = Quantized { parameters, scheme }.effective(NAME).unwrap();
    let upstream: Tensor<Cpu, 2> = matrix(upstream.to_vec(), effective.dims(), &Default::default());
    let mut all = (effective.clone() * upstream).sum().backward();
    let mut gradients = parameters.gradients(&mut all);
    let gradient = values(gradients.remove(NAME).unwrap());
    Outcome {
        effective: values(effective),
        gradient,
        added: gradients.into_values().next().map(values),
    }
}

/// The gradients that a test sends back: as different as can be.
pub(super) fn upstream(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 * 0.7).sin()).collect()
}

/// What a packed file gives back for a matrix.
pub(super) fn unpacked(weights: &[f32], [rows, cols]: [usize; 2], format: Format, scales: Scales) -> Vec<f32> {
    let (bytes, _) = pack_matrix(weights, (rows, cols), format, scales, 1).unwrap();
    dequantized(&bytes)
}

pub(super) fn dequantized(bytes: &[u8]) -> Vec<f32> {
    let packed = Packed::from_file_bytes(bytes).unwrap();
    let (rows, cols) = (packed.rows(), packed.cols());
    let mut out = vec![0.0; rows * cols];
    for (row, out) in out.chunks_exact_mut(cols).enumerate() {
        Matrix::Packed(packed).dequantize_row(row, out).unwrap();
    }
    out
}

/// Checks that packing what the forward pass uses changes no bit, and returns it.
pub(super) fn assert_on_grid(method: &str, shape: [usize; 2]) -> Vec<f32> {
    let weights = weights(shape);
    let (parameters, scheme) = converted(weights.clone(), shape, method);
    let effective = run(&parameters, &scheme, &upstream(weights.len())).effective;
    let Method { format, scales, .. } = scheme.layers;
    let stored = unpacked(&effective, shape, format, scales);
    let changed = effective.iter().zip(&stored).filter(|(a, b)| a != b);
    let changed: Vec<_> = changed.take(4).collect();
    assert!(changed.is_empty(), "{method} {shape:?}: {changed:?}");
    effective
}

/// How much of the weights is left, in decibels.
pub(super) fn sqnr(weights: &[f32], effective: &[f32]) -> f64 {
    let power = |x: f32| f64::from(x) * f64::from(x);
    let signal: f64 = weights.iter().map(|&x| power(x)).sum();
    let noise: f64 = weights.iter().zip(effective).map(|(x, y)| power(x - y)).sum();
    10.0 * (signal / noise).log10()
}
