//! The table of entry points that makes a backend.

use crate::format::{Dense, Packed};
use crate::ops::{Int8Rows, KvView, QuantizeOut};
use core::ops::Range;

/// Every algorithm of one backend, compiled for its instruction set.
///
/// # Safety
/// Each is sound to call where `supported` returns true, with arguments that the safe wrappers in
/// [`ops`](crate::ops) have checked.
pub(crate) struct Kernels {
    pub name: &'static str,
    pub supported: fn() -> bool,
    /// One column: rows of `units` of `w x` to `out`.
    pub matvec: unsafe fn(w: &Packed<'_>, x: &Int8Rows<'_>, column: usize, units: Range<usize>, out: *mut f32),
    /// Many columns: column `c`'s results to `out + c * rows`.
    pub matmul: unsafe fn(w: &Packed<'_>, x: &Int8Rows<'_>, units: Range<usize>, out: *mut f32),
    /// Packed weights, float activations.
    pub matmul_f32: unsafe fn(w: &Packed<'_>, x: &[f32], units: Range<usize>, out: *mut f32),
    /// Float weights, float activations.
    pub matmul_dense: unsafe fn(w: &Dense<'_>, x: &[f32], rows: Range<usize>, out: *mut f32),
    /// One row of activations to int8.
    pub quantize: unsafe fn(x: &[f32], per_row: bool, out: QuantizeOut<'_>),
    /// `out = x / rms(x) * weight`, where the mean is over `channels`.
    pub rms_norm: unsafe fn(x: &[f32], weight: &[f32], channels: usize, epsilon: f32, out: &mut [f32]),
    /// `x += y`.
    pub add: unsafe fn(x: &mut [f32], y: &[f32]),
    /// `gate = silu(gate) * up`.
    pub swiglu: unsafe fn(gate: &mut [f32], up: &[f32]),
    /// `gate = max(gate, 0)^2 * up`.
    pub relu2_glu: unsafe fn(gate: &mut [f32], up: &[f32]),
    /// Appends one position of one head to the cache.
    pub kv_store: unsafe fn(cache: &KvView, head: usize, position: usize, k: &[f32], v: &[f32]),
    /// Up to 4 queries against one key/value head.
    pub attend: unsafe fn(cache: &KvView, head: usize, queries: &[crate::ops::Query], scale: f32, scores: *mut f32),
}

/// Compiles every generic algorithm for one instruction set.
///
/// `columns` is how many activation columns the prefill loop takes at once: as many as the registers hold.
macro_rules! kernels {
    ($name:literal, $simd:ty, features: [$($feature:literal),*], columns: $columns:literal, supported: $supported:expr) => {
        $crate::arch::kernels::kernels!(@functions $simd, [$($feature),*], $columns,
            matvec(w: &Packed<'_>, x: &Int8Rows<'_>, column: usize, units: Range<usize>, out: *mut f32) = ops::matvec::<$simd>;
            matmul(w: &Packed<'_>, x: &Int8Rows<'_>, units: Range<usize>, out: *mut f32) = ops::matmul::<$simd, $columns>;
            matmul_f32(w: &Packed<'_>, x: &[f32], units: Range<usize>, out: *mut f32) = ops::matmul_f32::<$simd>;
            matmul_dense(w: &Dense<'_>, x: &[f32], rows: Range<usize>, out: *mut f32) = ops::matmul_dense::<$simd>;
            quantize(x: &[f32], per_row: bool, out: QuantizeOut<'_>) = ops::quantize::<$simd>;
            rms_norm(x: &[f32], weight: &[f32], channels: usize, epsilon: f32, out: &mut [f32]) = ops::rms_norm::<$simd>;
            add(x: &mut [f32], y: &[f32]) = ops::add::<$simd>;
            swiglu(gate: &mut [f32], up: &[f32]) = ops::swiglu::<$simd>;
            relu2_glu(gate: &mut [f32], up: &[f32]) = ops::relu2_glu::<$simd>;
            kv_store(cache: &KvView, head: usize, position: usize, k: &[f32], v: &[f32]) = ops::kv_store::<$simd>;
            attend(cache: &KvView, head: usize, queries: &[Query], scale: f32, scores: *mut f32) = ops::attend::<$simd>;
        );

        pub(crate) static KERNELS: $crate::arch::Kernels = $crate::arch::Kernels {
            name: $name,
            supported: $supported,
            matvec, matmul, matmul_f32, matmul_dense, quantize, rms_norm, add, swiglu, relu2_glu, kv_store, attend,
        };
    };
    (@functions $simd:ty, $features:tt, $columns:literal, $($name:ident($($arg:ident: $ty:ty),*) = $generic:expr;)*) => {
        use $crate::format::{Dense, Packed};
        use $crate::ops::{Int8Rows, KvView, Query, QuantizeOut, generic as ops};
        use core::ops::Range;
        $($crate::arch::kernels::kernels!(@function $features, $name($($arg: $ty),*) = $generic);)*
    };
    (@function [$($feature:literal),*], $name:ident($($arg:ident: $ty:ty),*) = $generic:expr) => {
        $(#[target_feature(enable = $feature)])*
        unsafe fn $name($($arg: $ty),*) {
            // SAFETY: this function is compiled for the instruction set, and the caller upholds `Kernels`' contract.
            unsafe { $generic($($arg),*) }
        }
    };
}
pub(crate) use kernels;
