//! NEON with the dot product instructions of Armv8.2 (Cortex-A55, A76 and later, Apple A11 and later).
//!
//! `sdot` adds four products of bytes to each 32-bit lane, here with one group of four activations out of a register
//! that holds four groups, so activations are loaded once and never broadcast.

use super::lanes::Lanes;
use super::neon;
use super::products::{Columns, IntegerProducts, Totals, ask_ahead};
use super::unpack::{Step, bits, down, load_step};
use crate::format::codes::planes::CODEBOOK2_BYTES;
use core::arch::aarch64::*;
use core::arch::asm;

/// [`IntegerProducts`] and [`Columns`] by dot product instructions.
#[derive(Clone, Copy)]
pub(crate) struct Sdot;

crate::arch::kernels::kernels!(
    "neon-dotprod",
    Lanes<Sdot, Sdot>,
    features: ["neon", "dotprod"],
    supported: supported,
    columns: 4,
    floats: neon::KERNELS.floats
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

/// Adds to the sums of `R` times 4 rows from `4 * ROW` on the products of a step with activations
/// `4 * LANE..4 * LANE + 4`.
///
/// The instructions are one block, so that they follow each other: processors that do not reorder stall less. The block
/// is not `pure`, so that blocks keep their order: LLVM, which does not know what they cost, would move them apart and
/// run out of registers.
#[inline(always)]
unsafe fn sdot<const LANE: i32, const ROW: usize, const R: usize>(sums: &mut Totals, values: Step<R>, x: int8x16_t) {
    // SAFETY: registers only, and the caller upholds the trait's contract. (`vdotq_laneq_s32` is not stable in Rust
    // 1.95.)
    unsafe {
        if let ([a, b, c, d], [e, f, g, h]) = (&mut *sums, values.as_slice()) {
            asm!(
                "sdot {a:v}.4s, {e:v}.16b, {x:v}.4b[{lane}]",
                "sdot {b:v}.4s, {f:v}.16b, {x:v}.4b[{lane}]",
                "sdot {c:v}.4s, {g:v}.16b, {x:v}.4b[{lane}]",
                "sdot {d:v}.4s, {h:v}.16b, {x:v}.4b[{lane}]",
                a = inout(vreg) *a, b = inout(vreg) *b, c = inout(vreg) *c, d = inout(vreg) *d,
                e = in(vreg) *e, f = in(vreg) *f, g = in(vreg) *g, h = in(vreg) *h,
                x = in(vreg) x,
                lane = const LANE,
                options(nomem, nostack, preserves_flags),
            );
        } else {
            for (sum, values) in sums[ROW..].iter_mut().zip(values) {
                asm!(
                    "sdot {sum:v}.4s, {values:v}.16b, {x:v}.4b[{lane}]",
                    sum = inout(vreg) *sum,
                    values = in(vreg) values,
                    x = in(vreg) x,
                    lane = const LANE,
                    options(nomem, nostack, preserves_flags),
                );
            }
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
    unsafe fn add<const PAIR: usize, const ROW: usize, const R: usize>(
        sums: &mut Totals,
        [a, b]: [Step<R>; 2],
        x: *const i8,
    ) {
        // SAFETY: as `zero`.
        unsafe {
            let x = vld1q_s8(x.add(PAIR / 2 * 16));
            if PAIR.is_multiple_of(2) {
                sdot::<0, ROW, R>(sums, a, x);
                sdot::<1, ROW, R>(sums, b, x);
            } else {
                sdot::<2, ROW, R>(sums, a, x);
                sdot::<3, ROW, R>(sums, b, x);
            }
        }
    }

    #[inline(always)]
    unsafe fn open(sums: Totals) -> Totals {
        sums
    }

    #[inline(always)]
    unsafe fn add_small<const PAIR: usize, const ROW: usize, const R: usize>(
        block: &mut Totals,
        values: [Step<R>; 2],
        x: *const i8,
    ) {
        // SAFETY: as `zero`.
        unsafe { Self::add::<PAIR, ROW, R>(block, values, x) }
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
            for group in 0..groups {
                let (codes, x) = (codes.add(group * CODEBOOK2_BYTES), x.add(group * 32));
                ask_ahead(codes, CODEBOOK2_BYTES);
                for step in 0..2 {
                    let (codes, x) = (load_step(codes.add(step * 64)), vld1q_s8(x.add(step * 16)));
                    sdot::<0, 0, 4>(&mut ones, bits(codes, 3), x);
                    sdot::<1, 0, 4>(&mut fours, bits(codes, 3 << 2), x);
                    sdot::<2, 0, 4>(&mut sixteens, bits(codes, 3 << 4), x);
                    sdot::<3, 0, 4>(&mut ones, down::<6, 4>(codes), x);
                }
            }
            for ((ones, fours), sixteens) in ones.iter_mut().zip(fours).zip(sixteens) {
                *ones = vsraq_n_s32::<4>(vsraq_n_s32::<2>(*ones, fours), sixteens);
            }
            ones
        }
    }
}

impl Columns for Sdot {
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
unsafe fn add_columns<const N: usize, const LANE: i32>(sums: &mut [Totals; N], values: Step<4>, x: &[int8x16_t; N]) {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        for (sums, x) in sums.iter_mut().zip(x) {
            sdot::<LANE, 0, 4>(sums, values, *x);
        }
    }
}
