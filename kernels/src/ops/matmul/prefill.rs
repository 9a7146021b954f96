//! Many columns: codes become panels of 8-bit values, which stay in the first-level cache while all columns pass.

use super::scales::{PANEL_GROUPS, Scales, Spans, load_rows, panel_groups, runs};
use crate::arch::Kernels;
use crate::arch::products::{GROUP_BYTES, Panel, Products};
use crate::format::codes::{Bounds, Table, trits};
use crate::format::{Codes, GROUP, Packed, TILE_ROWS};
use crate::ops::Int8Rows;
use core::ops::Range;

/// Panels of two row tiles (of native complex weights: of the real and the imaginary parts of one).
pub(crate) type Panels = [Panel<PANEL_GROUPS>; 2];

/// # Safety
/// `kernels`' instruction set is present; `w` does not hold native complex codes; `out` has the rows of every column, and
/// nobody else writes to those of these units.
pub(super) unsafe fn matmul(kernels: &Kernels, w: &Packed<'_>, x: &Int8Rows<'_>, units: Range<usize>, out: *mut f32) {
    let mut panels = [Panel::new(), Panel::new()];
    // Two tiles at a time: they are of one unit, or of two.
    let tiles_of_unit = w.layout().unit_rows() / TILE_ROWS;
    let units_at_once = 2 / tiles_of_unit;
    let (steps, bounds) = (panel_groups(&w.codes()), w.codes().bounds());
    let mut unit = units.start;
    while unit < units.end {
        let some = units_at_once.min(units.end - unit);
        let first_tile = unit * tiles_of_unit;
        let rows = if tiles_of_unit == 2 {
            runs(w, unit)
        } else {
            [runs(w, unit)[0], if some == 2 { runs(w, unit + 1)[0] } else { (0, 0) }]
        };
        for first in (0..w.groups()).step_by(steps) {
            let groups = first..w.groups().min(first + steps);
            // SAFETY: a `Packed`'s parts are as long as its shape says; the units are there, and panels have room for so
            // many groups.
            unsafe { (kernels.codes.expand)(w, unit, some, groups.clone(), &mut panels) };
            let tile = |i: usize| Tile {
                panel: panels[i].0.as_ptr().cast(),
                bounds,
                scales: Scales::of(w, first_tile + i),
                rows: rows[i],
            };
            // SAFETY: the panels hold the groups, and `out` is as this function's contract says.
            unsafe {
                if rows[1].1 == 0 {
                    (kernels.panels.columns)(w, &[tile(0)], x, groups, out);
                } else {
                    (kernels.panels.columns)(w, &[tile(0), tile(1)], x, groups, out);
                }
            }
        }
        unit += some;
    }
}

/// Asks for the codes of groups, which memory brings while columns pass. What lies past the unit's end is the next one's.
///
/// # Safety
/// `V`'s instruction set is present.
#[inline(always)]
unsafe fn prefetch<V: Products>(w: &Packed<'_>, unit: usize, groups: Range<usize>) {
    let (codes, block) = (w.codes_ptr(unit, 0), w.codes().block());
    let offset = |group: usize| group * GROUP / block.cols * block.bytes;
    for line in (offset(groups.start)..offset(groups.end)).step_by(64) {
        // SAFETY: as this function's contract.
        unsafe { V::prefetch(codes.wrapping_add(line)) };
    }
}

/// # Safety
/// As the entry of this name in `Kernels`.
#[inline(always)]
pub(crate) unsafe fn expand<V: Products>(
    w: &Packed<'_>,
    unit: usize,
    count: usize,
    groups: Range<usize>,
    panels: &mut Panels,
) {
    for unit in unit..unit + count {
        // SAFETY: as this function's contract.
        unsafe { prefetch::<V>(w, unit, groups.end..groups.end + groups.len()) };
    }
    let [upper, lower] = panels;
    // SAFETY: as this function's contract.
    unsafe {
        /// Each group of each unit, by an expression of where its codes are and where its values go.
        macro_rules! groups {
            (|$codes:ident, $to:ident| $expand:expr) => {
                for (unit, panel) in (unit..unit + count).zip([&mut *upper, &mut *lower]) {
                    for (group, values) in groups.clone().zip(&mut panel.0) {
                        let ($codes, $to) = (w.codes_ptr(unit, group), values.as_mut_ptr());
                        $expand;
                    }
                }
            };
        }
        /// Each block of one unit, which gives two groups.
        macro_rules! pairs {
            (|$codes:ident, $first:ident, $second:ident| $expand:expr) => {
                for ((group, first), second) in groups.clone().zip(&mut upper.0).zip(&mut lower.0) {
                    let $codes = w.codes_ptr(unit, group);
                    let ($first, $second) = (first.as_mut_ptr(), second.as_mut_ptr());
                    $expand;
                }
            };
        }
        match &w.codes() {
            Codes::Int8 => groups!(|codes, to| V::expand8(codes, to)),
            Codes::Int6 => groups!(|codes, to| V::expand6(codes, to)),
            Codes::Codebook5(table) => {
                let table = Table::of(table);
                groups!(|codes, to| V::expand5(codes, &table, to));
            }
            Codes::Codebook4(table) => {
                let table = Table::of(table);
                groups!(|codes, to| V::expand4(codes, &table, to));
            }
            Codes::Codebook2(table) => groups!(|codes, to| V::expand2(codes, table, to)),
            Codes::PhaseAxis { magnitudes: true } => groups!(|codes, to| V::expand_axis(codes, to)),
            Codes::PhaseAxis { magnitudes: false } => groups!(|codes, to| V::expand_phases(codes, to)),
            Codes::Trits => {
                let first = groups.start / trits::GROUPS;
                for (unit, panel) in (unit..unit + count).zip([upper, lower]) {
                    for (block, values) in (first..groups.end.div_ceil(trits::GROUPS)).zip(panel.blocks()) {
                        V::expand_trits(w.codes_ptr(unit, block), values);
                    }
                }
            }
            Codes::PhasePair { stages: 1 } => {
                pairs!(|codes, upper, lower| V::expand_pair::<1>(codes, upper, lower))
            }
            Codes::PhasePair { .. } => pairs!(|codes, upper, lower| V::expand_pair::<2>(codes, upper, lower)),
            Codes::PhaseComplex => pairs!(|codes, re, im| V::expand_complex(codes, re, im)),
        }
    }
}

/// 16 rows: some groups of their weights, how large those are, their scales, and which rows they are.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    panel: *const u8,
    bounds: Bounds,
    scales: Scales,
    /// The first one, and how many there are.
    rows: (usize, usize),
}

/// # Safety
/// As the entry of this name in `Kernels`.
#[inline(always)]
pub(crate) unsafe fn columns<V: Products, const N: usize>(
    w: &Packed<'_>,
    tiles: &[Tile],
    x: &Int8Rows<'_>,
    groups: Range<usize>,
    out: *mut f32,
) {
    // SAFETY: as this function's contract.
    unsafe {
        match tiles {
            &[first, second] if V::TWO => tile_columns::<V, 2, N>(w, [first, second], x, groups, out),
            _ => {
                for &tile in tiles {
                    tile_columns::<V, 1, N>(w, [tile], x, groups.clone(), out);
                }
            }
        }
    }
}

/// # Safety
/// As [`columns`].
#[inline(always)]
unsafe fn tile_columns<V: Products, const T: usize, const N: usize>(
    w: &Packed<'_>,
    tiles: [Tile; T],
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
                left if left >= N => block::<V, T, N>(w, &tiles, x, groups, column, out),
                4.. if N > 4 => block::<V, T, 4>(w, &tiles, x, groups, column, out),
                _ => block::<V, T, 1>(w, &tiles, x, groups, column, out),
            }
        }
    }
}

/// `N` columns from `column` on. Returns how many that are.
///
/// # Safety
/// As [`columns`].
#[inline(always)]
unsafe fn block<V: Products, const T: usize, const N: usize>(
    w: &Packed<'_>,
    tiles: &[Tile; T],
    x: &Int8Rows<'_>,
    groups: Range<usize>,
    column: usize,
    out: *mut f32,
) -> usize {
    let all_groups = w.groups();
    let spans = Spans::of(w, x);
    // SAFETY: as this function's contract.
    unsafe {
        let out = out.add(column * w.rows());
        let mut sums = [[V::splat(0.0); N]; T];
        if groups.start > 0 {
            for (sums, tile) in sums.iter_mut().zip(tiles) {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = load_rows(out.add(n * w.rows() + tile.rows.0), tile.rows.1);
                }
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
            let panels = tiles.map(|tile| tile.panel.wrapping_add((start - groups.start) * GROUP_BYTES));
            let dots = dot::<V, T, N>(panels, end - start, x_codes, x.cols, x_sums, tiles[0].bounds);
            for ((tile, sums), dots) in tiles.iter().zip(&mut sums).zip(dots) {
                let x_group = column * all_groups + start;
                tile.scales.add_span(sums, dots, start, x, x_group, all_groups);
            }
            start = end;
        }
        for (sums, tile) in sums.into_iter().zip(tiles) {
            for (n, sum) in sums.into_iter().enumerate() {
                sum.store_part(out.add(n * w.rows() + tile.rows.0), tile.rows.1);
            }
        }
    }
    N
}

/// One or two panels times `N` columns.
///
/// # Safety
/// As `dot_columns` in [`Products`].
#[inline(always)]
unsafe fn dot<V: Products, const T: usize, const N: usize>(
    panels: [*const u8; T],
    groups: usize,
    x: *const i8,
    stride: usize,
    x_sums: [i32; N],
    bounds: Bounds,
) -> [[V; N]; T] {
    // SAFETY: as this function's contract.
    unsafe {
        let mut dots = [[V::splat(0.0); N]; T];
        match (&panels[..], &mut dots[..]) {
            (&[first, second], [dots_first, dots_second]) => {
                [*dots_first, *dots_second] = V::dot_two::<N>([first, second], groups, x, stride, x_sums, bounds);
            }
            (panels, dots) => {
                for (panel, dots) in panels.iter().zip(dots) {
                    *dots = V::dot_columns::<N>(*panel, groups, x, stride, x_sums, bounds);
                }
            }
        }
        dots
    }
}
