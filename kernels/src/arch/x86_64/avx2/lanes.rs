//! Two registers are 16 rows.

use super::sums::Multiply;
use crate::arch::simd::Simd;
use core::arch::x86_64::*;
use core::marker::PhantomData;

/// 16 floats, and the way `M` of multiplying bytes.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<M>(__m256, __m256, PhantomData<M>);

impl<M: Multiply> Lanes<M> {
    #[inline(always)]
    fn new(low: __m256, high: __m256) -> Self {
        Lanes(low, high, PhantomData)
    }

    #[inline(always)]
    pub(super) unsafe fn from_i32([low, high]: [__m256i; 2]) -> Self {
        // SAFETY: the caller upholds the trait's contract.
        unsafe { Self::new(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)) }
    }

    /// The floats of these bits, shifted.
    #[inline(always)]
    unsafe fn shift_left<const BITS: i32>(low: __m256i, high: __m256i) -> Self {
        // SAFETY: the caller upholds the trait's contract.
        unsafe {
            Self::new(
                _mm256_castsi256_ps(_mm256_slli_epi32::<BITS>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<BITS>(high)),
            )
        }
    }

    /// Whole numbers as integers.
    #[inline(always)]
    unsafe fn to_i32(self) -> (__m256i, __m256i) {
        // SAFETY: the caller upholds the trait's contract.
        unsafe { (_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1)) }
    }
}

impl<M: Multiply> Simd for Lanes<M> {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller upholds the trait's contract (likewise below).
        let lanes = unsafe { _mm256_set1_ps(x) };
        Self::new(lanes, lanes)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: 16 floats are there.
        unsafe { Self::new(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: room for 16 floats is there.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: 32 bytes are there.
        unsafe {
            let (low, high) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast()));
            Self::new(_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: 32 bytes are there.
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16).cast()));
            Self::shift_left::<16>(low, high)
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: 16 bytes are there.
        unsafe {
            let bytes = _mm_loadu_si128(from.cast());
            let high = _mm_unpackhi_epi64(bytes, bytes);
            Self::from_i32([_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(high)])
        }
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u8) {
        // SAFETY: room for 32 bytes is there.
        unsafe {
            let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1);
            _mm_storeu_si128(to.cast(), low);
            _mm_storeu_si128(to.add(16).cast(), high);
        }
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: room for 16 bytes is there.
        unsafe {
            let (low, high) = self.to_i32();
            // Packs within 128-bit halves: lanes 0-3, 8-11, 4-7, 12-15.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { Self::new(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { Self::new(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { Self::new(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { Self::new(_mm256_div_ps(self.0, other.0), _mm256_div_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as `splat`. Both give the second operand where one is NaN.
        unsafe { Self::new(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as `max`.
        unsafe { Self::new(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: as `splat`.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self::new(_mm256_andnot_ps(sign, self.0), _mm256_andnot_ps(sign, self.1))
        }
    }

    #[inline(always)]
    unsafe fn exp2_whole(self) -> Self {
        // SAFETY: as `splat`.
        unsafe {
            let ((low, high), bias) = (self.to_i32(), _mm256_set1_epi32(127));
            Self::shift_left::<23>(_mm256_add_epi32(low, bias), _mm256_add_epi32(high, bias))
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: as `splat`.
        unsafe {
            let eight = _mm256_add_ps(self.0, self.1);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    unsafe fn max_lane(self) -> f32 {
        // SAFETY: as `splat`.
        unsafe {
            let eight = _mm256_max_ps(self.0, self.1);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}
