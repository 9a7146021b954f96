//! NEON with the dot product instructions of Armv8.2 (Cortex-A55, A76 and later, Apple A11 and later).
//!
//! `sdot` adds four products of bytes to each 32-bit lane, here with one group of four activations out of a register
//! that holds four groups, so activations are loaded once and never broadcast.

use super::lanes::Lanes;
use super::products::{IntegerProducts, Totals, ask_ahead};
use super::unpack::{Step, load_step};
use crate::format::codes::planes::CODEBOOK2_BYTES;
use core::arch::aarch64::*;
use core::arch::asm;

/// [`IntegerProducts`] by dot product instructions.
#[derive(Clone, Copy)]
pub(crate) struct Sdot;

crate::arch::kernels::kernels!(
    "neon-dotprod",
    Lanes<Sdot>,
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
unsafe fn sdot<const LANE: i32>(mut sums: int32x4_t, weights: uint8x16_t, x: int8x16_t) -> int32x4_t {
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

/// A step with activations `4 * LANE..4 * LANE + 4`.
#[inline(always)]
unsafe fn add_step<const LANE: i32>(sums: &mut Totals, values: Step, x: int8x16_t) {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        for (sums, values) in sums.iter_mut().zip(values) {
            *sums = sdot::<LANE>(*sums, values, x);
        }
    }
}

/// [`IntegerProducts::add`].
#[inline(always)]
pub(super) unsafe fn add_pair<const PAIR: usize>(sums: &mut Totals, [a, b]: [Step; 2], x: *const i8) {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        let x = vld1q_s8(x.add(PAIR / 2 * 16));
        if PAIR.is_multiple_of(2) {
            add_step::<0>(sums, a, x);
            add_step::<1>(sums, b, x);
        } else {
            add_step::<2>(sums, a, x);
            add_step::<3>(sums, b, x);
        }
    }
}

impl IntegerProducts for Sdot {
    const WIDE: bool = true;
    type Sums = Totals;
    type Block = Totals;

    #[inline(always)]
    unsafe fn zero() -> Totals {
        // SAFETY: the caller upholds the trait's contract (likewise below).
        unsafe { [vdupq_n_s32(0); 4] }
    }

    #[inline(always)]
    unsafe fn total(sums: Totals) -> Totals {
        sums
    }

    #[inline(always)]
    unsafe fn add<const PAIR: usize>(sums: &mut Totals, values: [Step; 2], x: *const i8) {
        // SAFETY: as `zero`.
        unsafe { add_pair::<PAIR>(sums, values, x) }
    }

    #[inline(always)]
    unsafe fn open(sums: Totals) -> Totals {
        sums
    }

    #[inline(always)]
    unsafe fn add_small<const PAIR: usize>(block: &mut Totals, values: [Step; 2], x: *const i8) {
        // SAFETY: as `zero`.
        unsafe { add_pair::<PAIR>(block, values, x) }
    }

    #[inline(always)]
    unsafe fn close(_sums: Totals, block: Totals) -> Totals {
        block
    }

    /// Codes stay where they are in their byte, which saves shifts: sums are 1, 4 and 16 times too large. The top two
    /// bits would be a sign, so they are shifted down.
    #[inline(always)]
    unsafe fn dot2(codes: *const u8, groups: usize, x: *const i8) -> Totals {
        // SAFETY: as `zero`.
        unsafe {
            let [mut ones, mut fours, mut sixteens] = [Self::zero(); 3];
            for step in 0..groups * 2 {
                let codes = codes.add(step * 64);
                if step % 2 == 0 {
                    ask_ahead(codes, CODEBOOK2_BYTES);
                }
                let (codes, x) = (load_step(codes), vld1q_s8(x.add(step * 16)));
                for (i, codes) in codes.into_iter().enumerate() {
                    ones[i] = sdot::<0>(ones[i], vandq_u8(codes, vdupq_n_u8(3)), x);
                    fours[i] = sdot::<1>(fours[i], vandq_u8(codes, vdupq_n_u8(3 << 2)), x);
                    sixteens[i] = sdot::<2>(sixteens[i], vandq_u8(codes, vdupq_n_u8(3 << 4)), x);
                    ones[i] = sdot::<3>(ones[i], vshrq_n_u8::<6>(codes), x);
                }
            }
            for ((ones, fours), sixteens) in ones.iter_mut().zip(fours).zip(sixteens) {
                *ones = vsraq_n_s32::<4>(vsraq_n_s32::<2>(*ones, fours), sixteens);
            }
            ones
        }
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(panel: *const u8, groups: usize, x: *const i8, stride: usize) -> [Totals; N] {
        // SAFETY: as `zero`.
        unsafe {
            let mut sums = [Self::zero(); N];
            for half in 0..groups * 2 {
                let panel = panel.add(half * 256);
                let mut columns = [vdupq_n_s8(0); N];
                for (n, column) in columns.iter_mut().enumerate() {
                    *column = vld1q_s8(x.add(n * stride + half * 16));
                }
                add_columns::<N, 0>(&mut sums, load_step(panel), &columns);
                add_columns::<N, 1>(&mut sums, load_step(panel.add(64)), &columns);
                add_columns::<N, 2>(&mut sums, load_step(panel.add(128)), &columns);
                add_columns::<N, 3>(&mut sums, load_step(panel.add(192)), &columns);
            }
            sums
        }
    }
}

/// A step with each column's activations `4 * LANE..4 * LANE + 4`.
#[inline(always)]
unsafe fn add_columns<const N: usize, const LANE: i32>(sums: &mut [Totals; N], values: Step, x: &[int8x16_t; N]) {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        for (sums, x) in sums.iter_mut().zip(x) {
            add_step::<LANE>(sums, values, *x);
        }
    }
}
