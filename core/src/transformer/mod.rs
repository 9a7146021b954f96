//! The transformer: weights, cache and one function, [`Model::forward`].
//!
//! `no_std` and without allocation: the caller brings the memory, whose size [`workspace_len`] and [`KvCache::bytes`]
//! compute from the model's shape, so that a token costs no allocation and cannot run out of memory.
//! `core/examples/bare.rs` shows how.

mod adapter;
mod complex;
mod config;
mod error;
mod forward;
mod kv_cache;
mod weights;
mod workspace;

pub use adapter::{LayerAdapter, LowRank, adapter_len};
pub use config::{Architecture, Config, MAX_POSITIONS};
pub use error::ForwardError;
pub use forward::{Precision, Runtime};
pub use kv_cache::KvCache;
pub use weights::{Layer, Model};
pub use workspace::workspace_len;
