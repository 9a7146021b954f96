//! What turns gradients into changes of the parameters.

mod adamw;
mod clip;
mod schedule;
mod sgd;

pub use self::adamw::AdamW;
pub use self::clip::{clip, global_norm};
pub use self::schedule::{Schedule, Stage};
pub use self::sgd::Sgd;
use std::collections::BTreeMap;

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

    /// What is behind the name of a parameter in the names of what it remembers of it: all of it is there, or nothing.
    fn suffixes(&self) -> &'static [&'static str];

    /// Refuses what does not belong to parameters of these shapes: `state` is what [`restore`](Self::restore) is to take.
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self, shapes: &BTreeMap<&str, [usize; 2]>, state: &[(String, Tensor<B, 2>)]) -> Result<(), String> {
        let found: BTreeMap<&str, [usize; 2]> = state
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.dims()))
            .collect();
        let mut belonging = 0;
        for (name, shape) in shapes {
            let parts = self
                .suffixes()
                .iter()
                .map(|suffix| found.get(format!("{name}{suffix}").as_str()));
            let parts: Vec<_> = parts.flatten().collect();
            if !parts.is_empty() && (parts.len() < self.suffixes().len() || parts.iter().any(|part| *part != shape)) {
                return Err(format!(
                    "what the optimizer remembers of {name} is not all there, or of another shape"
                ));
            }
            belonging += parts.len();
        }
        if belonging < state.len() {
            return Err("its optimizer remembers tensors that the model does not have".into());
        }
        Ok(())
    }

    /// The updates that it has made.
    fn updates(&self) -> u64;

    /// Goes on from a checkpoint.
    fn restore(&mut self, state: Vec<(String, Tensor<B, 2>)>, updates: u64);
}
