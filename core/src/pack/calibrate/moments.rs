//! Second moments of inputs, by the engine's own float products.

use halfpi_kernels::Backend;
use halfpi_kernels::format::{Dense, Float, Matrix};
use halfpi_kernels::ops::{Activations, Product, matmul};

use super::CalibrationError;
use crate::pool::Pool;

/// Positions that are multiplied at a time: their sums in f32 stay precise, the totals are f64.
const CHUNK: usize = 512;
/// Rows of a symmetric result that are computed together, from the diagonal on.
const BAND: usize = 64;

/// Columns that are transposed together.
const TRANSPOSED: usize = 16;

/// Which positions count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Positions {
    All,
    /// Those of every second run of [`CHUNK`], from the first or from the second on.
    Half(usize),
}

/// Mean of aᵀ b over positions: `a` is `[position][rows]`, `b` `[position][cols]`, the result `[rows][cols]`. It is 0 where
/// there are no positions.
///
/// With `upper`, for results that are symmetric, not all of what is below the diagonal is computed.
pub(super) fn mean_product(
    backend: Backend,
    pool: &Pool,
    (a, rows): (&[f32], usize),
    (b, cols): (&[f32], usize),
    upper: bool,
    which: Positions,
) -> Result<Vec<f64>, CalibrationError> {
    let (first, step) = match which {
        Positions::All => (0, 1),
        Positions::Half(half) => (half, 2),
    };
    let chunks = || {
        a.chunks(CHUNK * rows)
            .zip(b.chunks(CHUNK * cols))
            .skip(first)
            .step_by(step)
    };
    let positions = chunks().map(|(a, _)| a.len() / rows).sum::<usize>();
    let mut mean = vec![0f64; rows * cols];
    let share = 1.0 / positions.max(1) as f64;
    for (a, b) in chunks() {
        let (a, b) = (transpose(a, rows), transpose(b, cols));
        let n = a.len() / rows;
        let band = if upper { BAND } else { rows };
        for first in (0..rows).step_by(band) {
            let last = rows.min(first + band);
            let from = if upper { first } else { 0 };
            // Rows of `b` are the weights and rows of `a` the positions of one product: out[a][b].
            let weight = Matrix::Dense(Dense::new(
                cols - from,
                n,
                Float::F32,
                bytemuck::cast_slice(&b[from * n..]),
            )?);
            let mut out = vec![0.0; (last - first) * (cols - from)];
            let x = Activations {
                floats: &a[first * n..last * n],
                int8: None,
            };
            let mut products = [Product {
                weight: &weight,
                out: &mut out,
            }];
            matmul(backend, pool, &x, &mut products)?;
            for (row, out) in (first..last).zip(out.chunks_exact(cols - from)) {
                for (mean, product) in mean[row * cols + from..].iter_mut().zip(out) {
                    *mean += share * f64::from(*product);
                }
            }
        }
    }
    Ok(mean)
}

/// `[position][cols]` to `[cols][position]`.
fn transpose(x: &[f32], cols: usize) -> Vec<f32> {
    let positions = x.len() / cols;
    let mut out = vec![0.0; x.len()];
    // What is written at a time stays in the first-level cache, however far apart its rows lie.
    for first in (0..cols).step_by(TRANSPOSED) {
        for (position, x) in x.chunks_exact(cols).enumerate() {
            for (col, x) in (first..).zip(&x[first..cols.min(first + TRANSPOSED)]) {
                out[col * positions + position] = *x;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_means_over_all_positions() {
        // More than a chunk and more than a band, neither full.
        let (positions, rows, cols) = (CHUNK + 37, BAND + 5, BAND + 8);
        let value = |i: usize| ((i * 37) % 101) as f32 / 50.0 - 1.0;
        let a: Vec<f32> = (0..positions * rows).map(value).collect();
        let b: Vec<f32> = (0..positions * cols).map(|i| value(i + 13)).collect();
        let (backend, pool) = (Backend::detect(), Pool::new(2));
        let expected = |a: &[f32], rows: usize, b: &[f32], cols: usize, i: usize, j: usize| -> f64 {
            let products = (0..positions).map(|t| f64::from(a[t * rows + i]) * f64::from(b[t * cols + j]));
            products.sum::<f64>() / positions as f64
        };
        let found = mean_product(backend, &pool, (&a, rows), (&b, cols), false, Positions::All).unwrap();
        for (at, found) in found.iter().enumerate() {
            let expected = expected(&a, rows, &b, cols, at / cols, at % cols);
            assert!((found - expected).abs() < 1e-5, "{at}: {found} {expected}");
        }
        let found = mean_product(backend, &pool, (&a, rows), (&a, rows), true, Positions::All).unwrap();
        for i in 0..rows {
            for j in i..rows {
                let (found, expected) = (found[i * rows + j], expected(&a, rows, &a, rows, i, j));
                assert!((found - expected).abs() < 1e-5, "{i} {j}: {found} {expected}");
            }
        }
    }
}
