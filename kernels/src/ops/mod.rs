//! What a transformer calls.
//!
//! Vectors of several positions ("columns" of the product) lie one after the other: `x[position][channel]`. Ops check
//! their arguments' lengths and return [`OpError`] where they do not fit; after that the inner loops check nothing.

mod activations;
mod attention;
mod complex;
mod elementwise;
mod error;
mod kv_cache;
mod matmul;
mod norm;
mod rope;

pub use activations::{Activations, Int8Rows, Int8RowsMut, Quantization, QuantizeOut};
pub use attention::{Attention, attention, scores_len};
pub use complex::{complex_relu2_glu, conj_product, swap_axes};
pub use elementwise::{add, relu2_glu, swiglu};
pub use error::OpError;
pub use kv_cache::{KvElement, KvLayer, KvLayout};
pub use matmul::{Product, matmul};
pub use norm::{complex_rms_norm, rms_norm};
pub use rope::{Rope, RopePairs, rope, rope_angles};

pub(crate) use attention::Query;
pub(crate) use kv_cache::KvView;
pub(crate) use matmul::{Panels, Tile};

/// The algorithms, written once over [`Simd`](crate::arch::simd::Simd).
pub(crate) mod generic {
    pub(crate) use super::activations::quantize_row as quantize;
    pub(crate) use super::attention::attend;
    pub(crate) use super::elementwise::generic::{add, relu2_glu, swiglu};
    pub(crate) use super::kv_cache::kv_store;
    pub(crate) use super::matmul::generic::{columns, complex_columns, expand, matmul_dense, matmul_f32, matvec};
    pub(crate) use super::norm::generic::rms_norm;
}
