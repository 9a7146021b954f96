//! Trains models that halfpi runs: on a host, from a checkpoint or from nothing, with weights that are held in few bits
//! while they are trained. The engine on the device does not depend on any of it.

pub mod batch;
pub mod checkpoint;
pub mod data;
pub mod distill;
mod error;
pub mod lora;
pub mod loss;
pub mod memory;
pub mod model;
pub mod objective;
pub mod optimize;
pub mod output;
pub mod parallel;
mod parameters;
pub mod quantize;
mod random;
pub mod run;
pub mod tensor;
pub mod train;
pub mod vote;

pub use error::TrainError;
pub use parameters::{Gradients, Parameter, Parameters};
pub use random::Random;

/// The result of what can fail with a [`TrainError`].
pub type Result<T, E = TrainError> = std::result::Result<T, E>;
