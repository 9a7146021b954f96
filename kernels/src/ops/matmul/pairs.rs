//! One column, and phase pairs, whose codes belong to two tiles of rows at once.

use super::scales::{Scales, Spans, runs};
use crate::arch::products::Products;
use crate::format::{GROUP, Packed};
use crate::ops::Int8Rows;
use core::ops::Range;

/// # Safety
/// As `matvec` in `Kernels`; `w` holds phase pairs of so many stages.
#[inline(always)]
pub(super) unsafe fn matvec<V: Products, const STAGES: usize>(
    w: &Packed<'_>,
    x: &Int8Rows<'_>,
    column: usize,
    units: Range<usize>,
    out: *mut f32,
) {
    let groups = w.groups();
    let spans = Spans::of(w, x);
    // SAFETY: a `Packed`'s parts are as long as its shape says; `x` has the column; `out` has the rows.
    unsafe {
        let (x_codes, x_group) = (x.codes.as_ptr().add(column * x.cols), column * groups);
        for unit in units {
            let scales = [Scales::of(w, 2 * unit), Scales::of(w, 2 * unit + 1)];
            let codes = w.codes_ptr(unit, 0);
            let mut sums = [[V::splat(0.0)]; 2];
            let mut start = 0;
            while start < groups {
                let end = spans.end(start, groups);
                let (codes, x_codes) = (codes.add(start * 128 * STAGES), x_codes.add(start * GROUP));
                let dots = V::dot_pair::<STAGES>(codes, end - start, x_codes, x.sum(x_group, start, end));
                for ((sum, dot), scales) in sums.iter_mut().zip(dots).zip(scales) {
                    scales.add_span(sum, [dot], start, x, x_group + start, 0);
                }
                start = end;
            }
            for ([sum], (first, rows)) in sums.into_iter().zip(runs(w, unit)) {
                sum.store_part(out.wrapping_add(first), rows);
            }
        }
    }
}
