//! What the matrices that multiply the same inputs are rounded by.

use halfpi_kernels::Parallel;
use halfpi_kernels::format::{Dense, Float, Matrix};
use halfpi_kernels::ops::{Activations, Product, matmul};

use super::CalibrationError;
use super::moments::{Positions, mean_product};
use super::stream::Machine;
use crate::pack::quantize::Factor;

/// What is added to the diagonal of the second moments, relative to its mean: inputs that the text hardly shows are not
/// worth nothing.
const DAMPING: f64 = 0.01;
/// What the layers before are off by is taken from each half of the text, to see how much of it is chance.
const HALVES: [Positions; 2] = [Positions::Half(0), Positions::Half(1)];

/// The inputs of some matrices: x̂, and what they should be, x.
pub(super) struct Inputs<'a> {
    machine: &'a Machine,
    /// x̂, `[position][cols]`.
    real: &'a [f32],
    cols: usize,
    /// Of the second moments of x̂.
    pub factor: Factor,
    /// The mean of x̂ᵀ (x - x̂) over each half, `[cols][cols]`.
    differences: [Vec<f32>; 2],
}

impl<'a> Inputs<'a> {
    /// `None` if the inputs are not finite.
    pub fn new(
        machine: &'a Machine,
        wanted: &[f32],
        real: &'a [f32],
        cols: usize,
    ) -> Result<Option<Self>, CalibrationError> {
        let (backend, pool) = (machine.backend, &machine.pool);
        let moments = mean_product(backend, pool, (real, cols), (real, cols), true, Positions::All)?;
        let Some(factor) = Factor::new(moments, cols, DAMPING, pool.threads()) else {
            return Ok(None);
        };
        let difference: Vec<f32> = wanted.iter().zip(real).map(|(wanted, real)| wanted - real).collect();
        let mut differences = HALVES.map(|_| Vec::new());
        for (mean, half) in differences.iter_mut().zip(HALVES) {
            let product = mean_product(backend, pool, (real, cols), (&difference, cols), false, half)?;
            *mean = product.into_iter().map(|x| x as f32).collect();
        }
        Ok(Some(Self {
            machine,
            real,
            cols,
            factor,
            differences,
        }))
    }

    /// The mean of (wanted output - w x̂) x̂ᵀ over each half, for weights `[rows][cols]`. Outputs that are added to what is
    /// off by `residual`, `[position][rows]`, should make up for that too.
    pub fn drift(&self, weights: &[f32], residual: Option<&[f32]>) -> Result<[Vec<f32>; 2], CalibrationError> {
        let (backend, pool, cols) = (self.machine.backend, &self.machine.pool, self.cols);
        let mut drifts = [vec![0.0; weights.len()], vec![0.0; weights.len()]];
        for ((drift, difference), half) in drifts.iter_mut().zip(&self.differences).zip(HALVES) {
            let mut product = [Product {
                weight: &Matrix::Dense(Dense::new(cols, cols, Float::F32, bytemuck::cast_slice(difference))?),
                out: drift,
            }];
            let rows = Activations {
                floats: weights,
                int8: None,
            };
            matmul(backend, pool, &rows, &mut product)?;
            if let Some(residual) = residual {
                let rows = weights.len() / cols;
                let off = mean_product(backend, pool, (residual, rows), (self.real, cols), false, half)?;
                for (drift, off) in drift.iter_mut().zip(off) {
                    *drift += off as f32;
                }
            }
        }
        Ok(drifts)
    }
}
