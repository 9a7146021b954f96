//! Codes that lie in groups of 16 rows by 32 columns.

use super::codes::Code;
use super::scales::{PANEL_GROUPS, Scales, Spans, load_rows, runs};
use crate::arch::products::{GROUP_BYTES, Panel, Products};
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
    let spans = Spans::of(w, x, PANEL_GROUPS);
    // SAFETY: a `Packed`'s parts are as long as its shape says; `x` has the column; `out` has the rows.
    unsafe {
        let (x_codes, x_group) = (x.codes.as_ptr().add(column * x.cols), column * groups);
        for unit in units {
            let scales = Scales::of(w, unit);
            let codes = w.codes_ptr(unit, 0);
            let mut sum = [V::splat(0.0)];
            if spans.single() {
                for group in 0..groups {
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

/// # Safety
/// As `matmul` in `Kernels`; `w` has the codes that `code` stands for.
#[inline(always)]
pub(super) unsafe fn matmul<V: Products, C: Code, const N: usize>(
    w: &Packed<'_>,
    code: C,
    x: &Int8Rows<'_>,
    units: Range<usize>,
    out: *mut f32,
) {
    let spans = Spans::of(w, x, PANEL_GROUPS);
    // 8 KB, which stay in the first-level cache while all columns pass.
    let mut panel = Panel::<PANEL_GROUPS>::new();
    // SAFETY: a `Packed`'s parts are as long as its shape says; `out` has the rows of every column.
    unsafe {
        for unit in units {
            let scales = Scales::of(w, unit);
            let [run, _] = runs(w, unit);
            for first in (0..w.groups()).step_by(PANEL_GROUPS) {
                let groups = first..w.groups().min(first + PANEL_GROUPS);
                for (values, group) in panel.0.iter_mut().zip(groups.clone()) {
                    code.expand::<V>(w.codes_ptr(unit, group), values.as_mut_ptr());
                }
                columns::<V, N>(w, scales, spans, panel.0.as_ptr().cast(), x, groups, run, out);
            }
        }
    }
}

/// Adds the products of a panel, which holds `groups` of one row tile, to every column's results.
///
/// # Safety
/// As [`matmul`]; `run` says which rows the tile is.
#[inline(always)]
#[expect(clippy::too_many_arguments)]
pub(super) unsafe fn columns<V: Products, const N: usize>(
    w: &Packed<'_>,
    scales: Scales,
    spans: Spans,
    panel: *const u8,
    x: &Int8Rows<'_>,
    groups: Range<usize>,
    run: (usize, usize),
    out: *mut f32,
) {
    let columns = x.positions();
    let mut column = 0;
    // SAFETY: as this function's contract.
    unsafe {
        while column + N <= columns {
            block::<V, N>(w, scales, spans, panel, x, groups.clone(), column, run, out);
            column += N;
        }
        while column < columns {
            block::<V, 1>(w, scales, spans, panel, x, groups.clone(), column, run, out);
            column += 1;
        }
    }
}

/// `N` columns from `column` on.
///
/// # Safety
/// As [`columns`].
#[inline(always)]
#[expect(clippy::too_many_arguments)]
unsafe fn block<V: Products, const N: usize>(
    w: &Packed<'_>,
    scales: Scales,
    spans: Spans,
    panel: *const u8,
    x: &Int8Rows<'_>,
    groups: Range<usize>,
    column: usize,
    (row, rows): (usize, usize),
    out: *mut f32,
) {
    let all_groups = w.groups();
    // SAFETY: as this function's contract.
    unsafe {
        let out = out.add(column * w.rows() + row);
        let mut sums = [V::splat(0.0); N];
        if groups.start > 0 {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = load_rows(out.add(n * w.rows()), rows);
            }
        }
        let mut start = groups.start;
        while start < groups.end {
            let end = spans.end(start, groups.end);
            let mut x_sums = [0; N];
            for (n, x_sum) in x_sums.iter_mut().enumerate() {
                *x_sum = x.sum((column + n) * all_groups, start, end);
            }
            let x_codes = x.codes.as_ptr().add(column * x.cols + start * GROUP);
            let values = panel.add((start - groups.start) * GROUP_BYTES);
            let dots = V::dot_columns::<N>(values, end - start, x_codes, x.cols, x_sums);
            scales.add_span(&mut sums, dots, start, x, column * all_groups + start, all_groups);
            start = end;
        }
        for (n, sum) in sums.into_iter().enumerate() {
            sum.store_part(out.add(n * w.rows()), rows);
        }
    }
}
