//! NEON with the 8-bit matrix instructions of Armv8.6 (Cortex-A510, A710, X2 and later, Apple A15 and later).
//!
//! `smmla` multiplies 2 rows by 8 columns of weights with 8 by 2 activations: twice the products of an `sdot`, for two
//! positions at once. So a panel holds, for each 8 columns of 16 rows, the rows in twos, 8 bytes each. One position is
//! the business of `sdot`, as in [`dotprod`](super::dotprod). (`usdot` would save 2-bit codes a shift, and that is no
//! faster: shifts are as fast as masks.)

use super::dotprod::Sdot;
use super::lanes::Lanes;
use super::neon;
use super::products::{Columns, Totals};
use super::unpack::Step;
use core::arch::aarch64::*;
use core::arch::asm;

/// [`Columns`] by matrix instructions.
#[derive(Clone, Copy)]
pub(crate) struct Smmla;

crate::arch::kernels::kernels!(
    "neon-i8mm",
    Lanes<Sdot, Smmla>,
    features: ["neon", "dotprod", "i8mm"],
    supported: supported,
    columns: 4,
    floats: neon::KERNELS.floats
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

/// Adds to the sums of 2 rows with 2 positions, row by row, the products of 8 columns.
#[inline(always)]
unsafe fn smmla(mut sums: int32x4_t, weights: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: registers only, and the caller upholds the trait's contract. (`vmmlaq_s32` is not stable in Rust 1.95.)
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

impl Columns for Smmla {
    #[inline(always)]
    unsafe fn store<const ROW: usize, const R: usize>([a, b]: [Step<R>; 2], to: *mut u8) {
        // SAFETY: 128 bytes are there.
        unsafe {
            for (i, (a, b)) in a.into_iter().zip(b).enumerate() {
                let (a, b) = (vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b));
                let to = to.add((ROW + i) * 32);
                vst1q_u8(to, vreinterpretq_u8_u32(vzip1q_u32(a, b)));
                vst1q_u8(to.add(16), vreinterpretq_u8_u32(vzip2q_u32(a, b)));
            }
        }
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(panel: *const u8, groups: usize, x: *const i8, stride: usize) -> [Totals; N] {
        // SAFETY: the caller upholds the trait's contract.
        unsafe {
            let mut dots = [[vdupq_n_s32(0); 4]; N];
            // The sums of two columns; a last single one is multiplied with itself beside it.
            let mut sums = [[vdupq_n_s32(0); 8]; N];
            for half in 0..groups * 2 {
                let (panel, x) = (panel.add(half * 256), x.add(half * 16));
                for (i, sums) in sums[..N.div_ceil(2)].iter_mut().enumerate() {
                    let first = vreinterpretq_s64_s8(vld1q_s8(x.add(2 * i * stride)));
                    let second = if 2 * i + 1 < N {
                        vreinterpretq_s64_s8(vld1q_s8(x.add((2 * i + 1) * stride)))
                    } else {
                        first
                    };
                    let pairs = [vzip1q_s64(first, second), vzip2q_s64(first, second)];
                    for (pair, x) in pairs.into_iter().enumerate() {
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let weights = vld1q_u8(panel.add(pair * 128 + row * 16));
                            *sums = smmla(*sums, weights, vreinterpretq_s8_s64(x));
                        }
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
