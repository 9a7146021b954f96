//! NEON with the dot product instructions of Armv8.2 (Cortex-A55, A76 and later, Apple A11 and later).
//!
//! `sdot` adds four products of bytes to each 32-bit lane, here with one group of four activations out of a register
//! that holds four groups, so activations are loaded once and never broadcast.

use super::lanes::{IntegerProducts, Lanes, Sums, load, look_up};
use core::arch::aarch64::*;
use core::arch::asm;

/// [`IntegerProducts`] by dot product instructions.
#[derive(Clone, Copy)]
pub(crate) struct Dot;

crate::arch::kernels::kernels!(
    "neon-dotprod",
    Lanes<Dot>,
    features: ["neon", "dotprod"],
    columns: 4,
    supported: supported
);

fn supported() -> bool {
    #[cfg(feature = "std")]
    {
        std::arch::is_aarch64_feature_detected!("dotprod")
    }
    #[cfg(not(feature = "std"))]
    {
        cfg!(target_feature = "dotprod")
    }
}

/// Adds to each of 4 rows' sums the products of its 4 weights with activations `4 * LANE..4 * LANE + 4`.
#[inline(always)]
unsafe fn sdot<const LANE: i32>(mut sums: int32x4_t, weights: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: registers only, and the caller upholds the trait's contract. (`vdotq_laneq_s32` is not stable in Rust
    // 1.95.)
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {x:v}.4b[{lane}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// One tile step, 16 rows by 4 weights, with each column's activations `4 * LANE..4 * LANE + 4`.
#[inline(always)]
unsafe fn add_step<const N: usize, const LANE: i32>(
    sums: &mut [Sums; N],
    weights: &[int8x16_t; 4],
    x: &[int8x16_t; N],
) {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        for (sums, x) in sums.iter_mut().zip(x) {
            for (sums, weights) in sums.iter_mut().zip(weights) {
                *sums = sdot::<LANE>(*sums, *weights, *x);
            }
        }
    }
}

/// The 64 bytes of a tile step.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn load_step(from: *const u8) -> [int8x16_t; 4] {
    // SAFETY: as this function's contract, and the trait's.
    unsafe { [load(from), load(from.add(16)), load(from.add(32)), load(from.add(48))] }
}

/// A tile step of 4-bit codes: low nibbles with `LANE` of the first 16 activations, high ones with that of the second.
///
/// # Safety
/// The tile step is there.
#[inline(always)]
unsafe fn add_step4<const LANE: i32>(sums: &mut Sums, codes: *const u8, table: int8x16_t, x: [int8x16_t; 2]) {
    // SAFETY: as this function's contract, and the trait's.
    unsafe {
        for (sums, codes) in sums.iter_mut().zip(load_step(codes.add(LANE as usize * 64))) {
            let (low, high) = look_up(codes, table);
            *sums = sdot::<LANE>(sdot::<LANE>(*sums, low, x[0]), high, x[1]);
        }
    }
}

impl IntegerProducts for Dot {
    #[inline(always)]
    unsafe fn dot4(codes: *const u8, table: &[i8; 16], groups: usize, x: *const i8) -> Sums {
        // SAFETY: groups of codes and activations are there.
        unsafe {
            let table = vld1q_s8(table.as_ptr());
            let mut sums = [vdupq_n_s32(0); 4];
            for group in 0..groups {
                let (codes, x) = (codes.add(group * 256), x.add(group * 32));
                let x = [vld1q_s8(x), vld1q_s8(x.add(16))];
                add_step4::<0>(&mut sums, codes, table, x);
                add_step4::<1>(&mut sums, codes, table, x);
                add_step4::<2>(&mut sums, codes, table, x);
                add_step4::<3>(&mut sums, codes, table, x);
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(panel: *const u8, groups: usize, x: *const i8, stride: usize) -> [Sums; N] {
        // SAFETY: groups of values, and of activations at each of N strides, are there.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); 4]; N];
            for half in 0..groups * 2 {
                let panel = panel.add(half * 256);
                let mut columns = [vdupq_n_s8(0); N];
                for (n, column) in columns.iter_mut().enumerate() {
                    *column = vld1q_s8(x.add(n * stride + half * 16));
                }
                add_step::<N, 0>(&mut sums, &load_step(panel), &columns);
                add_step::<N, 1>(&mut sums, &load_step(panel.add(64)), &columns);
                add_step::<N, 2>(&mut sums, &load_step(panel.add(128)), &columns);
                add_step::<N, 3>(&mut sums, &load_step(panel.add(192)), &columns);
            }
            sums
        }
    }
}
