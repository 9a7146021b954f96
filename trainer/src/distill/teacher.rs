//! A model that is not trained.

use std::collections::BTreeMap;

use crate::model::{Observer, Transformer, Weights};
use crate::tensor::{Backend, Int, Tensor};
use crate::{Result, TrainError};
use halfpi::transformer::Config;

/// A model with weights as they are, without gradients.
#[derive(Clone, Debug)]
pub struct Teacher<B: Backend> {
    model: Transformer<B>,
    weights: Fixed<B>,
}

impl<B: Backend> Teacher<B> {
    /// A model with these weights, by their names in GGUF.
    pub fn new(model: Transformer<B>, weights: BTreeMap<String, Tensor<B, 2>>) -> Self {
        Self {
            model,
            weights: Fixed(weights),
        }
    }

    /// Its shape.
    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// What it predicts at every position: `[batch * length, vocab_size]` for tokens `[batch, length]`.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`].
    pub fn logits(&self, tokens: Tensor<B, 2, Int>, observer: &mut dyn Observer<B>) -> Result<Tensor<B, 2>> {
        self.model.forward(&self.weights, tokens, observer)
    }
}

#[derive(Clone, Debug)]
struct Fixed<B: Backend>(BTreeMap<String, Tensor<B, 2>>);

impl<B: Backend> Fixed<B> {
    fn matrix(&self, name: &str) -> Result<Tensor<B, 2>> {
        let missing = || TrainError::MissingParameter { name: name.to_owned() };
        self.0.get(name).cloned().ok_or_else(missing)
    }
}

impl<B: Backend> Weights<B> for Fixed<B> {
    fn linear(&self, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        Ok(x.matmul(self.matrix(name)?.transpose()))
    }

    fn embedding(&self, tokens: Tensor<B, 1, Int>) -> Result<Tensor<B, 2>> {
        Ok(self.matrix("token_embd.weight")?.select(0, tokens))
    }

    fn vector(&self, name: &str) -> Option<Tensor<B, 1>> {
        Some(self.0.get(name)?.clone().flatten(0, 1))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
