//! Packed weights, float activations: the exact mode, for checking.

use super::scales::{load_rows, runs};
use crate::arch::simd::Simd;
use crate::format::{GROUP, Packed, TILE_ROWS};
use core::ops::Range;

/// Columns that share the weights once they are floats.
pub(super) const FLOAT_COLUMNS: usize = 4;

/// # Safety
/// As the entry of this name in `Kernels`.
#[inline(always)]
pub(crate) unsafe fn matmul_f32<V: Simd>(w: &Packed<'_>, x: &[f32], units: Range<usize>, out: *mut f32) {
    let columns = x.len() / w.cols();
    // Weights become floats, a group at a time, [k][row].
    let mut floats = [[0f32; TILE_ROWS]; GROUP];
    // SAFETY: a `Packed`'s parts are as long as its shape says; `out` has the rows of every column.
    unsafe {
        for (first, rows) in units.flat_map(|unit| runs(w, unit)).filter(|(_, rows)| *rows > 0) {
            for group in 0..w.groups() {
                for lane in 0..rows {
                    let row = first + lane;
                    let (scale, minimum) = w.scale(row, group * GROUP);
                    for (k, floats) in floats.iter_mut().enumerate() {
                        floats[lane] = scale * f32::from(w.value(row, group * GROUP + k)) + minimum;
                    }
                }
                let mut column = 0;
                while column < columns {
                    let n = (columns - column).min(FLOAT_COLUMNS);
                    let x = x.as_ptr().add(column * w.cols() + group * GROUP);
                    let out = out.add(column * w.rows() + first);
                    let mut sums = [V::splat(0.0); FLOAT_COLUMNS];
                    if group > 0 {
                        for (n, sum) in sums.iter_mut().enumerate().take(n) {
                            *sum = load_rows(out.add(n * w.rows()), rows);
                        }
                    }
                    for (k, floats) in floats.iter().enumerate() {
                        let weights = V::load(floats.as_ptr());
                        for (i, sum) in sums.iter_mut().enumerate().take(n) {
                            *sum = sum.add(weights.mul(V::splat(*x.add(i * w.cols() + k))));
                        }
                    }
                    for (n, sum) in sums.into_iter().enumerate().take(n) {
                        sum.store_part(out.add(n * w.rows()), rows);
                    }
                    column += n;
                }
            }
        }
    }
}
