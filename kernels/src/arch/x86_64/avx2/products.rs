//! The integer products of the packed formats.

use super::bytes::{broadcast, load};
use super::lanes::Lanes;
use super::sums::{Multiply, SIGNED, Sums, at_once, offset, restore, room};
use super::{phases, planes, trits};
use crate::arch::products::Products;
use crate::format::codes::{Bounds, Table};
use core::arch::x86_64::*;
use core::ops::Range;

// SAFETY of every block below: the caller upholds the method's contract.
impl<M: Multiply> Products for Lanes<M> {
    #[inline(always)]
    unsafe fn dot8(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as this method's contract (likewise below).
        unsafe { Self::from_i32(planes::dot8::<M>(codes, groups, x, x_sum)) }
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(
        panel: *const u8,
        groups: usize,
        x: *const i8,
        stride: usize,
        x_sums: [i32; N],
        bounds: Bounds,
    ) -> [Self; N] {
        // SAFETY: groups of values, and of activations at each of N strides, are there.
        unsafe {
            let room = room::<M>(bounds);
            let sums = at_once!(M, bounds, |AT_ONCE| dot_columns::<M, N, AT_ONCE>(
                panel, groups, x, stride, room
            ));
            let mut dots = [Self::from_i32([_mm256_setzero_si256(); 2]); N];
            for (dot, (sums, x_sum)) in dots.iter_mut().zip(sums.into_iter().zip(x_sums)) {
                *dot = Self::from_i32(restore(sums, offset::<M>(bounds), x_sum));
            }
            dots
        }
    }

    #[inline(always)]
    unsafe fn expand8(values: *const u8, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { planes::expand8::<M>(values, to) }
    }

    #[inline(always)]
    unsafe fn expand2(codes: *const u8, table: &[i8; 4], to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { planes::expand2::<M>(codes, table, to) }
    }

    #[inline(always)]
    unsafe fn expand4(codes: *const u8, table: &Table<16>, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { planes::expand4::<M>(codes, table, to) }
    }

    #[inline(always)]
    unsafe fn expand5(codes: *const u8, table: &Table<32>, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { planes::expand5::<M>(codes, table, to) }
    }

    #[inline(always)]
    unsafe fn expand6(codes: *const u8, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { planes::expand6(codes, to) }
    }

    #[inline(always)]
    unsafe fn expand_trits(block: *const u8, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { trits::expand(block, to) }
    }

    #[inline(always)]
    unsafe fn expand_axis(codes: *const u8, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { phases::expand_axis::<M>(codes, to) }
    }

    #[inline(always)]
    unsafe fn expand_phases(codes: *const u8, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { phases::expand_phases(codes, to) }
    }

    #[inline(always)]
    unsafe fn expand_pair<const STAGES: usize>(codes: *const u8, upper: *mut u8, lower: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { phases::expand_pair::<STAGES>(codes, upper, lower) }
    }

    #[inline(always)]
    unsafe fn expand_complex(codes: *const u8, re: *mut u8, im: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { phases::expand_complex(codes, re, im) }
    }

    #[inline(always)]
    unsafe fn dot2(codes: *const u8, table: &[i8; 4], groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(planes::dot2::<M>(codes, table, groups, x, x_sum)) }
    }

    #[inline(always)]
    unsafe fn dot4(codes: *const u8, table: &Table<16>, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(planes::dot4::<M>(codes, table, groups, x, x_sum)) }
    }

    #[inline(always)]
    unsafe fn dot5(codes: *const u8, table: &Table<32>, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(planes::dot5::<M>(codes, table, groups, x, x_sum)) }
    }

    #[inline(always)]
    unsafe fn dot6(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(planes::dot6::<M>(codes, groups, x, x_sum)) }
    }

    #[inline(always)]
    unsafe fn dot_trits(codes: *const u8, blocks: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(trits::dot::<M>(codes, blocks, x, x_sum)) }
    }

    #[inline(always)]
    unsafe fn dot_axis(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(phases::dot_axis::<M>(codes, groups, x)) }
    }

    #[inline(always)]
    unsafe fn dot_phases(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(phases::dot_phases::<M>(codes, groups, x, x_sum)) }
    }

    #[inline(always)]
    unsafe fn dot_pair<const STAGES: usize>(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> [Self; 2] {
        // SAFETY: as `dot8`.
        unsafe {
            let [upper, lower] = phases::dot_pair::<M, STAGES>(codes, groups, x, x_sum);
            [Self::from_i32(upper), Self::from_i32(lower)]
        }
    }

    #[inline(always)]
    unsafe fn dot_complex(
        codes: *const u8,
        groups: usize,
        re: *const i8,
        im: *const i8,
        x_sums: [i32; 2],
    ) -> [Self; 4] {
        // SAFETY: as `dot8`.
        unsafe {
            let [a_re, b_im, b_re, a_im] = phases::dot_complex::<M>(codes, groups, re, im, x_sums);
            [
                Self::from_i32(a_re),
                Self::from_i32(b_im),
                Self::from_i32(b_re),
                Self::from_i32(a_im),
            ]
        }
    }
}

/// The sums of `N` columns. There is `room` for so many products.
#[inline(always)]
unsafe fn dot_columns<M: Multiply, const N: usize, const AT_ONCE: usize>(
    panel: *const u8,
    groups: usize,
    x: *const i8,
    stride: usize,
    room: usize,
) -> [[__m256i; 2]; N] {
    let steps = groups * 8;
    // SAFETY: groups of values, and of activations at each of N strides, are there.
    unsafe {
        let mut sums = [Sums::<M>::new(); N];
        // Where there is room for all, as in one group of four bits, there are no whole sums to keep beside them.
        if !M::WIDE && AT_ONCE == 8 && steps <= room {
            add_steps::<M, N, AT_ONCE>(&mut sums, panel, 0..steps, x, stride);
            return finish(sums);
        }
        let mut first = 0;
        while first < steps {
            let end = match AT_ONCE {
                SIGNED => steps,
                2 => first + 2,
                _ => steps.min(first.saturating_add(room)),
            };
            add_steps::<M, N, AT_ONCE>(&mut sums, panel, first..end, x, stride);
            for sums in &mut sums {
                sums.widen();
            }
            first = end;
        }
        finish(sums)
    }
}

/// Adds the products of some steps.
#[inline(always)]
unsafe fn add_steps<M: Multiply, const N: usize, const AT_ONCE: usize>(
    sums: &mut [Sums<M>; N],
    panel: *const u8,
    steps: Range<usize>,
    x: *const i8,
    stride: usize,
) {
    // SAFETY: as `dot_columns`.
    unsafe {
        for step in steps {
            let weights = [load(panel.add(step * 64)), load(panel.add(step * 64 + 32))];
            for (n, sums) in sums.iter_mut().enumerate() {
                let x = broadcast(x.add(n * stride + step * 4));
                sums.add_some::<AT_ONCE>(0, weights[0], x);
                sums.add_some::<AT_ONCE>(1, weights[1], x);
            }
        }
    }
}

#[inline(always)]
unsafe fn finish<M: Multiply, const N: usize>(sums: [Sums<M>; N]) -> [[__m256i; 2]; N] {
    // SAFETY: registers only, and the caller upholds `Simd`'s contract.
    unsafe {
        let mut finished = [[_mm256_setzero_si256(); 2]; N];
        for (finished, sums) in finished.iter_mut().zip(sums) {
            *finished = sums.finish();
        }
        finished
    }
}
