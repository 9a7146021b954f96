//! What turns gradients into changes of the parameters.

mod adamw;
mod clip;
mod schedule;
mod sgd;

pub use self::adamw::AdamW;
pub use self::clip::{clip, global_norm};
pub use self::schedule::{Schedule, Stage};
pub use self::sgd::Sgd;
use crate::tensor::{Backend, Tensor};

/// How large the steps of one update are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The learning rate.
    pub rate: f32,
    /// Weight decay, of which `rate` times as much is taken off (decoupled, arXiv:1711.05101); 0 for what does not decay.
    pub decay: f32,
}

/// An optimizer, on tensors without gradients.
pub trait Optimizer<B: Backend> {
    /// Begins an update of all parameters.
    fn begin(&mut self) {}

    /// The new values of the parameter called `name`, which has this gradient.
    fn update(&mut self, name: &str, value: Tensor<B, 2>, gradient: Tensor<B, 2>, step: Step) -> Tensor<B, 2>;

    /// What it remembers, by name, for a checkpoint: bit for bit what [`restore`](Self::restore) takes.
    fn state(&self) -> Vec<(String, Tensor<B, 2>)>;

    /// The updates that it has made.
    fn updates(&self) -> u64;

    /// Goes on from a checkpoint.
    fn restore(&mut self, state: Vec<(String, Tensor<B, 2>)>, updates: u64);
}
