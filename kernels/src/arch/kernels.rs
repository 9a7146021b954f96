//! The table of entry points that makes a backend.

use crate::format::{Dense, Packed};
use crate::ops::{Int8Rows, KvView, Panels, QuantizeOut, Query, Tile};
use core::ops::Range;

/// Every algorithm of one backend, compiled for its instruction set.
///
/// # Safety
/// Each is sound to call where `supported` returns true, with arguments that the safe wrappers in
/// [`ops`](crate::ops) have checked.
pub(crate) struct Kernels {
    pub name: &'static str,
    pub supported: fn() -> bool,
    pub codes: CodeKernels,
    pub panels: PanelKernels,
    pub floats: FloatKernels,
}

/// What depends on how codes become values.
#[derive(Clone, Copy)]
pub(crate) struct CodeKernels {
    /// One column: rows of `units` of `w x` to `out`.
    pub matvec: unsafe fn(w: &Packed<'_>, x: &Int8Rows<'_>, column: usize, units: Range<usize>, out: *mut f32),
    /// Fills a panel with some groups of each of `count` units, or both with those of one unit whose codes belong to
    /// two tiles (if native complex: with the real and the imaginary parts). Asks for the codes that come next.
    pub expand: unsafe fn(w: &Packed<'_>, unit: usize, count: usize, groups: Range<usize>, panels: &mut Panels),
}

/// What depends on how values are multiplied.
#[derive(Clone, Copy)]
pub(crate) struct PanelKernels {
    /// Adds the products of one or two tiles, whose panels hold `groups`, to every column's results.
    pub columns: unsafe fn(w: &Packed<'_>, tiles: &[Tile], x: &Int8Rows<'_>, groups: Range<usize>, out: *mut f32),
    /// Likewise those of a unit of native complex weights.
    pub complex_columns:
        unsafe fn(w: &Packed<'_>, unit: usize, panels: &Panels, x: &Int8Rows<'_>, groups: Range<usize>, out: *mut f32),
}

/// What needs nothing but lanes of floats.
#[derive(Clone, Copy)]
pub(crate) struct FloatKernels {
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
    pub attend: unsafe fn(cache: &KvView, head: usize, queries: &[Query], scale: f32, scores: *mut f32),
}

/// Compiles the generic algorithms for one instruction set into a table `KERNELS`. Parts can be another backend's, which
/// saves compiling them twice.
///
/// `columns` is how many activation columns the prefill loop takes at once: as many as the registers hold.
macro_rules! kernels {
    ($name:literal, $simd:ty, features: $features:tt, supported: $supported:expr, columns: $columns:literal) => {
        $crate::arch::kernels::kernels!(
            $name, $simd, features: $features, supported: $supported, columns: $columns,
            floats: $crate::arch::kernels::kernels!(@compile FloatKernels, $features,
                matmul_f32(w: &Packed<'_>, x: &[f32], units: Range<usize>, out: *mut f32) = ops::matmul_f32::<$simd>;
                matmul_dense(w: &Dense<'_>, x: &[f32], rows: Range<usize>, out: *mut f32) = ops::matmul_dense::<$simd>;
                quantize(x: &[f32], per_row: bool, out: QuantizeOut<'_>) = ops::quantize::<$simd>;
                rms_norm(x: &[f32], weight: &[f32], channels: usize, epsilon: f32, out: &mut [f32])
                    = ops::rms_norm::<$simd>;
                add(x: &mut [f32], y: &[f32]) = ops::add::<$simd>;
                swiglu(gate: &mut [f32], up: &[f32]) = ops::swiglu::<$simd>;
                relu2_glu(gate: &mut [f32], up: &[f32]) = ops::relu2_glu::<$simd>;
                kv_store(cache: &KvView, head: usize, position: usize, k: &[f32], v: &[f32]) = ops::kv_store::<$simd>;
                attend(cache: &KvView, head: usize, queries: &[Query], scale: f32, scores: *mut f32)
                    = ops::attend::<$simd>;
            )
        );
    };
    (
        $name:literal, $simd:ty, features: $features:tt, supported: $supported:expr, columns: $columns:literal,
        floats: $floats:expr
    ) => {
        $crate::arch::kernels::kernels!(
            $name, $simd, features: $features, supported: $supported,
            panels: $crate::arch::kernels::kernels!(@compile PanelKernels, $features,
                columns(w: &Packed<'_>, tiles: &[Tile], x: &Int8Rows<'_>, groups: Range<usize>, out: *mut f32)
                    = ops::columns::<$simd, $columns>;
                complex_columns(
                    w: &Packed<'_>, unit: usize, panels: &Panels, x: &Int8Rows<'_>, groups: Range<usize>, out: *mut f32
                ) = ops::complex_columns::<$simd, $columns>;
            ),
            floats: $floats
        );
    };
    (
        $name:literal, $simd:ty, features: $features:tt, supported: $supported:expr,
        panels: $panels:expr, floats: $floats:expr
    ) => {
        pub(crate) static KERNELS: $crate::arch::Kernels = $crate::arch::Kernels {
            name: $name,
            supported: $supported,
            codes: $crate::arch::kernels::kernels!(@compile CodeKernels, $features,
                matvec(w: &Packed<'_>, x: &Int8Rows<'_>, column: usize, units: Range<usize>, out: *mut f32)
                    = ops::matvec::<$simd>;
                expand(w: &Packed<'_>, unit: usize, count: usize, groups: Range<usize>, panels: &mut Panels)
                    = ops::expand::<$simd>;
            ),
            panels: $panels,
            floats: $floats,
        };
    };
    (@compile $table:ident, $features:tt, $($name:ident($($arg:ident: $ty:ty),*) = $generic:expr;)*) => {{
        #[allow(unused_imports, reason = "each table has some of these arguments")]
        use $crate::{format::{Dense, Packed}, ops::{Int8Rows, KvView, Panels, Query, QuantizeOut, Tile, generic as ops}};
        #[allow(unused_imports, reason = "likewise")]
        use core::ops::Range;
        $($crate::arch::kernels::kernels!(@function $features, $name($($arg: $ty),*) = $generic);)*
        $crate::arch::kernels::$table { $($name),* }
    }};
    (@function [$($feature:literal),*], $name:ident($($arg:ident: $ty:ty),*) = $generic:expr) => {
        $(#[target_feature(enable = $feature)])*
        unsafe fn $name($($arg: $ty),*) {
            // SAFETY: this function is compiled for the instruction set, and the caller upholds `Kernels`' contract.
            unsafe { $generic($($arg),*) }
        }
    };
}
pub(crate) use kernels;
