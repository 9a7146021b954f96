//! The integer products of the packed formats.

use super::simd::Simd;
use crate::format::codes::{Bounds, Table, phase, planes, trits};

/// Bytes of a group of values.
pub(crate) const GROUP_BYTES: usize = 512;

/// Dot products of packed codes with int8 activations in -127..=127, for 16 rows at a time.
///
/// A backend must give [`dot8`](Self::dot8) and [`dot_columns`](Self::dot_columns). Everything else has a plain
/// definition here, which its own way must equal: integers are exact, and a call covers at most 16 groups (512 columns),
/// so that every sum is below 2^24 and as exact as a float.
///
/// `codes` are as [`format::codes`](crate::format::codes) lays them out, `x` is 32 activations a group, and `x_sum` is
/// their sum over all groups of the call, for instructions that want unsigned weights. Kernels for one column ask for
/// bytes ahead of `codes` themselves.
///
/// `expand` functions turn codes into a *panel*: 8-bit values in whatever order and form
/// [`dot_columns`](Self::dot_columns) of the same backend wants, 512 bytes a group. Both know the [`Bounds`] of the values:
/// from the kind of codes, from a [`Table`], or as an argument.
///
/// # Safety
/// As for [`Simd`].
pub(crate) trait Products: Simd {
    /// Whether there are registers for two panels at once, so that one load of activations serves 32 rows: then prefill
    /// calls [`dot_two`](Self::dot_two).
    const TWO: bool = false;

    /// 8-bit codes.
    unsafe fn dot8(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> Self;

    /// A panel times `N` columns of activations, `stride` bytes apart: the inner loop of prefill.
    unsafe fn dot_columns<const N: usize>(
        panel: *const u8,
        groups: usize,
        x: *const i8,
        stride: usize,
        x_sums: [i32; N],
        bounds: Bounds,
    ) -> [Self; N];

    /// Two panels times the same `N` columns.
    #[inline(always)]
    unsafe fn dot_two<const N: usize>(
        [first, second]: [*const u8; 2],
        groups: usize,
        x: *const i8,
        stride: usize,
        x_sums: [i32; N],
        bounds: Bounds,
    ) -> [[Self; N]; 2] {
        // SAFETY: as `dot_columns`, for each panel.
        unsafe {
            [
                Self::dot_columns::<N>(first, groups, x, stride, x_sums, bounds),
                Self::dot_columns::<N>(second, groups, x, stride, x_sums, bounds),
            ]
        }
    }

    /// A group of values, in the order of 8-bit codes.
    #[inline(always)]
    unsafe fn expand8(values: *const u8, to: *mut u8) {
        // SAFETY: a group of values, and room for one, are there.
        unsafe { core::ptr::copy_nonoverlapping(values, to, GROUP_BYTES) }
    }

    /// A group of 2-bit codes (128 bytes).
    #[inline(always)]
    unsafe fn expand2(codes: *const u8, table: &[i8; 4], to: *mut u8) {
        // SAFETY: a group of codes, and room for one of values, are there (likewise below).
        unsafe { Self::expand8(planes::decode2(&*codes.cast(), table).as_ptr(), to) }
    }

    /// A group of 4-bit codes (256 bytes).
    #[inline(always)]
    unsafe fn expand4(codes: *const u8, table: &Table<16>, to: *mut u8) {
        // SAFETY: as `expand2`.
        unsafe { Self::expand8(planes::decode4(&*codes.cast(), &table.entries).as_ptr(), to) }
    }

    /// A group of 5-bit codes (320 bytes).
    #[inline(always)]
    unsafe fn expand5(codes: *const u8, table: &Table<32>, to: *mut u8) {
        // SAFETY: as `expand2`.
        unsafe { Self::expand8(planes::decode5(&*codes.cast(), &table.entries).as_ptr(), to) }
    }

    /// A group of 6-bit codes (384 bytes).
    #[inline(always)]
    unsafe fn expand6(codes: *const u8, to: *mut u8) {
        // SAFETY: as `expand2`.
        unsafe { Self::expand8(planes::decode6(&*codes.cast()).as_ptr(), to) }
    }

    /// A block of trits (320 bytes) to three groups.
    #[inline(always)]
    unsafe fn expand_trits(block: *const u8, to: *mut u8) {
        // SAFETY: a block, and room for three groups, are there.
        unsafe {
            for (i, values) in trits::decode(&*block.cast()).iter().enumerate() {
                Self::expand8(values.as_ptr(), to.add(i * GROUP_BYTES));
            }
        }
    }

    /// A group of numbers on an axis, with their magnitudes (288 bytes).
    #[inline(always)]
    unsafe fn expand_axis(codes: *const u8, to: *mut u8) {
        // SAFETY: as `expand2`.
        unsafe {
            let codes = core::slice::from_raw_parts(codes, phase::AXIS_BYTES);
            Self::expand8(phase::decode_axis(codes, true).as_ptr(), to);
        }
    }

    /// A group of powers of i, each two columns (64 bytes).
    #[inline(always)]
    unsafe fn expand_phases(codes: *const u8, to: *mut u8) {
        // SAFETY: as `expand2`.
        unsafe {
            let codes = core::slice::from_raw_parts(codes, phase::PHASE_BYTES);
            Self::expand8(phase::decode_axis(codes, false).as_ptr(), to);
        }
    }

    /// A block of phase pairs (128 bytes a stage): the group of its upper and that of its lower 16 rows.
    #[inline(always)]
    unsafe fn expand_pair<const STAGES: usize>(codes: *const u8, upper: *mut u8, lower: *mut u8) {
        // SAFETY: as `expand2`.
        unsafe {
            let codes = core::slice::from_raw_parts(codes, 128 * STAGES);
            let [first, second] = phase::decode_pair(codes, STAGES as u8);
            Self::expand8(first.as_ptr(), upper);
            Self::expand8(second.as_ptr(), lower);
        }
    }

    /// A block of native complex codes (128 bytes): the real parts, and the imaginary ones.
    #[inline(always)]
    unsafe fn expand_complex(codes: *const u8, re: *mut u8, im: *mut u8) {
        // SAFETY: as `expand2`.
        unsafe {
            let [real, imaginary] = phase::decode_complex(&*codes.cast());
            Self::expand8(real.as_ptr(), re);
            Self::expand8(imaginary.as_ptr(), im);
        }
    }

    /// 2-bit codes.
    #[inline(always)]
    unsafe fn dot2(codes: *const u8, table: &[i8; 4], groups: usize, x: *const i8, _x_sum: i32) -> Self {
        let mut panel = Panel::<1>::new();
        // SAFETY: `groups` groups of codes and activations are there (likewise below).
        unsafe {
            let mut sum = Self::splat(0.0);
            for group in 0..groups {
                Self::expand2(
                    codes.add(group * planes::CODEBOOK2_BYTES),
                    table,
                    panel.0.as_mut_ptr().cast(),
                );
                sum = sum.add(dot_group(&panel, x.add(group * 32), Bounds::of(table)));
            }
            sum
        }
    }

    /// 4-bit codes.
    #[inline(always)]
    unsafe fn dot4(codes: *const u8, table: &Table<16>, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        let mut panel = Panel::<1>::new();
        // SAFETY: as `dot2`.
        unsafe {
            let mut sum = Self::splat(0.0);
            for group in 0..groups {
                Self::expand4(
                    codes.add(group * planes::CODEBOOK4_BYTES),
                    table,
                    panel.0.as_mut_ptr().cast(),
                );
                sum = sum.add(dot_group(&panel, x.add(group * 32), table.bounds));
            }
            sum
        }
    }

    /// 5-bit codes.
    #[inline(always)]
    unsafe fn dot5(codes: *const u8, table: &Table<32>, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        let mut panel = Panel::<1>::new();
        // SAFETY: as `dot2`.
        unsafe {
            let mut sum = Self::splat(0.0);
            for group in 0..groups {
                Self::expand5(
                    codes.add(group * planes::CODEBOOK5_BYTES),
                    table,
                    panel.0.as_mut_ptr().cast(),
                );
                sum = sum.add(dot_group(&panel, x.add(group * 32), table.bounds));
            }
            sum
        }
    }

    /// 6-bit codes.
    #[inline(always)]
    unsafe fn dot6(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        let mut panel = Panel::<1>::new();
        // SAFETY: as `dot2`.
        unsafe {
            let mut sum = Self::splat(0.0);
            for group in 0..groups {
                Self::expand6(codes.add(group * planes::INT6_BYTES), panel.0.as_mut_ptr().cast());
                sum = sum.add(dot_group(&panel, x.add(group * 32), Bounds::INT6));
            }
            sum
        }
    }

    /// Whole blocks of trits, at most 5 (480 columns).
    #[inline(always)]
    unsafe fn dot_trits(codes: *const u8, blocks: usize, x: *const i8, _x_sum: i32) -> Self {
        let mut panel = Panel::<3>::new();
        // SAFETY: as `dot2`, with blocks.
        unsafe {
            let mut sum = Self::splat(0.0);
            for block in 0..blocks {
                Self::expand_trits(codes.add(block * trits::BYTES), panel.0.as_mut_ptr().cast());
                let x = x.add(block * trits::COLS);
                let [dot] = Self::dot_columns::<1>(panel.0.as_ptr().cast(), 3, x, 0, [sum_of::<96>(x)], Bounds::UNIT);
                sum = sum.add(dot);
            }
            sum
        }
    }

    /// Numbers on an axis, with their magnitudes.
    #[inline(always)]
    unsafe fn dot_axis(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        let mut panel = Panel::<1>::new();
        // SAFETY: as `dot2`.
        unsafe {
            let mut sum = Self::splat(0.0);
            for group in 0..groups {
                Self::expand_axis(codes.add(group * phase::AXIS_BYTES), panel.0.as_mut_ptr().cast());
                sum = sum.add(dot_group(&panel, x.add(group * 32), Bounds::INT8));
            }
            sum
        }
    }

    /// Powers of i, each two columns.
    #[inline(always)]
    unsafe fn dot_phases(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        let mut panel = Panel::<1>::new();
        // SAFETY: as `dot2`.
        unsafe {
            let mut sum = Self::splat(0.0);
            for group in 0..groups {
                Self::expand_phases(codes.add(group * phase::PHASE_BYTES), panel.0.as_mut_ptr().cast());
                sum = sum.add(dot_group(&panel, x.add(group * 32), Bounds::UNIT));
            }
            sum
        }
    }

    /// Phase pairs: the upper and the lower 16 rows.
    #[inline(always)]
    unsafe fn dot_pair<const STAGES: usize>(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> [Self; 2] {
        let mut panels = [Panel::<1>::new(), Panel::<1>::new()];
        // SAFETY: as `dot2`.
        unsafe {
            let mut sums = [Self::splat(0.0); 2];
            for group in 0..groups {
                let [upper, lower] = &mut panels;
                let codes = codes.add(group * 128 * STAGES);
                Self::expand_pair::<STAGES>(codes, upper.0.as_mut_ptr().cast(), lower.0.as_mut_ptr().cast());
                for (sum, panel) in sums.iter_mut().zip(&panels) {
                    *sum = sum.add(dot_group(panel, x.add(group * 32), Bounds::pairs(STAGES as u8)));
                }
            }
            sums
        }
    }

    /// Native complex codes `a + ib` times the real and the imaginary parts of activations: `a·re`, `b·im`, `b·re`,
    /// `a·im`. `x_sums` are those of both parts.
    #[inline(always)]
    unsafe fn dot_complex(
        codes: *const u8,
        groups: usize,
        re: *const i8,
        im: *const i8,
        _x_sums: [i32; 2],
    ) -> [Self; 4] {
        let (mut a, mut b) = (Panel::<1>::new(), Panel::<1>::new());
        // SAFETY: as `dot2`.
        unsafe {
            let mut sums = [Self::splat(0.0); 4];
            for group in 0..groups {
                let codes = codes.add(group * planes::CODEBOOK2_BYTES);
                Self::expand_complex(codes, a.0.as_mut_ptr().cast(), b.0.as_mut_ptr().cast());
                let (re, im) = (re.add(group * 32), im.add(group * 32));
                let dots = [
                    dot_group(&a, re, Bounds::UNIT),
                    dot_group(&b, im, Bounds::UNIT),
                    dot_group(&b, re, Bounds::UNIT),
                    dot_group(&a, im, Bounds::UNIT),
                ];
                for (sum, dot) in sums.iter_mut().zip(dots) {
                    *sum = sum.add(dot);
                }
            }
            sums
        }
    }
}

/// Groups of a panel, aligned so that a load of 64 bytes never crosses a cache line.
#[repr(align(64))]
pub(crate) struct Panel<const GROUPS: usize>(pub [[u8; GROUP_BYTES]; GROUPS]);

impl<const GROUPS: usize> Panel<GROUPS> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Panel([[0; GROUP_BYTES]; GROUPS])
    }

    /// Where the values of each whole block of trits go.
    #[inline(always)]
    pub(crate) fn blocks(&mut self) -> impl Iterator<Item = *mut u8> {
        self.0
            .chunks_exact_mut(trits::GROUPS)
            .map(|groups| groups.as_mut_ptr().cast())
    }
}

/// One group of a panel times one column.
///
/// # Safety
/// `V`'s instruction set is present; 32 activations are there.
#[inline(always)]
unsafe fn dot_group<V: Products>(panel: &Panel<1>, x: *const i8, bounds: Bounds) -> V {
    // SAFETY: as this function's contract.
    unsafe { V::dot_columns::<1>(panel.0.as_ptr().cast(), 1, x, 0, [sum_of::<32>(x)], bounds)[0] }
}

/// # Safety
/// `N` activations are there.
#[inline(always)]
unsafe fn sum_of<const N: usize>(x: *const i8) -> i32 {
    let mut sum = 0;
    for i in 0..N {
        // SAFETY: as this function's contract.
        sum += i32::from(unsafe { *x.add(i) });
    }
    sum
}
