//! NEON as every 64-bit Arm has it (Cortex-A53, A72): widening multiplications.
//!
//! Two products of bytes are added in 16 bits, at most 2 * 128 * 127 = 32512, then pairs of those to 32-bit sums. Small
//! values' products (at most 24 in a block, each at most 8 * 127 = 1016) are added in 16 bits block by block.

use super::lanes::Lanes;
use super::products::{IntegerProducts, Totals};
use super::unpack::{Step, load_step};
use core::arch::aarch64::*;
use core::arch::asm;

/// [`IntegerProducts`] by widening multiplications.
#[derive(Clone, Copy)]
pub(crate) struct Widening;

crate::arch::kernels::kernels!("neon", Lanes<Widening>, features: ["neon"], columns: 2, supported: || true);

/// 16 rows' sums, two registers for 4 rows, each of two rows: even and odd pairs of columns.
type Pairs = [[int32x4_t; 2]; 4];
/// 16 rows' sums of each column of four, two registers for 4 rows.
type Quads = [[int16x8_t; 2]; 4];

/// Adds the products of 4 rows and 4 columns.
#[inline(always)]
unsafe fn add_products([low, high]: [int16x8_t; 2], values: uint8x16_t, x: int8x16_t) -> [int16x8_t; 2] {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        let values = vreinterpretq_s8_u8(values);
        [
            vmlal_s8(low, vget_low_s8(values), vget_low_s8(x)),
            vmlal_high_s8(high, values, x),
        ]
    }
}

/// Adds sums in 16 bits to those in 32.
#[inline(always)]
unsafe fn widen(sums: [int32x4_t; 2], [low, high]: [int16x8_t; 2]) -> [int32x4_t; 2] {
    // SAFETY: the caller upholds the trait's contract.
    unsafe { [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], high)] }
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

/// Eight activations: each four of them in every lane.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn broadcast_pair(x: *const i8) -> [int8x16_t; 2] {
    // SAFETY: as this function's contract.
    unsafe { [broadcast(x), broadcast(x.add(4))] }
}

/// Adds the products of a pair of steps.
#[inline(always)]
unsafe fn add_pair(sums: &mut Pairs, [a, b]: [Step; 2], x: [int8x16_t; 2]) {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        for (sums, (a, b)) in sums.iter_mut().zip(a.into_iter().zip(b)) {
            let products = add_products([vdupq_n_s16(0); 2], a, x[0]);
            *sums = widen(*sums, add_products(products, b, x[1]));
        }
    }
}

impl IntegerProducts for Widening {
    const WIDE: bool = false;
    type Sums = Pairs;
    type Block = Quads;

    #[inline(always)]
    unsafe fn zero() -> Pairs {
        // SAFETY: the caller upholds the trait's contract (likewise below).
        unsafe { [[vdupq_n_s32(0); 2]; 4] }
    }

    #[inline(always)]
    unsafe fn total([a, b, c, d]: Pairs) -> Totals {
        // SAFETY: as `zero`.
        unsafe {
            [
                vpaddq_s32(a[0], a[1]),
                vpaddq_s32(b[0], b[1]),
                vpaddq_s32(c[0], c[1]),
                vpaddq_s32(d[0], d[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn add<const PAIR: usize>(sums: &mut Pairs, values: [Step; 2], x: *const i8) {
        // SAFETY: as `zero`.
        unsafe { add_pair(sums, values, broadcast_pair(x.add(PAIR * 8))) }
    }

    #[inline(always)]
    unsafe fn open(_sums: Pairs) -> Quads {
        // SAFETY: as `zero`.
        unsafe { [[vdupq_n_s16(0); 2]; 4] }
    }

    #[inline(always)]
    unsafe fn add_small<const PAIR: usize>(block: &mut Quads, [a, b]: [Step; 2], x: *const i8) {
        // SAFETY: as `zero`.
        unsafe {
            let x = broadcast_pair(x.add(PAIR * 8));
            for (sums, (a, b)) in block.iter_mut().zip(a.into_iter().zip(b)) {
                *sums = add_products(add_products(*sums, a, x[0]), b, x[1]);
            }
        }
    }

    #[inline(always)]
    unsafe fn close(mut sums: Pairs, block: Quads) -> Pairs {
        for (sums, block) in sums.iter_mut().zip(block) {
            // SAFETY: as `zero`.
            *sums = unsafe { widen(*sums, block) };
        }
        sums
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(panel: *const u8, groups: usize, x: *const i8, stride: usize) -> [Totals; N] {
        // SAFETY: as `zero`.
        unsafe {
            let mut sums = [Self::zero(); N];
            for pair in 0..groups * 4 {
                let mut columns = [[vdupq_n_s8(0); 2]; N];
                for (n, column) in columns.iter_mut().enumerate() {
                    *column = broadcast_pair(x.add(n * stride + pair * 8));
                }
                let panel = panel.add(pair * 128);
                let values = [load_step(panel), load_step(panel.add(64))];
                for (sums, x) in sums.iter_mut().zip(columns) {
                    add_pair(sums, values, x);
                }
            }
            let mut dots = [[vdupq_n_s32(0); 4]; N];
            for (dots, sums) in dots.iter_mut().zip(sums) {
                *dots = Self::total(sums);
            }
            dots
        }
    }
}
