//! One column, and codes that lie in groups of 16 rows by 32 columns.

use super::codes::Code;
use super::scales::{Scales, Spans, runs};
use crate::arch::products::Products;
use crate::format::{GROUP, Packed};
use crate::ops::Int8Rows;
use core::ops::Range;

/// # Safety
/// As `matvec` in `Kernels`; `w` has the codes that `code` stands for.
#[inline(always)]
pub(super) unsafe fn matvec<V: Products, C: Code>(
    w: &Packed<'_>,
    code: C,
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
            let scales = Scales::of(w, unit);
            let codes = w.codes_ptr(unit, 0);
            let mut sum = [V::splat(0.0)];
            if spans.single() {
                for group in 0..groups {
                    scales.prefetch::<V>(group);
                    let x_sum = x.sum(x_group, group, group + 1);
                    let dot = code.dot::<V>(codes.add(group * C::BYTES), 1, x_codes.add(group * GROUP), x_sum);
                    scales.add_span(&mut sum, [dot], group, x, x_group + group, 0);
                }
            } else {
                let mut start = 0;
                while start < groups {
                    let end = spans.end(start, groups);
                    let (codes, x_codes) = (codes.add(start * C::BYTES), x_codes.add(start * GROUP));
                    let dot = code.dot::<V>(codes, end - start, x_codes, x.sum(x_group, start, end));
                    scales.add_span(&mut sum, [dot], start, x, x_group + start, 0);
                    start = end;
                }
            }
            let [(first, rows), _] = runs(w, unit);
            sum[0].store_part(out.add(first), rows);
        }
    }
}
