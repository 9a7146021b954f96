//! AVX2 with VNNI in 256 bits (Intel since Alder Lake, AMD since Zen 5), where there is no AVX-512.
//!
//! `vpdpbusd` multiplies unsigned bytes with signed ones and adds four columns to each 32-bit lane.

use super::avx2::{self, Lanes, Multiply};
use core::arch::x86_64::*;

/// [`Multiply`] by `vpdpbusd`.
#[derive(Clone, Copy)]
pub(crate) struct Quads;

crate::arch::kernels::kernels!(
    "avxvnni",
    Lanes<Quads>,
    features: ["avx2", "f16c", "avxvnni"],
    supported: supported,
    columns: 6,
    floats: avx2::KERNELS.floats
);

fn supported() -> bool {
    #[cfg(feature = "std")]
    {
        std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("f16c")
            && std::arch::is_x86_feature_detected!("avxvnni")
    }
    #[cfg(not(feature = "std"))]
    {
        cfg!(all(target_feature = "f16c", target_feature = "avxvnni"))
    }
}

impl Multiply for Quads {
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn add(sums: __m256i, weights: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the caller upholds the trait's contract.
        unsafe { _mm256_dpbusd_avx_epi32(sums, weights, x) }
    }
}
