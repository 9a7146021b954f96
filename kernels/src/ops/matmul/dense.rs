//! Float weights, float activations.

use super::float::FLOAT_COLUMNS;
use crate::arch::simd::Simd;
use crate::format::{Dense, Float, TILE_ROWS};
use core::ops::Range;

/// # Safety
/// As the entry of this name in `Kernels`.
#[inline(always)]
pub(crate) unsafe fn matmul_dense<V: Simd>(w: &Dense<'_>, x: &[f32], rows: Range<usize>, out: *mut f32) {
    // SAFETY: a `Dense` has `cols` floats of its type from each row's pointer on.
    unsafe {
        match w.float() {
            Float::F32 => dense_with::<V, F32>(w, x, rows, out),
            Float::F16 => dense_with::<V, F16>(w, x, rows, out),
            Float::Bf16 => dense_with::<V, Bf16>(w, x, rows, out),
        }
    }
}

/// How 16 float weights are read. (Types, not closures: those are compiled without the instruction set.)
trait Element {
    /// Of one weight.
    const BYTES: usize;
    /// # Safety
    /// `V`'s instruction set is present; 16 weights are there.
    unsafe fn load<V: Simd>(from: *const u8) -> V;
}

struct F32;

impl Element for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<V: Simd>(from: *const u8) -> V {
        // SAFETY: as the trait's contract (likewise below).
        unsafe { V::load(from.cast()) }
    }
}

struct F16;

impl Element for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<V: Simd>(from: *const u8) -> V {
        // SAFETY: as `F32`.
        unsafe { V::load_f16(from) }
    }
}

struct Bf16;

impl Element for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<V: Simd>(from: *const u8) -> V {
        // SAFETY: as `F32`.
        unsafe { V::load_bf16(from) }
    }
}

/// # Safety
/// As [`matmul_dense`]; `E` is the weights' type.
#[inline(always)]
unsafe fn dense_with<V: Simd, E: Element>(w: &Dense<'_>, x: &[f32], rows: Range<usize>, out: *mut f32) {
    let (all_rows, cols, columns) = (w.rows(), w.cols(), x.len() / w.cols());
    // SAFETY: rows and columns exist; `out` has the rows of every column.
    unsafe {
        for first in rows.clone().step_by(TILE_ROWS) {
            let tile = first..rows.end.min(first + TILE_ROWS);
            let mut column = 0;
            while column < columns {
                let n = if column + FLOAT_COLUMNS <= columns {
                    FLOAT_COLUMNS
                } else {
                    1
                };
                let (x, out) = (x.as_ptr().add(column * cols), out.add(column * all_rows));
                for row in tile.clone() {
                    if n == FLOAT_COLUMNS {
                        dense_block::<V, E, FLOAT_COLUMNS>(w.row_ptr(row), x, cols, out.add(row), all_rows);
                    } else {
                        dense_block::<V, E, 1>(w.row_ptr(row), x, cols, out.add(row), all_rows);
                    }
                }
                column += n;
            }
        }
    }
}

/// One row, `N` columns, whose results lie `stride` apart.
///
/// # Safety
/// As [`dense_with`].
#[inline(always)]
unsafe fn dense_block<V: Simd, E: Element, const N: usize>(
    weights: *const u8,
    x: *const f32,
    cols: usize,
    out: *mut f32,
    stride: usize,
) {
    let whole = cols / 16 * 16;
    // SAFETY: as this function's contract.
    unsafe {
        let mut sums = [V::splat(0.0); N];
        for k in (0..whole).step_by(16) {
            let weights = E::load::<V>(weights.add(k * E::BYTES));
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(weights.mul(V::load(x.add(n * cols + k))));
            }
        }
        if whole < cols {
            let mut tail = [0u8; 64];
            let tail_bytes = (cols - whole) * E::BYTES;
            core::ptr::copy_nonoverlapping(weights.add(whole * E::BYTES), tail.as_mut_ptr(), tail_bytes);
            let tail = E::load::<V>(tail.as_ptr());
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(tail.mul(V::load_part(x.add(n * cols + whole), cols - whole)));
            }
        }
        for (n, sum) in sums.into_iter().enumerate() {
            *out.add(n * stride) = sum.sum();
        }
    }
}
