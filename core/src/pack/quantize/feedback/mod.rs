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

use halfpi_kernels::format::GROUP;

use super::{Grid, inverse};

pub(in super::super) use self::factor::Factor;

/// Columns that receive the errors of a group of columns at a time: they fit the first-level cache.
const BLOCK: usize = 256;

/// What the rounding of one matrix goes by.
pub(in super::super) struct Feedback<'a> {
    pub factor: &'a Factor,
    /// What the rows' outputs are off already, `[rows][cols]`: the mean of (wanted output - w x̂) x̂ᵀ.
    pub drift: &'a [f32],
}

/// Rows after rounding.
pub(super) struct Rounded {
    /// `[row][cols]`
    pub codes: Vec<u16>,
    /// `[row][cols / group]`
    pub scales: Vec<f32>,
}

impl Feedback<'_> {
    /// Chooses codes and scales of some rows, of which the first is row `first` of the matrix. `scale` gives the scale of
    /// the `group` weights that share one, from those and their importance.
    pub(super) fn round(
        &self,
        grid: &Grid,
        first: usize,
        weights: &[f32],
        group: usize,
        scale: impl Fn(&[f32], &[f32]) -> f32,
    ) -> Rounded {
        let cols = self.factor.len();
        let mut wanted = self.drift[first * cols..][..weights.len()].to_vec();
        for (wanted, weights) in wanted.chunks_exact_mut(cols).zip(weights.chunks_exact(cols)) {
            self.factor.solve(wanted);
            for (wanted, weight) in wanted.iter_mut().zip(weights) {
                *wanted += weight;
            }
        }
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
}

/// x += a y
fn add_scaled(x: &mut [f32], a: f32, y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += a * y;
    }
}
