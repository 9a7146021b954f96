//! NEON as every 64-bit Arm has it (Cortex-A53, A72): widening multiplications.
//!
//! Two products of bytes are added in 16 bits, at most 2 * 128 * 127 = 32512, then pairs of those to 32-bit sums.

use super::lanes::{IntegerProducts, Lanes, Sums, load, look_up};
use core::arch::aarch64::*;
use core::arch::asm;

/// [`IntegerProducts`] by widening multiplications.
#[derive(Clone, Copy)]
pub(crate) struct Widening;

crate::arch::kernels::kernels!("neon", Lanes<Widening>, features: ["neon"], columns: 2, supported: || true);

/// 16 rows' sums, two registers for 4 rows, each of two rows: even and odd pairs of columns.
type Pairs = [[int32x4_t; 2]; 4];

/// Adds the products of 4 rows with twice 4 columns of activations, which each fill a register.
#[inline(always)]
unsafe fn add_dot(sums: &mut [int32x4_t; 2], weights: [int8x16_t; 2], x: [int8x16_t; 2]) {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        let low = vmull_s8(vget_low_s8(weights[0]), vget_low_s8(x[0]));
        let low = vmlal_s8(low, vget_low_s8(weights[1]), vget_low_s8(x[1]));
        let high = vmull_high_s8(weights[0], x[0]);
        let high = vmlal_high_s8(high, weights[1], x[1]);
        *sums = [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], high)];
    }
}

/// Four activations, in every lane.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn broadcast(x: *const i8) -> int8x16_t {
    let lanes;
    // SAFETY: as this function's contract, and the trait's. Not the intrinsic: if LLVM knew that both halves are equal,
    // it would use the low one for both and move the weights' high half down first.
    unsafe {
        asm!("ld1r {{{:v}.4s}}, [{}]", out(vreg) lanes, in(reg) x, options(pure, readonly, nostack, preserves_flags));
    }
    lanes
}

/// Each row's sum of its two.
#[inline(always)]
unsafe fn add_pairs([a, b, c, d]: Pairs) -> Sums {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        [
            vpaddq_s32(a[0], a[1]),
            vpaddq_s32(b[0], b[1]),
            vpaddq_s32(c[0], c[1]),
            vpaddq_s32(d[0], d[1]),
        ]
    }
}

impl IntegerProducts for Widening {
    #[inline(always)]
    unsafe fn dot4(codes: *const u8, table: &[i8; 16], groups: usize, x: *const i8) -> Sums {
        // SAFETY: groups of codes and activations are there.
        unsafe {
            let table = vld1q_s8(table.as_ptr());
            let mut sums: Pairs = [[vdupq_n_s32(0); 2]; 4];
            for group in 0..groups {
                let (codes, x) = (codes.add(group * 256), x.add(group * 32));
                for step in 0..4 {
                    let x = [broadcast(x.add(step * 4)), broadcast(x.add(step * 4 + 16))];
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let (low, high) = look_up(load(codes.add(step * 64 + i * 16)), table);
                        add_dot(sums, [low, high], x);
                    }
                }
            }
            add_pairs(sums)
        }
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(panel: *const u8, groups: usize, x: *const i8, stride: usize) -> [Sums; N] {
        // SAFETY: groups of values, and of activations at each of N strides, are there.
        unsafe {
            let mut sums: [Pairs; N] = [[[vdupq_n_s32(0); 2]; 4]; N];
            for steps in 0..groups * 4 {
                let mut columns = [[vdupq_n_s8(0); 2]; N];
                for (n, column) in columns.iter_mut().enumerate() {
                    let x = x.add(n * stride + steps * 8);
                    *column = [broadcast(x), broadcast(x.add(4))];
                }
                for i in 0..4 {
                    let panel = panel.add(steps * 128 + i * 16);
                    let weights = [load(panel), load(panel.add(64))];
                    for (sums, x) in sums.iter_mut().zip(columns) {
                        add_dot(&mut sums[i], weights, x);
                    }
                }
            }
            let mut dots = [[vdupq_n_s32(0); 4]; N];
            for (dots, sums) in dots.iter_mut().zip(sums) {
                *dots = add_pairs(sums);
            }
            dots
        }
    }
}
