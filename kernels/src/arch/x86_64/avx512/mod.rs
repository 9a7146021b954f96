//! AVX-512: one register is 16 rows. Two backends, for processors with and without byte permutations (VBMI).

mod lanes;
mod products;
mod values;

use core::arch::x86_64::__m512;

/// 16 floats; `VBMI` says whether there are byte permutations.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const VBMI: bool>(__m512);

/// With VNNI (Cascade Lake and later).
pub(crate) mod vnni {
    crate::arch::kernels::kernels!(
        "avx512vnni",
        super::Avx512<false>,
        features: ["avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni"],
        supported: supported,
        columns: 8
    );

    pub(super) fn supported() -> bool {
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
                target_feature = "avx512vl",
                target_feature = "avx512dq",
                target_feature = "avx512vnni"
            ))
        }
    }
}

/// With VNNI and VBMI (Ice Lake, Zen 4 and later).
pub(crate) mod vbmi {
    crate::arch::kernels::kernels!(
        "avx512vbmi",
        super::Avx512<true>,
        features: ["avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni", "avx512vbmi"],
        supported: supported,
        panels: super::vnni::KERNELS.panels,
        floats: super::vnni::KERNELS.floats
    );

    fn supported() -> bool {
        #[cfg(feature = "std")]
        {
            super::vnni::supported() && std::arch::is_x86_feature_detected!("avx512vbmi")
        }
        #[cfg(not(feature = "std"))]
        {
            super::vnni::supported() && cfg!(target_feature = "avx512vbmi")
        }
    }
}
