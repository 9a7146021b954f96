//! One column, and dense ternary codes, whose blocks are three groups wide.

use super::scales::{Scales, Spans, runs};
use crate::arch::products::{GROUP_BYTES, Panel, Products};
use crate::format::codes::Bounds;
use crate::format::codes::trits::{BYTES, GROUPS};
use crate::format::{GROUP, Packed};
use crate::ops::Int8Rows;
use core::ops::Range;

/// # Safety
/// As `matvec` in `Kernels`; `w` holds trits.
#[inline(always)]
pub(super) unsafe fn matvec<V: Products>(
    w: &Packed<'_>,
    x: &Int8Rows<'_>,
    column: usize,
    units: Range<usize>,
    out: *mut f32,
) {
    let groups = w.groups();
    let spans = Spans::of(w, x);
    let mut panel = Panel::<GROUPS>::new();
    // SAFETY: a `Packed`'s parts are as long as its shape says; `x` has the column; `out` has the rows.
    unsafe {
        let (x_codes, x_group) = (x.codes.as_ptr().add(column * x.cols), column * groups);
        for unit in units {
            let scales = Scales::of(w, unit);
            let codes = w.codes_ptr(unit, 0);
            let mut sum = [V::splat(0.0)];
            let mut start = 0;
            // The block that the panel holds.
            let mut held = usize::MAX;
            while start < groups {
                let end = spans.end(start, groups);
                let mut dot = V::splat(0.0);
                // Whole blocks, where the span has some; then what it has of others. All sums are whole numbers below
                // 2^24: exact.
                let mut at = start;
                let blocks = (end - start) / GROUPS;
                if blocks > 0 && start.is_multiple_of(GROUPS) {
                    at += blocks * GROUPS;
                    let codes = codes.add(start / GROUPS * BYTES);
                    dot = V::dot_trits(codes, blocks, x_codes.add(start * GROUP), x.sum(x_group, start, at));
                }
                while at < end {
                    let (block, within) = (at / GROUPS, at % GROUPS);
                    let some = (GROUPS - within).min(end - at);
                    if block != held {
                        V::expand_trits(codes.add(block * BYTES), panel.0.as_mut_ptr().cast());
                        held = block;
                    }
                    let values = panel.0.as_ptr().cast::<u8>().add(within * GROUP_BYTES);
                    let x_sum = x.sum(x_group, at, at + some);
                    let [part] = V::dot_columns::<1>(values, some, x_codes.add(at * GROUP), 0, [x_sum], Bounds::UNIT);
                    dot = dot.add(part);
                    at += some;
                }
                scales.add_span(&mut sum, [dot], start, x, x_group + start, 0);
                start = end;
            }
            let [(first, rows), _] = runs(w, unit);
            sum[0].store_part(out.add(first), rows);
        }
    }
}
