//! AVX2: two registers are 16 rows.
//!
//! `vpmaddubsw` multiplies unsigned bytes with signed ones and adds pairs of columns in 16 bits. So weights are made
//! unsigned, by subtracting the least value that the matrix's codes have, and several products are added before they
//! are widened: as many as cannot overflow. Where the values span too much for that, a weight gives its sign to the
//! activation, or the other way round: at most 2 * 128 * 127 = 32512, which fits.

mod bytes;
mod lanes;
mod phases;
mod planes;
mod products;
mod sums;
mod trits;

use core::arch::x86_64::*;
pub(super) use lanes::Lanes;
pub(super) use sums::Multiply;

/// [`Multiply`] by `vpmaddubsw`.
#[derive(Clone, Copy)]
pub(crate) struct Pairs;

crate::arch::kernels::kernels!(
    "avx2",
    Lanes<Pairs>,
    features: ["avx2", "f16c"],
    supported: supported,
    columns: 6
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

impl Multiply for Pairs {
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn add(sums: __m256i, weights: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the caller upholds the trait's contract.
        unsafe { _mm256_add_epi16(sums, _mm256_maddubs_epi16(weights, x)) }
    }
}
