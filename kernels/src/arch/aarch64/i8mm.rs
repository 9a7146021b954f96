//! NEON with the 8-bit matrix instructions of Armv8.6 (Cortex-A510, A710, X2 and later, Apple A15 and later).
//!
//! `smmla` multiplies 2 rows by 8 columns of weights with 8 by 2 activations: twice the products of an `sdot`, for two
//! positions at once. So a panel holds, for each 8 columns of 16 rows, the rows in twos, 8 bytes each. One position is
//! the business of `sdot`, as in [`dotprod`](super::dotprod); only 2-bit codes gain, for whose unsigned bytes there is
//! `usdot`.

use super::dotprod::add_pair;
use super::lanes::Lanes;
use super::products::{IntegerProducts, Totals, ask_ahead};
use super::unpack::{Step, load_step};
use crate::format::codes::planes::CODEBOOK2_BYTES;
use core::arch::aarch64::*;
use core::arch::asm;

/// [`IntegerProducts`] by matrix instructions.
#[derive(Clone, Copy)]
pub(crate) struct Smmla;

crate::arch::kernels::kernels!(
    "neon-i8mm",
    Lanes<Smmla>,
    features: ["neon", "dotprod", "i8mm"],
    columns: 4,
    supported: supported
);

fn supported() -> bool {
    #[cfg(feature = "std")]
    {
        std::arch::is_aarch64_feature_detected!("dotprod") && std::arch::is_aarch64_feature_detected!("i8mm")
    }
    #[cfg(not(feature = "std"))]
    {
        cfg!(all(target_feature = "dotprod", target_feature = "i8mm"))
    }
}

/// Adds to each of 4 rows' sums the products of its 4 unsigned codes with activations `4 * LANE..4 * LANE + 4`.
#[inline(always)]
unsafe fn usdot<const LANE: i32>(mut sums: int32x4_t, codes: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: registers only, and the caller upholds the trait's contract. (Neither is an intrinsic of these
    // instructions stable in Rust 1.95.)
    unsafe {
        asm!(
            "usdot {sums:v}.4s, {codes:v}.16b, {x:v}.4b[{lane}]",
            sums = inout(vreg) sums,
            codes = in(vreg) codes,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds to the sums of 2 rows with 2 positions, row by row, the products of 8 columns.
#[inline(always)]
unsafe fn smmla(mut sums: int32x4_t, weights: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: as `usdot`.
    unsafe {
        asm!(
            "smmla {sums:v}.4s, {weights:v}.16b, {x:v}.16b",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

impl IntegerProducts for Smmla {
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

    /// Codes stay where they are in their byte, which saves shifts: sums are 1, 4, 16 and 64 times too large.
    #[inline(always)]
    unsafe fn dot2(codes: *const u8, groups: usize, x: *const i8) -> Totals {
        // SAFETY: as `zero`.
        unsafe {
            let [mut ones, mut fours, mut sixteens, mut rest] = [Self::zero(); 4];
            for step in 0..groups * 2 {
                let codes = codes.add(step * 64);
                if step % 2 == 0 {
                    ask_ahead(codes, CODEBOOK2_BYTES);
                }
                let (codes, x) = (load_step(codes), vld1q_s8(x.add(step * 16)));
                for (i, codes) in codes.into_iter().enumerate() {
                    ones[i] = usdot::<0>(ones[i], vandq_u8(codes, vdupq_n_u8(3)), x);
                    fours[i] = usdot::<1>(fours[i], vandq_u8(codes, vdupq_n_u8(3 << 2)), x);
                    sixteens[i] = usdot::<2>(sixteens[i], vandq_u8(codes, vdupq_n_u8(3 << 4)), x);
                    rest[i] = usdot::<3>(rest[i], vandq_u8(codes, vdupq_n_u8(3 << 6)), x);
                }
            }
            for i in 0..4 {
                ones[i] = vsraq_n_s32::<4>(vsraq_n_s32::<2>(ones[i], fours[i]), sixteens[i]);
                ones[i] = vsraq_n_s32::<6>(ones[i], rest[i]);
            }
            ones
        }
    }

    #[inline(always)]
    unsafe fn store([a, b]: [Step; 2], to: *mut u8) {
        // SAFETY: 128 bytes are there.
        unsafe {
            for (i, (a, b)) in a.into_iter().zip(b).enumerate() {
                let (a, b) = (vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b));
                vst1q_u8(to.add(i * 32), vreinterpretq_u8_u32(vzip1q_u32(a, b)));
                vst1q_u8(to.add(i * 32 + 16), vreinterpretq_u8_u32(vzip2q_u32(a, b)));
            }
        }
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(panel: *const u8, groups: usize, x: *const i8, stride: usize) -> [Totals; N] {
        // SAFETY: as `zero`.
        unsafe {
            let mut dots = [Self::zero(); N];
            // The sums of two columns; a last single one is multiplied with itself beside it.
            let mut sums = [[vdupq_n_s32(0); 8]; N];
            for pair in 0..groups * 4 {
                for (i, sums) in sums[..N.div_ceil(2)].iter_mut().enumerate() {
                    let x = x.add(pair * 8);
                    let low = vld1_s8(x.add(2 * i * stride));
                    let high = if 2 * i + 1 < N {
                        vld1_s8(x.add((2 * i + 1) * stride))
                    } else {
                        low
                    };
                    let x = vcombine_s8(low, high);
                    for (row, sums) in sums.iter_mut().enumerate() {
                        *sums = smmla(*sums, vld1q_u8(panel.add(pair * 128 + row * 16)), x);
                    }
                }
            }
            for (i, sums) in sums[..N.div_ceil(2)].iter().enumerate() {
                for row in 0..4 {
                    let (a, b) = (sums[2 * row], sums[2 * row + 1]);
                    dots[2 * i][row] = vuzp1q_s32(a, b);
                    if 2 * i + 1 < N {
                        dots[2 * i + 1][row] = vuzp2q_s32(a, b);
                    }
                }
            }
            dots
        }
    }
}
