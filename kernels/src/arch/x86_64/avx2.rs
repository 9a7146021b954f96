//! AVX2: two registers are 16 rows.
//!
//! `vpmaddubsw` multiplies unsigned bytes with signed ones, so a weight gives its sign to the activation. It adds
//! pairs in 16 bits: at most 2 * 128 * 127 = 32512, which fits.

use crate::arch::products::{AHEAD, Products};
use crate::arch::simd::Simd;
use core::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

crate::arch::kernels::kernels!(
    "avx2",
    Avx2,
    features: ["avx2", "f16c"],
    columns: 4,
    supported: supported
);

fn supported() -> bool {
    #[cfg(feature = "std")]
    {
        std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("f16c")
    }
    #[cfg(not(feature = "std"))]
    {
        cfg!(all(target_feature = "avx2", target_feature = "f16c"))
    }
}

/// Four activations, in every lane.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn broadcast(x: *const i8) -> __m256i {
    // SAFETY: as this function's contract, and the trait's.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

/// 32 bytes.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn load(from: *const u8) -> __m256i {
    // SAFETY: as this function's contract, and the trait's.
    unsafe { _mm256_loadu_si256(from.cast()) }
}

/// The table in each 128-bit lane.
#[inline(always)]
unsafe fn load_table(table: &[i8; 16]) -> __m256i {
    // SAFETY: the reference holds 16 bytes.
    unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) }
}

/// The values of the low and of the high nibbles.
#[inline(always)]
unsafe fn look_up(codes: __m256i, table: __m256i) -> (__m256i, __m256i) {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        let mask = _mm256_set1_epi8(15);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), mask);
        let low = _mm256_and_si256(codes, mask);
        (_mm256_shuffle_epi8(table, low), _mm256_shuffle_epi8(table, high))
    }
}

/// Adds the products of four columns to each of 8 rows' sums.
#[inline(always)]
unsafe fn add_dot(sums: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
        _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

impl Avx2 {
    #[inline(always)]
    unsafe fn from_i32(low: __m256i, high: __m256i) -> Self {
        // SAFETY: the caller upholds the trait's contract.
        unsafe { Avx2(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)) }
    }

    /// The floats of these bits, shifted.
    #[inline(always)]
    unsafe fn shift_left<const BITS: i32>(low: __m256i, high: __m256i) -> Self {
        // SAFETY: the caller upholds the trait's contract.
        unsafe {
            Avx2(
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

impl Simd for Avx2 {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller upholds the trait's contract (likewise below).
        let lanes = unsafe { _mm256_set1_ps(x) };
        Avx2(lanes, lanes)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: 16 floats are there.
        unsafe { Avx2(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
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
            Avx2(_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
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
            Self::from_i32(_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(high))
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
        unsafe { Avx2(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { Avx2(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { Avx2(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        unsafe { Avx2(_mm256_div_ps(self.0, other.0), _mm256_div_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as `splat`. Both give the second operand where one is NaN.
        unsafe { Avx2(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as `max`.
        unsafe { Avx2(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: as `splat`.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Avx2(_mm256_andnot_ps(sign, self.0), _mm256_andnot_ps(sign, self.1))
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

impl Products for Avx2 {
    #[inline(always)]
    unsafe fn dot8(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        // SAFETY: groups of codes and activations are there.
        unsafe {
            let mut sums = [_mm256_setzero_si256(); 2];
            for step in 0..groups * 8 {
                Self::prefetch(codes.wrapping_add(AHEAD + step * 64));
                let x = broadcast(x.add(step * 4));
                for (half, sum) in sums.iter_mut().enumerate() {
                    *sum = add_dot(*sum, load(codes.add(step * 64 + half * 32)), x);
                }
            }
            Self::from_i32(sums[0], sums[1])
        }
    }

    #[inline(always)]
    unsafe fn dot4(codes: *const u8, table: &[i8; 16], groups: usize, x: *const i8, _x_sum: i32) -> Self {
        // SAFETY: groups of codes and activations are there.
        unsafe {
            let table = load_table(table);
            let mut sums = [_mm256_setzero_si256(); 2];
            for group in 0..groups {
                let (codes, x) = (codes.add(group * 256), x.add(group * 32));
                for step in 0..4 {
                    Self::prefetch(codes.wrapping_add(AHEAD + step * 64));
                    let (x_low, x_high) = (broadcast(x.add(step * 4)), broadcast(x.add(step * 4 + 16)));
                    for (half, sum) in sums.iter_mut().enumerate() {
                        let (low, high) = look_up(load(codes.add(step * 64 + half * 32)), table);
                        *sum = add_dot(add_dot(*sum, low, x_low), high, x_high);
                    }
                }
            }
            Self::from_i32(sums[0], sums[1])
        }
    }

    #[inline(always)]
    unsafe fn expand4(codes: *const u8, table: &[i8; 16], to: *mut u8) {
        // SAFETY: a group of codes, and room for one of values, are there.
        unsafe {
            let table = load_table(table);
            for at in (0..256).step_by(32) {
                let (low, high) = look_up(load(codes.add(at)), table);
                _mm256_storeu_si256(to.add(at).cast(), low);
                _mm256_storeu_si256(to.add(at + 256).cast(), high);
            }
        }
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(
        panel: *const u8,
        groups: usize,
        x: *const i8,
        stride: usize,
        _x_sums: [i32; N],
    ) -> [Self; N] {
        // SAFETY: groups of values, and of activations at each of N strides, are there.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); 2]; N];
            for step in 0..groups * 8 {
                let (low, high) = (load(panel.add(step * 64)), load(panel.add(step * 64 + 32)));
                for (n, sum) in sums.iter_mut().enumerate() {
                    let x = broadcast(x.add(n * stride + step * 4));
                    *sum = [add_dot(sum[0], low, x), add_dot(sum[1], high, x)];
                }
            }
            let mut dots = [Self::splat(0.0); N];
            for (dot, [low, high]) in dots.iter_mut().zip(sums) {
                *dot = Self::from_i32(low, high);
            }
            dots
        }
    }
}
