//! Dense ternary codes, whose blocks are three groups wide.

use super::groups;
use super::scales::{PANEL_GROUPS, Scales, Spans, runs};
use crate::arch::products::{GROUP_BYTES, Panel, Products};
use crate::format::codes::trits::{BYTES, COLS};
use crate::format::{GROUP, Packed};
use crate::ops::Int8Rows;
use core::ops::Range;

/// Groups of a block.
const BLOCK_GROUPS: usize = COLS / GROUP;
/// Groups of a panel: whole blocks.
const TRIT_PANEL: usize = PANEL_GROUPS / BLOCK_GROUPS * BLOCK_GROUPS;

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
    let spans = Spans::of(w, x, TRIT_PANEL);
    let mut panel = Panel::<BLOCK_GROUPS>::new();
    // SAFETY: a `Packed`'s parts are as long as its shape says; `x` has the column; `out` has the rows.
    unsafe {
        let (x_codes, x_group) = (x.codes.as_ptr().add(column * x.cols), column * groups);
        for unit in units {
            let scales = Scales::of(w, unit);
            let codes = w.codes_ptr(unit, 0);
            let mut sum = [V::splat(0.0)];
            let mut start = 0;
            while start < groups {
                let end = spans.end(start, groups);
                let mut dot = V::splat(0.0);
                // Whole blocks, where the span is some; then what it has of others. All sums are whole numbers below
                // 2^24: exact.
                let mut at = start;
                let blocks = (end - start) / BLOCK_GROUPS;
                if blocks > 0 && start.is_multiple_of(BLOCK_GROUPS) {
                    at += blocks * BLOCK_GROUPS;
                    let codes = codes.add(start / BLOCK_GROUPS * BYTES);
                    dot = V::dot_trits(codes, blocks, x_codes.add(start * GROUP), x.sum(x_group, start, at));
                }
                while at < end {
                    let (block, within) = (at / BLOCK_GROUPS, at % BLOCK_GROUPS);
                    let some = (BLOCK_GROUPS - within).min(end - at);
                    V::expand_trits(codes.add(block * BYTES), panel.0.as_mut_ptr().cast());
                    let values = panel.0.as_ptr().cast::<u8>().add(within * GROUP_BYTES);
                    let x_sum = x.sum(x_group, at, at + some);
                    let [part] = V::dot_columns::<1>(values, some, x_codes.add(at * GROUP), 0, [x_sum]);
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

/// # Safety
/// As `matmul` in `Kernels`; `w` holds trits.
#[inline(always)]
pub(super) unsafe fn matmul<V: Products, const N: usize>(
    w: &Packed<'_>,
    x: &Int8Rows<'_>,
    units: Range<usize>,
    out: *mut f32,
) {
    let spans = Spans::of(w, x, TRIT_PANEL);
    let mut panel = Panel::<TRIT_PANEL>::new();
    // SAFETY: a `Packed`'s parts are as long as its shape says; `out` has the rows of every column.
    unsafe {
        for unit in units {
            let scales = Scales::of(w, unit);
            let [run, _] = runs(w, unit);
            for first in (0..w.groups()).step_by(TRIT_PANEL) {
                let groups = first..w.groups().min(first + TRIT_PANEL);
                for (i, block) in (first / BLOCK_GROUPS..groups.end.div_ceil(BLOCK_GROUPS)).enumerate() {
                    let values = panel.0.as_mut_ptr().add(i * BLOCK_GROUPS);
                    V::expand_trits(w.codes_ptr(unit, block), values.cast());
                }
                groups::columns::<V, N>(w, scales, spans, panel.0.as_ptr().cast(), x, groups, run, out);
            }
        }
    }
}
