//! A model that is not trained.

use std::collections::BTreeMap;

use crate::Result;
use crate::model::{Observer, PlainWeights, Transformer};
use crate::tensor::{Backend, Int, Tensor};
use halfpi::transformer::Config;

/// A model with weights as they are, without gradients.
#[derive(Clone, Debug)]
pub struct Teacher<B: Backend> {
    model: Transformer<B>,
    weights: PlainWeights<BTreeMap<String, Tensor<B, 2>>>,
}

impl<B: Backend> Teacher<B> {
    /// A model with these weights, by their names in GGUF.
    pub fn new(model: Transformer<B>, weights: BTreeMap<String, Tensor<B, 2>>) -> Self {
        Self {
            model,
            weights: PlainWeights(weights),
        }
    }

    /// Its shape.
    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// What it predicts at every position: `[batch * length, vocab_size]` for tokens `[batch, length]`.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`](crate::TrainError::MissingParameter).
    pub fn logits(&self, tokens: Tensor<B, 2, Int>, observer: &mut dyn Observer<B>) -> Result<Tensor<B, 2>> {
        self.model.forward(&self.weights, tokens, observer)
    }
}
