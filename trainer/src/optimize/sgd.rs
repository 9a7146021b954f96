//! Stochastic gradient descent (Robbins and Monro 1951), with momentum if that is not 0 (Polyak 1964).

use std::collections::BTreeMap;

use super::{Optimizer, Step};
use crate::tensor::{Backend, Tensor};

/// Plain gradient descent: no memory at all without momentum.
#[derive(Clone, Debug)]
pub struct Sgd<B: Backend> {
    /// How much of the last change goes on.
    pub momentum: f32,
    updates: u64,
    velocity: BTreeMap<String, Tensor<B, 2>>,
}

impl<B: Backend> Sgd<B> {
    /// With this momentum.
    pub fn new(momentum: f32) -> Self {
        Self {
            momentum,
            updates: 0,
            velocity: BTreeMap::new(),
        }
    }
}

impl<B: Backend> Optimizer<B> for Sgd<B> {
    fn begin(&mut self) {
        self.updates += 1;
    }

    fn update(&mut self, name: &str, value: Tensor<B, 2>, gradient: Tensor<B, 2>, step: Step) -> Tensor<B, 2> {
        let change = if self.momentum == 0.0 {
            gradient
        } else {
            let change = match self.velocity.remove(name) {
                None => gradient,
                Some(velocity) => velocity * self.momentum + gradient,
            };
            self.velocity.insert(name.to_owned(), change.clone());
            change
        };
        value * (1.0 - step.rate * step.decay) - change * step.rate
    }

    fn state(&self) -> Vec<(String, Tensor<B, 2>)> {
        self.velocity
            .iter()
            .map(|(name, velocity)| (name.clone(), velocity.clone()))
            .collect()
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[""]
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    fn restore(&mut self, state: Vec<(String, Tensor<B, 2>)>, updates: u64) {
        self.updates = updates;
        self.velocity = state.into_iter().collect();
    }
}
