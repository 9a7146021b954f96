//! From a model file to a [`transformer::Model`](crate::transformer::Model): metadata to its shape, tensors to weights.

mod adapter;
mod config;
mod convert;
mod error;
mod expected;
mod fingerprint;
mod info;
mod load;
mod options;
mod progress;
mod scales;
mod stock;
mod tensors;

pub use adapter::AdapterError;
pub use config::read_config;
#[cfg(feature = "pack")]
pub(crate) use config::read_metadata;
pub use error::ModelError;
pub use expected::{TensorShape, check_shapes, expected_tensors};
pub(crate) use fingerprint::fingerprint;
pub use info::{ModelInfo, SessionMemory, logical_shape};
pub use load::LoadedModel;
pub(crate) use load::Prepared;
pub use options::LoadOptions;
pub use progress::{LoadListener, LoadProgress};
#[cfg(feature = "pack")]
pub(crate) use stock::{is_scale, scale_beside, scale_within, stock};
