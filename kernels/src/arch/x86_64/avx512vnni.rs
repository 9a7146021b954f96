//! AVX-512 with VNNI: one register is 16 rows, `vpdpbusd` multiplies four bytes a lane.
//!
//! `vpdpbusd` wants unsigned weights, so 128 is added to each (a flipped top bit) and the sums start at -128 times the
//! sum of the activations.

use crate::arch::products::{AHEAD, Products};
use crate::arch::simd::Simd;
use core::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512Vnni(__m512);

crate::arch::kernels::kernels!(
    "avx512vnni",
    Avx512Vnni,
    features: ["avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"],
    columns: 8,
    supported: supported
);

fn supported() -> bool {
    #[cfg(feature = "std")]
    {
        std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vnni")
    }
    #[cfg(not(feature = "std"))]
    {
        cfg!(all(
            target_feature = "avx512bw",
            target_feature = "avx512dq",
            target_feature = "avx512vnni"
        ))
    }
}

/// Four activations, in every lane.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn broadcast(x: *const i8) -> __m512i {
    // SAFETY: as this function's contract, and the trait's.
    unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

/// The table in each 128-bit lane.
#[inline(always)]
unsafe fn load_table(table: &[i8; 16]) -> __m512i {
    // SAFETY: the reference holds 16 bytes.
    unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())) }
}

/// Signed bytes plus 128, as unsigned ones.
#[inline(always)]
unsafe fn bias(codes: __m512i) -> __m512i {
    // SAFETY: the caller upholds the trait's contract.
    unsafe { _mm512_xor_si512(codes, _mm512_set1_epi8(-128)) }
}

/// The values of the low and of the high nibbles.
#[inline(always)]
unsafe fn look_up(codes: __m512i, table: __m512i) -> (__m512i, __m512i) {
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        let mask = _mm512_set1_epi8(15);
        let high = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), mask);
        (
            _mm512_shuffle_epi8(table, _mm512_and_si512(codes, mask)),
            _mm512_shuffle_epi8(table, high),
        )
    }
}

impl Simd for Avx512Vnni {
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller upholds the trait's contract (likewise below).
        Avx512Vnni(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: 16 floats are there.
        Avx512Vnni(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: room for 16 floats is there.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: 32 bytes are there.
        Avx512Vnni(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) })
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: 32 bytes are there.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            Avx512Vnni(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: 16 bytes are there.
        Avx512Vnni(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) })
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u8) {
        // SAFETY: room for 32 bytes is there.
        unsafe {
            _mm256_storeu_si256(
                to.cast(),
                _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0),
            )
        }
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: room for 16 bytes is there.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0))) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        Avx512Vnni(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        Avx512Vnni(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        Avx512Vnni(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        Avx512Vnni(unsafe { _mm512_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        Avx512Vnni(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as `splat`.
        Avx512Vnni(unsafe { _mm512_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: as `splat`.
        Avx512Vnni(unsafe { _mm512_abs_ps(self.0) })
    }

    #[inline(always)]
    unsafe fn exp2_whole(self) -> Self {
        // SAFETY: as `splat`.
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Avx512Vnni(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent)))
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: as `splat`.
        unsafe {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    unsafe fn max_lane(self) -> f32 {
        // SAFETY: as `splat`.
        unsafe { _mm512_reduce_max_ps(self.0) }
    }

    #[inline(always)]
    unsafe fn prefetch(address: *const u8) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
}

impl Products for Avx512Vnni {
    #[inline(always)]
    unsafe fn dot8(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: groups of codes and activations are there.
        unsafe {
            let mut even = _mm512_set1_epi32(-128 * x_sum);
            let mut odd = _mm512_setzero_si512();
            for step in (0..groups * 8).step_by(2) {
                let codes = codes.add(step * 64);
                Self::prefetch(codes.wrapping_add(AHEAD));
                Self::prefetch(codes.wrapping_add(AHEAD + 64));
                let a = bias(_mm512_loadu_si512(codes.cast()));
                let b = bias(_mm512_loadu_si512(codes.add(64).cast()));
                even = _mm512_dpbusd_epi32(even, a, broadcast(x.add(step * 4)));
                odd = _mm512_dpbusd_epi32(odd, b, broadcast(x.add(step * 4 + 4)));
            }
            Avx512Vnni(_mm512_cvtepi32_ps(_mm512_add_epi32(even, odd)))
        }
    }

    #[inline(always)]
    unsafe fn dot4(codes: *const u8, table: &[i8; 16], groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: groups of codes and activations are there.
        unsafe {
            let table = bias(load_table(table));
            let mut even = _mm512_set1_epi32(-128 * x_sum);
            let mut odd = _mm512_setzero_si512();
            for group in 0..groups {
                let (codes, x) = (codes.add(group * 256), x.add(group * 32));
                for step in 0..4 {
                    Self::prefetch(codes.wrapping_add(AHEAD + step * 64));
                    let (low, high) = look_up(_mm512_loadu_si512(codes.add(step * 64).cast()), table);
                    even = _mm512_dpbusd_epi32(even, low, broadcast(x.add(step * 4)));
                    odd = _mm512_dpbusd_epi32(odd, high, broadcast(x.add(step * 4 + 16)));
                }
            }
            Avx512Vnni(_mm512_cvtepi32_ps(_mm512_add_epi32(even, odd)))
        }
    }

    #[inline(always)]
    unsafe fn expand4(codes: *const u8, table: &[i8; 16], to: *mut u8) {
        // SAFETY: a group of codes, and room for one of values, are there.
        unsafe {
            let table = load_table(table);
            for step in 0..4 {
                let (low, high) = look_up(_mm512_loadu_si512(codes.add(step * 64).cast()), table);
                _mm512_storeu_si512(to.add(step * 64).cast(), low);
                _mm512_storeu_si512(to.add(step * 64 + 256).cast(), high);
            }
        }
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(
        panel: *const u8,
        groups: usize,
        x: *const i8,
        stride: usize,
        x_sums: [i32; N],
    ) -> [Self; N] {
        // SAFETY: groups of values, and of activations at each of N strides, are there.
        unsafe {
            let mut sums = x_sums.map(|x_sum| _mm512_set1_epi32(-128 * x_sum));
            for step in 0..groups * 8 {
                let values = bias(_mm512_loadu_si512(panel.add(step * 64).cast()));
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_dpbusd_epi32(*sum, values, broadcast(x.add(n * stride + step * 4)));
                }
            }
            sums.map(|sum| Avx512Vnni(_mm512_cvtepi32_ps(sum)))
        }
    }
}
