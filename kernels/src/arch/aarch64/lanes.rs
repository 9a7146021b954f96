//! Four registers are 16 float lanes: what all of these processors do the same way.

use crate::arch::simd::Simd;
use core::arch::aarch64::*;
use core::marker::PhantomData;

/// 16 floats; what multiplies codes with one position's activations, and what panels with several.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<P, C>([float32x4_t; 4], PhantomData<(P, C)>);

impl<P: Copy, C: Copy> Lanes<P, C> {
    #[inline(always)]
    fn new(a: float32x4_t, b: float32x4_t, c: float32x4_t, d: float32x4_t) -> Self {
        Lanes([a, b, c, d], PhantomData)
    }

    #[inline(always)]
    pub(super) unsafe fn from_i32([a, b, c, d]: [int32x4_t; 4]) -> Self {
        // SAFETY: the caller upholds the trait's contract.
        unsafe { Lanes::new(vcvtq_f32_s32(a), vcvtq_f32_s32(b), vcvtq_f32_s32(c), vcvtq_f32_s32(d)) }
    }

    /// Whole numbers as integers.
    #[inline(always)]
    unsafe fn to_i32(self) -> [int32x4_t; 4] {
        let [a, b, c, d] = self.0;
        // SAFETY: the caller upholds the trait's contract.
        unsafe { [vcvtq_s32_f32(a), vcvtq_s32_f32(b), vcvtq_s32_f32(c), vcvtq_s32_f32(d)] }
    }
}

/// Applies an intrinsic to the four registers of its operands. (A closure would not be compiled for NEON.)
macro_rules! each {
    ($f:ident($x:expr)) => {{
        let [a, b, c, d] = $x.0;
        Lanes::new($f(a), $f(b), $f(c), $f(d))
    }};
    ($f:ident($x:expr, $y:expr)) => {{
        let ([a, b, c, d], [e, f, g, h]) = ($x.0, $y.0);
        Lanes::new($f(a, e), $f(b, f), $f(c, g), $f(d, h))
    }};
}

/// `if a > b { a } else { b }`, which `fmaxnm` is not where `a` is a NaN that signals.
#[inline(always)]
unsafe fn larger(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: the caller upholds the trait's contract.
    unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
}

/// `if a < b { a } else { b }`.
#[inline(always)]
unsafe fn smaller(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: the caller upholds the trait's contract.
    unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
}

/// 2 to the power of whole numbers.
#[inline(always)]
unsafe fn power_of_two(exponent: int32x4_t) -> float32x4_t {
    // SAFETY: the caller upholds the trait's contract.
    unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(exponent, vdupq_n_s32(127)))) }
}

impl<P: Copy, C: Copy> Simd for Lanes<P, C> {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller upholds the trait's contract (likewise below).
        let x = unsafe { vdupq_n_f32(x) };
        Lanes::new(x, x, x, x)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: 16 floats are there.
        unsafe {
            Lanes::new(
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
            )
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: room for 16 floats is there.
        unsafe {
            for (i, lanes) in self.0.into_iter().enumerate() {
                vst1q_f32(to.add(i * 4), lanes);
            }
        }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: 32 bytes are there.
        unsafe {
            let low = vreinterpretq_f16_u8(vld1q_u8(from));
            let high = vreinterpretq_f16_u8(vld1q_u8(from.add(16)));
            Lanes::new(
                vcvt_f32_f16(vget_low_f16(low)),
                vcvt_high_f32_f16(low),
                vcvt_f32_f16(vget_low_f16(high)),
                vcvt_high_f32_f16(high),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: 32 bytes are there.
        unsafe {
            let low = vreinterpretq_u16_u8(vld1q_u8(from));
            let high = vreinterpretq_u16_u8(vld1q_u8(from.add(16)));
            Lanes::new(
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(low))),
                vreinterpretq_f32_u32(vshll_high_n_u16::<16>(low)),
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(high))),
                vreinterpretq_f32_u32(vshll_high_n_u16::<16>(high)),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: 16 bytes are there.
        unsafe {
            let bytes = vld1q_s8(from);
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            Self::from_i32([
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ])
        }
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u8) {
        let [a, b, c, d] = self.0;
        // SAFETY: room for 32 bytes is there.
        unsafe {
            let low = vcvt_high_f16_f32(vcvt_f16_f32(a), b);
            let high = vcvt_high_f16_f32(vcvt_f16_f32(c), d);
            vst1q_u8(to, vreinterpretq_u8_f16(low));
            vst1q_u8(to.add(16), vreinterpretq_u8_f16(high));
        }
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: room for 16 bytes is there.
        unsafe {
            let [a, b, c, d] = self.to_i32();
            let low = vmovn_high_s32(vmovn_s32(a), b);
            let high = vmovn_high_s32(vmovn_s32(c), d);
            vst1q_s8(to, vmovn_high_s16(vmovn_s16(low), high));
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { each!(vaddq_f32(self, other)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { each!(vsubq_f32(self, other)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { each!(vmulq_f32(self, other)) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { each!(vdivq_f32(self, other)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { each!(larger(self, other)) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { each!(smaller(self, other)) }
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: as `splat`.
        unsafe { each!(vabsq_f32(self)) }
    }

    #[inline(always)]
    unsafe fn exp2_whole(self) -> Self {
        // SAFETY: as `splat`.
        unsafe {
            let [a, b, c, d] = self.to_i32();
            Lanes::new(power_of_two(a), power_of_two(b), power_of_two(c), power_of_two(d))
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        // SAFETY: as `splat`.
        unsafe {
            let four = vaddq_f32(vaddq_f32(a, c), vaddq_f32(b, d));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vpadds_f32(two)
        }
    }

    #[inline(always)]
    unsafe fn max_lane(self) -> f32 {
        let [a, b, c, d] = self.0;
        // SAFETY: as `splat`.
        unsafe { vmaxvq_f32(larger(larger(a, c), larger(b, d))) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
        }
    }
}
