//! Rounding with error feedback: each weight is chosen for what the layer gives, not for being near.
//!
//! With H the second moments of a layer's inputs, rounding errors e = w - q of a row change its output by e H eᵀ on
//! average. Written with H = M D Mᵀ ([`Factor`]), M unit upper triangular, that is Σ_j D_j (e_j + Σ_{k<j} e_k M_kj)²:
//! going from the first column to the last, the best choice for column j is the value nearest to
//! w_j + Σ_{k<j} e_k M_kj. This is GPTQ (Frantar et al. 2022, arXiv:2210.17323, algorithm 1) in the form of LDLQ (Chee
//! et al. 2023, arXiv:2307.13304, section 4, theorem 6), which needs no inverse of H. A group's scale is chosen when its
//! first column comes, for the weights as they are wanted by then, with D as their importance.
//!
//! The layers before have been rounded too, so the inputs x̂ are not those x that the row's weights were made for. With
//! C = mean of (x - x̂) x̂ᵀ, what brings q x̂ closest to w x is to want T = w C M⁻ᵀ D⁻¹ more in the sum above (as GPTAQ,
//! Li et al. 2025, arXiv:2504.02692, section 3): `drift` is w C.

mod factor;

use std::thread;

use halfpi_kernels::format::GROUP;

use super::super::scales::ScaleType;
use super::{Grid, inverse};

pub(in super::super) use self::factor::Factor;

/// Columns that receive the errors of a group of columns at a time: they fit the first-level cache.
const BLOCK: usize = 256;

/// What the rounding of one matrix goes by.
pub(in super::super) struct Feedback<'a> {
    factor: &'a Factor,
    /// What the drift makes the rows want of their weights, `[rows][cols]`: drift H⁻¹, before the order of columns counts.
    shift: Vec<f32>,
}

/// Rows after rounding.
pub(super) struct Rounded {
    /// `[row][cols]`
    pub codes: Vec<u16>,
    /// `[row][cols / group]`
    pub scales: Vec<f32>,
}

impl<'a> Feedback<'a> {
    /// Takes the drift that each half of the text shows, `[rows][cols]`: the mean of (wanted output - w x̂) x̂ᵀ.
    ///
    /// A layer has many weights to fit to the drift of a text, and would fit them to chance as well, layer after layer. What
    /// both halves show is none: with u and v the shifts that they ask for, the mean of the two is taken times
    /// 2 u·v / (u·v + (u·u + v·v)/2), where x·y = x H yᵀ: the factor of least squared error where the halves' chances are
    /// independent.
    pub fn new(factor: &'a Factor, [mut shift, mut second]: [Vec<f32>; 2], threads: usize) -> Self {
        let cols = factor.len();
        let rows = (shift.len() / cols).div_ceil(threads.max(1)).max(1) * cols;
        // One entry a row, summed in order: the figure does not depend on the number of threads.
        let mut products = vec![[0.0; 2]; shift.len() / cols];
        thread::scope(|scope| {
            let parts = shift.chunks_mut(rows).zip(second.chunks_mut(rows));
            for ((u, v), products) in parts.zip(products.chunks_mut(rows / cols)) {
                scope.spawn(move || {
                    let rows = u.chunks_exact_mut(cols).zip(v.chunks_exact_mut(cols));
                    for ((u, v), [cross, own]) in rows.zip(products) {
                        factor.solve(u);
                        factor.solve(v);
                        for ((u, v), d) in u.iter().zip(&*v).zip(factor.costs()) {
                            *cross += f64::from(u * v * d);
                            *own += f64::from((u * u + v * v) / 2.0 * d);
                        }
                    }
                });
            }
        });
        let [cross, own] = [0, 1].map(|i| products.iter().map(|products| products[i]).sum::<f64>());
        let share = (2.0 * cross / (cross + own)).clamp(0.0, 1.0) as f32;
        // 0 / 0, where nothing is off.
        let share = if share.is_finite() { share } else { 0.0 };
        for (half, other) in shift.iter_mut().zip(second) {
            *half = share * (*half + other) / 2.0;
        }
        Self { factor, shift }
    }

    /// Chooses codes and scales of some rows, of which the first is row `first` of the matrix. `group` weights share a
    /// scale of type `ty`, which may be given.
    pub(super) fn round(
        &self,
        grid: &Grid,
        first: usize,
        weights: &[f32],
        group: usize,
        (ty, given): (ScaleType, Option<f32>),
    ) -> Rounded {
        let scale = |weights: &[f32], importance: &[f32]| {
            let best = || grid.scale(weights, Some(importance));
            ty.round(given.unwrap_or_else(best))
        };
        let cols = self.factor.len();
        let shift = &self.shift[first * cols..][..weights.len()];
        let mut wanted: Vec<f32> = shift
            .iter()
            .zip(weights)
            .map(|(shift, weight)| shift + weight)
            .collect();
        let mut rounded = Rounded {
            codes: vec![0; weights.len()],
            scales: vec![0.0; weights.len() / group],
        };
        let mut errors = vec![[0f32; GROUP]; weights.len() / cols];
        for col in (0..cols).step_by(GROUP) {
            for (row, errors) in errors.iter_mut().enumerate() {
                let wanted = &mut wanted[row * cols..][..cols];
                let row_scale = &mut rounded.scales[(row * cols + col) / group];
                if col.is_multiple_of(group) {
                    let group = col..col + group;
                    *row_scale = scale(&wanted[group.clone()], &self.factor.costs()[group]);
                }
                let (scale, inverse) = (*row_scale, inverse(*row_scale));
                for (k, error) in errors.iter_mut().enumerate() {
                    let (j, at) = (col + k, row * cols + col + k);
                    let code = grid.code(wanted[j] * inverse);
                    rounded.codes[at] = code;
                    *error = weights[at] - scale * grid.value(code);
                    let after = j + 1..col + GROUP;
                    add_scaled(&mut wanted[after.clone()], *error, &self.factor.row(j)[after]);
                }
            }
            for block in (col + GROUP..cols).step_by(BLOCK) {
                let end = cols.min(block + BLOCK);
                for (row, errors) in errors.iter().enumerate() {
                    let wanted = &mut wanted[row * cols..][block..end];
                    for (k, error) in errors.iter().enumerate() {
                        add_scaled(wanted, *error, &self.factor.row(col + k)[block..end]);
                    }
                }
            }
        }
        rounded
    }

    /// What the outputs of row `row` are off by if its weights are off by `errors`: their mean square.
    pub(super) fn cost(&self, row: usize, errors: &[f32]) -> f64 {
        let mut sums = self.shift[row * errors.len()..][..errors.len()].to_vec();
        for (k, error) in errors.iter().enumerate() {
            sums[k] += error;
            add_scaled(&mut sums[k + 1..], *error, &self.factor.row(k)[k + 1..]);
        }
        let costs = sums.iter().zip(self.factor.costs());
        costs.map(|(sum, cost)| f64::from(sum * sum * cost)).sum()
    }
}

/// x += a y
fn add_scaled(x: &mut [f32], a: f32, y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += a * y;
    }
}
