//! Products: `vpdpbusd` multiplies four bytes a lane and adds them to the lane's sum.
//!
//! It wants unsigned weights, so 128 is added to each and the sums start at -128 times the sum of the activations.

use super::Avx512;
use super::values::{self, Group, load};
use crate::arch::products::Products;
use crate::arch::x86_64::AHEAD;
use crate::format::codes::{Bounds, Table, phase, planes, trits};
use core::arch::x86_64::*;

/// Four activations, in every lane.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn broadcast(x: *const i8) -> __m512i {
    // SAFETY: as this function's contract, and the trait's.
    unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

/// 16 rows' sums in parts, which need not wait for each other.
#[derive(Clone, Copy)]
struct Sums([__m512i; 4]);

impl Sums {
    /// What weights that are `bias` too large add to the products, taken away.
    #[inline(always)]
    unsafe fn less(bias: i32, x_sum: i32) -> Self {
        // SAFETY: the caller upholds the trait's contract (likewise below).
        unsafe {
            let mut sums = [_mm512_setzero_si512(); 4];
            sums[0] = _mm512_set1_epi32(-bias * x_sum);
            Sums(sums)
        }
    }

    /// Adds the products of values (unsigned) with four activations each.
    ///
    /// # Safety
    /// The activations are there.
    #[inline(always)]
    unsafe fn add<const STEPS: usize>(&mut self, values: [__m512i; STEPS], x: *const i8) {
        for (step, values) in values.into_iter().enumerate() {
            let sum = &mut self.0[step % 4];
            // SAFETY: as this function's contract.
            *sum = unsafe { _mm512_dpbusd_epi32(*sum, values, broadcast(x.add(4 * step))) };
        }
    }

    #[inline(always)]
    unsafe fn finish<const VBMI: bool>(self) -> Avx512<VBMI> {
        // SAFETY: as `less`.
        unsafe {
            let [a, b, c, d] = self.0;
            let sum = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
            Avx512(_mm512_cvtepi32_ps(sum))
        }
    }
}

/// Writes a group of values.
///
/// # Safety
/// There is room for them.
#[inline(always)]
unsafe fn store<const STEPS: usize>(values: [__m512i; STEPS], to: *mut u8) {
    for (step, values) in values.into_iter().enumerate() {
        // SAFETY: as this function's contract, and the trait's.
        unsafe { _mm512_storeu_si512(to.add(64 * step).cast(), values) };
    }
}

/// Asks for the lines of a block, some blocks ahead.
#[inline(always)]
unsafe fn prefetch(block: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(block.wrapping_add(AHEAD + line).cast()) };
    }
}

/// The products of each group of `$bytes` bytes, decoded by an expression.
macro_rules! dot {
    ($bytes:expr, $groups:expr, $codes:ident, $x:ident, $x_sum:expr, $values:expr) => {{
        let mut sums = Sums::less(128, $x_sum);
        for group in 0..$groups {
            let $codes = $codes.add(group * $bytes);
            prefetch($codes, $bytes);
            sums.add($values, $x.add(group * 32));
        }
        sums.finish()
    }};
}

impl<const VBMI: bool> Products for Avx512<VBMI> {
    const TWO: bool = true;

    #[inline(always)]
    unsafe fn dot8(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: groups of codes and activations are there (likewise below).
        unsafe { dot!(512, groups, codes, x, x_sum, values::of8(codes)) }
    }

    #[inline(always)]
    unsafe fn expand8(codes: *const u8, to: *mut u8) {
        // SAFETY: a group of codes, and room for one of values, are there (likewise below).
        unsafe { store(values::of8(codes), to) }
    }

    #[inline(always)]
    unsafe fn dot2(codes: *const u8, table: &[i8; 4], groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe {
            // Codes stay where they are in their bytes: sums of plane p are 4^p too large.
            let mut planes = [_mm512_setzero_si512(); 4];
            for line in 0..2 * groups {
                let (codes, x) = (codes.add(line * 64), x.add(line * 16));
                prefetch(codes, 64);
                let codes = load(codes);
                for (p, sum) in planes.iter_mut().enumerate() {
                    let codes = _mm512_and_si512(codes, _mm512_set1_epi8((3u8 << (2 * p)) as i8));
                    *sum = _mm512_dpbusd_epi32(*sum, codes, broadcast(x.add(4 * p)));
                }
            }
            let [a, b, c, d] = planes;
            let low = _mm512_add_epi32(a, _mm512_srai_epi32::<2>(b));
            let high = _mm512_add_epi32(_mm512_srai_epi32::<4>(c), _mm512_srai_epi32::<6>(d));
            // Entries are the first one plus the code, or twice the code.
            let double = _mm_cvtsi32_si128(i32::from(table[1]) - i32::from(table[0]) - 1);
            let sum = _mm512_sll_epi32(_mm512_add_epi32(low, high), double);
            let first = _mm512_set1_epi32(i32::from(table[0]) * x_sum);
            Avx512(_mm512_cvtepi32_ps(_mm512_add_epi32(sum, first)))
        }
    }

    #[inline(always)]
    unsafe fn expand2(codes: *const u8, table: &[i8; 4], to: *mut u8) {
        // SAFETY: as `expand8`.
        unsafe { store(values::of2(codes, table), to) }
    }

    #[inline(always)]
    unsafe fn dot4(codes: *const u8, table: &Table<16>, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe {
            dot!(
                planes::CODEBOOK4_BYTES,
                groups,
                codes,
                x,
                x_sum,
                values::of4(codes, &table.entries)
            )
        }
    }

    #[inline(always)]
    unsafe fn expand4(codes: *const u8, table: &Table<16>, to: *mut u8) {
        // SAFETY: as `expand8`.
        unsafe { store(values::of4(codes, &table.entries), to) }
    }

    #[inline(always)]
    unsafe fn dot5(codes: *const u8, table: &Table<32>, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe {
            dot!(
                planes::CODEBOOK5_BYTES,
                groups,
                codes,
                x,
                x_sum,
                values::of5::<VBMI>(codes, &table.entries)
            )
        }
    }

    #[inline(always)]
    unsafe fn expand5(codes: *const u8, table: &Table<32>, to: *mut u8) {
        // SAFETY: as `expand8`.
        unsafe { store(values::of5::<VBMI>(codes, &table.entries), to) }
    }

    #[inline(always)]
    unsafe fn dot6(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { dot!(planes::INT6_BYTES, groups, codes, x, x_sum, values::of6(codes)) }
    }

    #[inline(always)]
    unsafe fn expand6(codes: *const u8, to: *mut u8) {
        // SAFETY: as `expand8`.
        unsafe { store(values::of6(codes), to) }
    }

    #[inline(always)]
    unsafe fn dot_trits(codes: *const u8, blocks: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`, with blocks.
        unsafe {
            let mut sums = Sums::less(128, x_sum);
            for block in 0..blocks {
                let codes = codes.add(block * trits::BYTES);
                prefetch(codes, trits::BYTES);
                sums.add(values::of_trits::<VBMI>(codes), x.add(block * trits::COLS));
            }
            sums.finish()
        }
    }

    #[inline(always)]
    unsafe fn expand_trits(block: *const u8, to: *mut u8) {
        // SAFETY: a block, and room for three groups of values, are there.
        unsafe { store(values::of_trits::<VBMI>(block), to) }
    }

    #[inline(always)]
    unsafe fn dot_axis(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { dot!(phase::AXIS_BYTES, groups, codes, x, x_sum, values::of_axis(codes)) }
    }

    #[inline(always)]
    unsafe fn expand_axis(codes: *const u8, to: *mut u8) {
        // SAFETY: as `expand8`.
        unsafe { store(values::of_axis(codes), to) }
    }

    #[inline(always)]
    unsafe fn dot_phases(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { dot!(phase::PHASE_BYTES, groups, codes, x, x_sum, values::of_phases(codes)) }
    }

    #[inline(always)]
    unsafe fn expand_phases(codes: *const u8, to: *mut u8) {
        // SAFETY: as `expand8`.
        unsafe { store(values::of_phases(codes), to) }
    }

    #[inline(always)]
    unsafe fn dot_pair<const STAGES: usize>(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> [Self; 2] {
        // SAFETY: as `dot8`.
        unsafe {
            let mut sums = [Sums::less(128, x_sum); 2];
            for group in 0..groups {
                let (codes, x) = (codes.add(group * 128 * STAGES), x.add(group * 32));
                prefetch(codes, 128 * STAGES);
                let [upper, lower] = values::of_pairs::<STAGES>(codes);
                sums[0].add(upper, x);
                sums[1].add(lower, x);
            }
            [sums[0].finish(), sums[1].finish()]
        }
    }

    #[inline(always)]
    unsafe fn expand_pair<const STAGES: usize>(codes: *const u8, upper: *mut u8, lower: *mut u8) {
        // SAFETY: as `expand8`.
        unsafe {
            let values = values::of_pairs::<STAGES>(codes);
            store(values[0], upper);
            store(values[1], lower);
        }
    }

    #[inline(always)]
    unsafe fn dot_complex(
        codes: *const u8,
        groups: usize,
        re: *const i8,
        im: *const i8,
        [re_sum, im_sum]: [i32; 2],
    ) -> [Self; 4] {
        // SAFETY: as `dot8`.
        unsafe {
            let (of_re, of_im) = (Sums::less(128, re_sum), Sums::less(128, im_sum));
            let [mut a_re, mut b_im, mut b_re, mut a_im] = [of_re, of_im, of_re, of_im];
            for group in 0..groups {
                let codes = codes.add(group * planes::CODEBOOK2_BYTES);
                prefetch(codes, planes::CODEBOOK2_BYTES);
                let [a, b] = values::of_complex(codes);
                let (re, im) = (re.add(group * 32), im.add(group * 32));
                a_re.add(a, re);
                b_im.add(b, im);
                b_re.add(b, re);
                a_im.add(a, im);
            }
            [a_re.finish(), b_im.finish(), b_re.finish(), a_im.finish()]
        }
    }

    #[inline(always)]
    unsafe fn expand_complex(codes: *const u8, re: *mut u8, im: *mut u8) {
        // SAFETY: as `expand8`.
        unsafe {
            let values: [Group; 2] = values::of_complex(codes);
            store(values[0], re);
            store(values[1], im);
        }
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(
        panel: *const u8,
        groups: usize,
        x: *const i8,
        stride: usize,
        x_sums: [i32; N],
        _bounds: Bounds,
    ) -> [Self; N] {
        // SAFETY: groups of values, and of activations at each of N strides, are there.
        unsafe {
            let [dots] = dot_panels::<VBMI, 1, N>([panel], groups, x, stride, x_sums);
            dots
        }
    }

    #[inline(always)]
    unsafe fn dot_two<const N: usize>(
        panels: [*const u8; 2],
        groups: usize,
        x: *const i8,
        stride: usize,
        x_sums: [i32; N],
        _bounds: Bounds,
    ) -> [[Self; N]; 2] {
        // SAFETY: as `dot_columns`.
        unsafe { dot_panels::<VBMI, 2, N>(panels, groups, x, stride, x_sums) }
    }
}

/// `T` panels times `N` columns.
///
/// # Safety
/// As `dot_columns`.
#[inline(always)]
unsafe fn dot_panels<const VBMI: bool, const T: usize, const N: usize>(
    panels: [*const u8; T],
    groups: usize,
    x: *const i8,
    stride: usize,
    x_sums: [i32; N],
) -> [[Avx512<VBMI>; N]; T] {
    // SAFETY: as this function's contract.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); N]; T];
        for sums in &mut sums {
            for (sum, x_sum) in sums.iter_mut().zip(x_sums) {
                *sum = _mm512_set1_epi32(-128 * x_sum);
            }
        }
        for step in 0..groups * 8 {
            let mut values = [_mm512_setzero_si512(); T];
            for (values, panel) in values.iter_mut().zip(panels) {
                *values = load(panel.add(step * 64));
            }
            for n in 0..N {
                let x = broadcast(x.add(n * stride + step * 4));
                for (sums, values) in sums.iter_mut().zip(values) {
                    sums[n] = _mm512_dpbusd_epi32(sums[n], values, x);
                }
            }
        }
        // Loops, not `map`: closures are compiled without the instruction set.
        let mut dots = [[Avx512(_mm512_setzero_ps()); N]; T];
        for (dots, sums) in dots.iter_mut().zip(sums) {
            for (dot, sum) in dots.iter_mut().zip(sums) {
                *dot = Avx512(_mm512_cvtepi32_ps(sum));
            }
        }
        dots
    }
}
