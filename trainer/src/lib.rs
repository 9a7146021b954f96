//! Trains models that halfpi runs: on a host, from a checkpoint or from nothing, with weights that are held in few bits
//! while they are trained. The engine on the device does not depend on any of it.

pub mod batch;
pub mod checkpoint;
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
pub mod pass;
pub mod quantize;
pub mod run;
pub mod tensor;
pub mod train;
pub mod vote;

/// What a model is trained on: a crate of its own, which needs no tensor engine.
pub use halfpi_data as data;
pub use halfpi_data::Random;

pub use error::TrainError;
pub use parameters::{Gradients, Parameter, Parameters};

/// The result of what can fail with a [`TrainError`].
pub type Result<T, E = TrainError> = std::result::Result<T, E>;
