//! Which columns can be summed as integers, and how sums are scaled.

use crate::arch::simd::Simd;
use crate::format::{Codes, GROUP, Packed, TILE_ROWS};
use crate::ops::Int8Rows;

/// Groups of a panel, and the most whose sums stay integers: 512 columns, below 2^24 whatever they are, so int32 cannot
/// overflow and f32 holds them exactly.
pub(super) const PANEL_GROUPS: usize = 16;

/// As many of them as are whole blocks.
pub(super) const fn panel_groups(codes: &Codes) -> usize {
    let block = codes.block().cols / GROUP;
    PANEL_GROUPS / block * block
}

/// How many scales ahead kernels for one column ask for.
const SCALES_AHEAD: usize = 48;

/// Cuts the columns into spans that share the weights' scale and the activations', in groups.
///
/// Products with one column and with many cut at the same places: that is why they give the same bits.
#[derive(Clone, Copy)]
pub(super) struct Spans {
    panel: usize,
    weight: usize,
    x: usize,
}

impl Spans {
    #[inline(always)]
    pub(super) fn of(w: &Packed<'_>, x: &Int8Rows<'_>) -> Self {
        let layout = w.layout();
        // A minimum is multiplied with each group's sum of activations.
        let weight = if layout.minima_offset().is_some() {
            1
        } else {
            layout.groups_per_scale()
        };
        Spans {
            panel: panel_groups(&w.codes()),
            weight,
            x: x.shared,
        }
    }

    /// Every group is a span.
    #[inline(always)]
    pub(super) fn single(self) -> bool {
        self.x == 1 || self.weight == 1
    }

    /// Where the span that begins at `start` ends.
    #[inline(always)]
    pub(super) fn end(self, start: usize, groups: usize) -> usize {
        if self.single() {
            return start + 1;
        }
        let next = |step: usize| (start / step + 1) * step;
        let end = next(self.panel).min(next(self.x)).min(groups);
        if self.weight < self.panel {
            end.min(next(self.weight))
        } else {
            end
        }
    }
}

/// How the groups of a row tile are scaled.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    scales: *const u8,
    minima: Option<*const u8>,
    shift: u32,
    wide: bool,
}

impl Scales {
    #[inline(always)]
    pub(super) fn of(w: &Packed<'_>, tile: usize) -> Self {
        let (scales, shift) = w.scales_ptr(tile);
        Scales {
            scales,
            minima: w.minima_ptr(tile),
            shift,
            wide: w.layout().has_f32_scales(),
        }
    }

    /// 16 rows' scales (or minima), `index` of them further on.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn load<V: Simd>(self, from: *const u8, index: usize) -> V {
        // SAFETY: as this function's contract.
        unsafe {
            if self.wide {
                V::load(from.add(index * TILE_ROWS * 4).cast())
            } else {
                V::load_f16(from.add(index * TILE_ROWS * 2))
            }
        }
    }

    /// The scales of native complex weights: of real and of imaginary codes.
    ///
    /// # Safety
    /// `V`'s instruction set is present, and the matrix is of that kind.
    #[inline(always)]
    pub(super) unsafe fn both<V: Simd>(self) -> [V; 2] {
        // SAFETY: as this function's contract.
        unsafe { [self.load(self.scales, 0), self.load(self.scales, 1)] }
    }

    /// Asks for the scales (and minima) of groups to come: they lie apart from the codes.
    ///
    /// # Safety
    /// `V`'s instruction set is present.
    #[inline(always)]
    pub(super) unsafe fn prefetch<V: Simd>(self, group: usize) {
        let ahead = ((group >> self.shift) + SCALES_AHEAD) * TILE_ROWS * if self.wide { 4 } else { 2 };
        // SAFETY: as this function's contract.
        unsafe {
            V::prefetch(self.scales.wrapping_add(ahead));
            if let Some(minima) = self.minima {
                V::prefetch(minima.wrapping_add(ahead));
            }
        }
    }

    /// Adds the integer dot products of the span from `group` on with `N` columns, scaled, to 16 rows' sums.
    ///
    /// # Safety
    /// `group` is one of the matrix, `x_group` and those at `N - 1` times `stride` from it are some of `x`.
    #[inline(always)]
    pub(super) unsafe fn add_span<V: Simd, const N: usize>(
        self,
        sums: &mut [V; N],
        dots: [V; N],
        group: usize,
        x: &Int8Rows<'_>,
        x_group: usize,
        stride: usize,
    ) {
        let index = group >> self.shift;
        // SAFETY: as this function's contract.
        unsafe {
            let scale: V = self.load(self.scales, index);
            for (n, (sum, dot)) in sums.iter_mut().zip(dots).enumerate() {
                let x_scale = V::splat(*x.scales.get_unchecked(x_group + n * stride));
                *sum = sum.add(scale.mul(x_scale).mul(dot));
            }
            if let Some(minima) = self.minima {
                let minimum: V = self.load(minima, index);
                for (n, sum) in sums.iter_mut().enumerate() {
                    let x_sum = V::splat(*x.sums.get_unchecked(x_group + n * stride));
                    *sum = sum.add(minimum.mul(x_sum));
                }
            }
        }
    }
}

/// The rows of a unit: one or two runs of at most 16, as the first row and the number of rows.
#[inline(always)]
pub(super) fn runs(w: &Packed<'_>, unit: usize) -> [(usize, usize); 2] {
    let run = |first: usize, end: usize| (first, end.saturating_sub(first).min(TILE_ROWS));
    let rows = w.rows();
    if w.codes() == Codes::PhaseComplex {
        let (first, half) = (unit * TILE_ROWS, rows / 2);
        [run(first, half), run(half + first, rows)]
    } else if w.layout().unit_rows() > TILE_ROWS {
        let first = unit * 2 * TILE_ROWS;
        [run(first, rows), run(first + TILE_ROWS, rows)]
    } else {
        [run(unit * TILE_ROWS, rows), (0, 0)]
    }
}

/// The floats that are there, the other lanes 0.
///
/// # Safety
/// `V`'s instruction set is present; `rows <= 16` floats are there.
#[inline(always)]
pub(super) unsafe fn load_rows<V: Simd>(from: *const f32, rows: usize) -> V {
    // SAFETY: as this function's contract.
    unsafe {
        if rows == TILE_ROWS {
            V::load(from)
        } else {
            V::load_part(from, rows)
        }
    }
}
