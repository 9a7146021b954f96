//! Phase pairs, whose codes belong to two tiles of rows at once.

use super::groups;
use super::scales::{PANEL_GROUPS, Scales, Spans, runs};
use crate::arch::products::{Panel, Products};
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
    let spans = Spans::of(w, x, PANEL_GROUPS);
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

/// # Safety
/// As `matmul` in `Kernels`; `w` holds phase pairs of so many stages.
#[inline(always)]
pub(super) unsafe fn matmul<V: Products, const STAGES: usize, const N: usize>(
    w: &Packed<'_>,
    x: &Int8Rows<'_>,
    units: Range<usize>,
    out: *mut f32,
) {
    let spans = Spans::of(w, x, PANEL_GROUPS);
    let (mut upper, mut lower) = (Panel::<PANEL_GROUPS>::new(), Panel::<PANEL_GROUPS>::new());
    // SAFETY: a `Packed`'s parts are as long as its shape says; `out` has the rows of every column.
    unsafe {
        for unit in units {
            let scales = [Scales::of(w, 2 * unit), Scales::of(w, 2 * unit + 1)];
            let runs = runs(w, unit);
            for first in (0..w.groups()).step_by(PANEL_GROUPS) {
                let groups = first..w.groups().min(first + PANEL_GROUPS);
                for ((upper, lower), group) in upper.0.iter_mut().zip(&mut lower.0).zip(groups.clone()) {
                    let codes = w.codes_ptr(unit, group);
                    V::expand_pair::<STAGES>(codes, upper.as_mut_ptr(), lower.as_mut_ptr());
                }
                let tiles = [&upper, &lower].into_iter().zip(scales).zip(runs);
                for ((panel, scales), run) in tiles.filter(|(_, (_, rows))| *rows > 0) {
                    let panel = panel.0.as_ptr().cast();
                    groups::columns::<V, N>(w, scales, spans, panel, x, groups.clone(), run, out);
                }
            }
        }
    }
}
