//! Native complex codes: `y = W conj(x)`, where activations and results are real parts, then imaginary ones.
//!
//! With `W = a + ib`: `re y = a·re x + b·im x` and `im y = b·re x - a·im x`. Codes are 1, i, -1 or -i, so `a` and `b` are
//! -1, 0 or 1, and those of either kind have a scale of their own.

use super::prefill::Panels;
use super::scales::{PANEL_GROUPS, Scales, Spans, load_rows, runs};
use crate::arch::Kernels;
use crate::arch::products::{GROUP_BYTES, Panel, Products};
use crate::format::codes::Bounds;
use crate::format::{GROUP, Packed};
use crate::ops::Int8Rows;
use core::ops::Range;

/// Adds a span's products, as `Products::dot_complex` gives them, to the real and the imaginary results.
///
/// # Safety
/// `V`'s instruction set is present.
#[inline(always)]
unsafe fn add_span<V: Products>(
    sums: &mut [V; 2],
    [a_re, b_im, b_re, a_im]: [V; 4],
    [a, b]: [V; 2],
    [re, im]: [f32; 2],
) {
    // SAFETY: as this function's contract.
    unsafe {
        let (re, im) = (V::splat(re), V::splat(im));
        sums[0] = sums[0].add(a.mul(re).mul(a_re)).add(b.mul(im).mul(b_im));
        sums[1] = sums[1].add(b.mul(re).mul(b_re)).sub(a.mul(im).mul(a_im));
    }
}

/// # Safety
/// As `matvec` in `Kernels`; `w` holds native complex codes.
#[inline(always)]
pub(super) unsafe fn matvec<V: Products>(
    w: &Packed<'_>,
    x: &Int8Rows<'_>,
    column: usize,
    units: Range<usize>,
    out: *mut f32,
) {
    let half = w.groups() / 2;
    let spans = Spans::of(w, x);
    // SAFETY: a `Packed`'s parts are as long as its shape says; `x` has the column; `out` has the rows.
    unsafe {
        let (x_codes, x_group) = (x.codes.as_ptr().add(column * x.cols), column * w.groups());
        for unit in units {
            let scales = Scales::of(w, unit).both::<V>();
            let mut sums = [V::splat(0.0); 2];
            let mut start = 0;
            while start < half {
                let end = spans.end(start, half);
                let (re, im) = (x_codes.add(start * GROUP), x_codes.add((half + start) * GROUP));
                let x_sums = [x.sum(x_group, start, end), x.sum(x_group, half + start, half + end)];
                let dots = V::dot_complex(w.codes_ptr(unit, start), end - start, re, im, x_sums);
                let x_scales = [x.scale(x_group + start), x.scale(x_group + half + start)];
                add_span(&mut sums, dots, scales, x_scales);
                start = end;
            }
            for (sum, (first, rows)) in sums.into_iter().zip(runs(w, unit)) {
                sum.store_part(out.add(first), rows);
            }
        }
    }
}

/// # Safety
/// As [`prefill::matmul`](super::prefill::matmul); `w` holds native complex codes.
pub(super) unsafe fn matmul(kernels: &Kernels, w: &Packed<'_>, x: &Int8Rows<'_>, units: Range<usize>, out: *mut f32) {
    let half = w.groups() / 2;
    let mut panels = [Panel::new(), Panel::new()];
    for unit in units {
        for first in (0..half).step_by(PANEL_GROUPS) {
            let groups = first..half.min(first + PANEL_GROUPS);
            // SAFETY: a `Packed`'s parts are as long as its shape says; `out` has the rows of every column.
            unsafe {
                (kernels.codes.expand)(w, unit, 1, groups.clone(), &mut panels);
                (kernels.panels.complex_columns)(w, unit, &panels, x, groups, out);
            }
        }
    }
}

/// # Safety
/// As the entry of this name in `Kernels`.
#[inline(always)]
pub(crate) unsafe fn complex_columns<V: Products, const N: usize>(
    w: &Packed<'_>,
    unit: usize,
    panels: &Panels,
    x: &Int8Rows<'_>,
    groups: Range<usize>,
    out: *mut f32,
) {
    let columns = x.positions();
    let mut column = 0;
    // SAFETY: as this function's contract.
    unsafe {
        while column < columns {
            let groups = groups.clone();
            column += match columns - column {
                left if left >= N => block::<V, N>(w, panels, x, groups, unit, column, out),
                _ => block::<V, 1>(w, panels, x, groups, unit, column, out),
            };
        }
    }
}

/// `N` columns from `column` on. Returns how many that are.
///
/// # Safety
/// As [`complex_columns`]; the panels hold the groups.
#[inline(always)]
unsafe fn block<V: Products, const N: usize>(
    w: &Packed<'_>,
    panels: &Panels,
    x: &Int8Rows<'_>,
    groups: Range<usize>,
    unit: usize,
    column: usize,
    out: *mut f32,
) -> usize {
    let (all_groups, half) = (w.groups(), w.groups() / 2);
    let spans = Spans::of(w, x);
    let runs = runs(w, unit);
    // SAFETY: as this function's contract.
    unsafe {
        let scales = Scales::of(w, unit).both::<V>();
        let out = out.add(column * w.rows());
        let mut sums = [[V::splat(0.0); 2]; N];
        if groups.start > 0 {
            for (n, sums) in sums.iter_mut().enumerate() {
                for (sum, (first, rows)) in sums.iter_mut().zip(runs) {
                    *sum = load_rows(out.add(n * w.rows() + first), rows);
                }
            }
        }
        let mut start = groups.start;
        while start < groups.end {
            let end = spans.end(start, groups.end);
            let (mut re_sums, mut im_sums) = ([0; N], [0; N]);
            for (n, (re, im)) in re_sums.iter_mut().zip(&mut im_sums).enumerate() {
                let x_group = (column + n) * all_groups;
                *re = x.sum(x_group, start, end);
                *im = x.sum(x_group, half + start, half + end);
            }
            let re = x.codes.as_ptr().add(column * x.cols + start * GROUP);
            let im = re.add(half * GROUP);
            let (at, n) = ((start - groups.start) * GROUP_BYTES, end - start);
            let panel = |i: usize| panels[i].0.as_ptr().cast::<u8>().wrapping_add(at);
            let panels = [panel(0), panel(1)];
            let [a_re, b_re] = V::dot_two::<N>(panels, n, re, x.cols, re_sums, Bounds::UNIT);
            let [a_im, b_im] = V::dot_two::<N>(panels, n, im, x.cols, im_sums, Bounds::UNIT);
            for (n, sums) in sums.iter_mut().enumerate() {
                let x_group = (column + n) * all_groups + start;
                let x_scales = [x.scale(x_group), x.scale(x_group + half)];
                add_span(sums, [a_re[n], b_im[n], b_re[n], a_im[n]], scales, x_scales);
            }
            start = end;
        }
        for (n, sums) in sums.into_iter().enumerate() {
            for (sum, (first, rows)) in sums.into_iter().zip(runs) {
                sum.store_part(out.add(n * w.rows() + first), rows);
            }
        }
    }
    N
}
