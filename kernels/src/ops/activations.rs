//! Activations: floats, and the int8 form that packed weights are multiplied with.

use super::OpError;
use crate::arch::simd::Simd;
use crate::{Backend, format::GROUP};

/// Which activations share an int8 scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// Groups of 32 neighbours: for models trained in floats.
    Group,
    /// The whole position: for models trained so (BitNet b1.58, arXiv:2402.17764, section 2).
    Row,
    /// Each half of the position: real and imaginary parts (iFairy, arXiv:2508.05571, section 3).
    Halves,
}

/// Positions of int8 activations: `x = scale * code`, where a scale belongs to 32 neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Int8Rows<'a> {
    pub(crate) cols: usize,
    /// Groups from a position's start on that share a scale.
    pub(crate) shared: usize,
    /// Where the second half of a position begins to count anew, in groups; 0 if it does not.
    pub(crate) second: usize,
    /// `[position][cols]`, in -127..=127.
    pub(crate) codes: &'a [i8],
    /// `[position][cols / 32]`.
    pub(crate) scales: &'a [f32],
    /// Scale times the sum of a group's codes: what a weight group's minimum is multiplied with.
    pub(crate) sums: &'a [f32],
    /// Sums of the codes of a position, or of its half, up to and with each group.
    pub(crate) running_sums: &'a [i32],
}

impl Int8Rows<'_> {
    /// Positions held.
    pub fn positions(&self) -> usize {
        self.codes.len() / self.cols
    }

    /// The same numbers as twice as many positions of half the length: real and imaginary parts one after the other.
    ///
    /// # Errors
    /// [`OpError`] if they were not quantized by [`Quantization::Halves`].
    pub fn halves(self) -> Result<Self, OpError> {
        OpError::exact("halves: groups of a half", self.cols / GROUP / 2, self.second)?;
        Ok(Self {
            cols: self.cols / 2,
            second: 0,
            ..self
        })
    }

    /// The sum of the codes of groups `start..end` of the position whose groups begin at `first`.
    ///
    /// # Safety
    /// The position has these groups, `start < end`, and both lie in one half of halves.
    #[inline(always)]
    pub(crate) unsafe fn sum(&self, first: usize, start: usize, end: usize) -> i32 {
        // SAFETY: as this function's contract.
        unsafe {
            let before = if start == 0 || start == self.second {
                0
            } else {
                *self.running_sums.get_unchecked(first + start - 1)
            };
            self.running_sums.get_unchecked(first + end - 1).wrapping_sub(before)
        }
    }

    /// A group's scale.
    ///
    /// # Safety
    /// It is there.
    #[inline(always)]
    pub(crate) unsafe fn scale(&self, group: usize) -> f32 {
        // SAFETY: as this function's contract.
        unsafe { *self.scales.get_unchecked(group) }
    }
}

/// Memory for [`Int8Rows`], reused for every product of a model.
#[derive(Debug)]
pub struct Int8RowsMut<'a> {
    /// At least `positions * cols`.
    pub codes: &'a mut [i8],
    /// At least `positions * cols / 32`.
    pub scales: &'a mut [f32],
    /// As `scales`.
    pub sums: &'a mut [f32],
    /// As `scales`.
    pub running_sums: &'a mut [i32],
}

/// Where one quantized row (or half) goes.
pub struct QuantizeOut<'a> {
    codes: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [f32],
    running_sums: &'a mut [i32],
}

impl Int8RowsMut<'_> {
    /// Quantizes `x`, `[position][cols]`, with scales of `absmax / 127`, rounding to nearest even.
    ///
    /// NaN becomes code 127; infinities make the scale infinite, so that they show in the result.
    ///
    /// # Errors
    /// [`OpError`] if `cols` is not a multiple of 32 (of 64 for halves), `x` not a whole number of rows, or this memory too small.
    pub fn quantize(
        &mut self,
        backend: Backend,
        quantization: Quantization,
        x: &[f32],
        cols: usize,
    ) -> Result<Int8Rows<'_>, OpError> {
        if cols == 0 || !cols.is_multiple_of(GROUP) {
            return Err(OpError {
                what: "quantize: cols, a multiple of 32",
                expected: GROUP,
                found: cols,
            });
        }
        let parts = if quantization == Quantization::Halves { 2 } else { 1 };
        if !cols.is_multiple_of(parts * GROUP) {
            return Err(OpError {
                what: "quantize: cols, a multiple of 64",
                expected: 2 * GROUP,
                found: cols,
            });
        }
        OpError::exact("quantize: x", x.len() / cols * cols, x.len())?;
        let groups = x.len() / GROUP;
        OpError::at_least("quantize: codes", x.len(), self.codes.len())?;
        OpError::at_least("quantize: scales", groups, self.scales.len())?;
        OpError::at_least("quantize: sums", groups, self.sums.len())?;
        OpError::at_least("quantize: running sums", groups, self.running_sums.len())?;
        let (part_cols, part_groups) = (cols / parts, cols / parts / GROUP);
        for (part, x) in x.chunks_exact(part_cols).enumerate() {
            let groups = part * part_groups..(part + 1) * part_groups;
            let out = QuantizeOut {
                codes: &mut self.codes[part * part_cols..(part + 1) * part_cols],
                scales: &mut self.scales[groups.clone()],
                sums: &mut self.sums[groups.clone()],
                running_sums: &mut self.running_sums[groups],
            };
            // SAFETY: `out` holds the part, and `Backend` exists only for instruction sets that are present.
            unsafe { (backend.kernels().floats.quantize)(x, quantization != Quantization::Group, out) };
        }
        Ok(Int8Rows {
            cols,
            shared: if quantization == Quantization::Group {
                1
            } else {
                part_groups
            },
            second: if parts == 2 { part_groups } else { 0 },
            codes: &self.codes[..x.len()],
            scales: &self.scales[..groups],
            sums: &self.sums[..groups],
            running_sums: &self.running_sums[..groups],
        })
    }
}

/// The input of a matrix product.
#[derive(Clone, Copy, Debug)]
pub struct Activations<'a> {
    /// `[position][cols]`.
    pub floats: &'a [f32],
    /// The same, quantized: used with packed weights if given, else their weights are turned into floats.
    pub int8: Option<Int8Rows<'a>>,
}

/// # Safety
/// `V`'s instruction set is present; `out` holds one row of `x.len()`, a multiple of 32.
#[inline(always)]
pub(crate) unsafe fn quantize_row<V: Simd>(x: &[f32], per_row: bool, out: QuantizeOut<'_>) {
    // SAFETY: every pointer below is at a whole group of 32 within its slice.
    unsafe {
        let (mut row_max, mut running_sum) = (V::splat(0.0), 0i32);
        if per_row {
            for group in x.chunks_exact(GROUP) {
                row_max = absmax(group.as_ptr(), row_max);
            }
        }
        for (g, group) in x.chunks_exact(GROUP).enumerate() {
            let max = if per_row {
                row_max
            } else {
                absmax(group.as_ptr(), V::splat(0.0))
            }
            .max_lane();
            let inverse = if max > 0.0 { 127.0 / max } else { 0.0 };
            let low = to_codes(V::load(group.as_ptr()), inverse);
            let high = to_codes(V::load(group.as_ptr().add(16)), inverse);
            let codes = out.codes[g * GROUP..(g + 1) * GROUP].as_mut_ptr();
            low.store_i8(codes);
            high.store_i8(codes.add(16));
            // Whole numbers below 2^24: exact in any order.
            let sum = low.add(high).sum();
            let scale = max / 127.0;
            out.scales[g] = scale;
            out.sums[g] = scale * sum;
            running_sum = running_sum.wrapping_add(sum as i32);
            out.running_sums[g] = running_sum;
        }
    }
}

/// The larger of what there is and 32 absolute values, lane by lane.
///
/// # Safety
/// `V`'s instruction set is present; 32 floats are there.
#[inline(always)]
unsafe fn absmax<V: Simd>(group: *const f32, so_far: V) -> V {
    // SAFETY: as this function's contract.
    unsafe { V::load(group.add(16)).abs().max(V::load(group).abs().max(so_far)) }
}

/// The whole numbers in -127..=127 nearest to `x * inverse_scale`.
///
/// # Safety
/// `V`'s instruction set is present.
#[inline(always)]
pub(super) unsafe fn to_codes<V: Simd>(x: V, inverse_scale: f32) -> V {
    // SAFETY: as this function's contract.
    unsafe {
        x.mul(V::splat(inverse_scale))
            .min(V::splat(127.0))
            .max(V::splat(-127.0))
            .round()
    }
}
