//! Packed weights and the arithmetic on them, for running transformers on phones and hosts.
//!
//! - [`mod@format`]: what the bytes of a weight matrix mean, packing and unpacking.
//! - [`ops`]: what a transformer calls: matrix products, norms, rotary embedding, attention over a packed KV cache.
//! - [`Backend`]: which instruction set does the work, chosen at run time.
//! - [`Parallel`]: how an op hands its tasks to threads; the crate itself has none.
//!
//! `no_std`, no allocation: every buffer comes from the caller. Every backend gives the same bits as the scalar one,
//! floats included: sums run in one fixed order over 16 lanes, and multiply and add are never fused.
#![cfg_attr(not(feature = "std"), no_std)]

mod arch;
pub mod format;
pub mod ops;
mod parallel;

pub use arch::Backend;
pub use parallel::{Parallel, Serial};
