//! Instruction sets: each implements [`Simd`](simd::Simd), sixteen float lanes and the integer dot products of the
//! packed formats; the algorithms in [`ops`](crate::ops) are written once over it. A backend is a table of those
//! algorithms compiled for its instruction set.

#[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
mod aarch64;
mod kernels;
pub(crate) mod products;
mod scalar;
pub(crate) mod simd;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub(crate) use kernels::Kernels;

/// Which instruction set does the work.
///
/// Every backend computes the same bits; they differ in speed.
#[derive(Clone, Copy)]
pub struct Backend(&'static Kernels);

impl Backend {
    /// The portable backend: the oracle that the others are tested against.
    pub fn scalar() -> Self {
        Backend(&scalar::KERNELS)
    }

    /// The fastest backend that this processor runs.
    pub fn detect() -> Self {
        Backend::available().last().unwrap_or_else(Backend::scalar)
    }

    /// Every backend that this processor runs, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        ALL.iter()
            .filter(|kernels| (kernels.supported)())
            .map(|kernels| Backend(kernels))
    }

    /// Whether products with dense ternary codes are at least as fast as with 2-bit ones, because an instruction looks up
    /// a register of trits at once.
    pub fn looks_up_trits(&self) -> bool {
        self.name() == "avx512vbmi"
    }

    /// The backend of this name, if this processor runs it: `scalar`, `avx2`, `avxvnni`, `avx512vnni`, `avx512vbmi`,
    /// `neon`, `neon-dotprod`, `neon-i8mm`.
    pub fn from_name(name: &str) -> Option<Self> {
        Backend::available().find(|backend| backend.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub(crate) fn kernels(self) -> &'static Kernels {
        self.0
    }
}

impl core::fmt::Debug for Backend {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Backend").field(&self.name()).finish()
    }
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Backend {}

/// Slowest first.
static ALL: &[&Kernels] = &[
    &scalar::KERNELS,
    #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
    &aarch64::neon::KERNELS,
    #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
    &aarch64::dotprod::KERNELS,
    #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
    &aarch64::i8mm::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &x86_64::avx2::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &x86_64::avxvnni::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &x86_64::avx512::vnni::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &x86_64::avx512::vbmi::KERNELS,
];
