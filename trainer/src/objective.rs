//! What training makes small.

use crate::Result;
use crate::batch::Batch;
use crate::loss;
use crate::model::{Transformer, Weights};
use crate::tensor::{AutodiffBackend, Tensor};

/// A loss of a batch.
pub trait Objective<B: AutodiffBackend> {
    /// The loss summed over the targets of `batch`, each counted with its weight: a tensor of one number. The mean over an
    /// update of several batches, on several machines, is then the quotient of sums.
    ///
    /// # Errors
    /// Whatever the forward pass says.
    fn loss(&mut self, model: &Transformer<B>, weights: &dyn Weights<B>, batch: &Batch<B>) -> Result<Tensor<B, 1>>;
}

/// The negative log-likelihood of the next token, in nats: pre-training and fine-tuning.
#[derive(Clone, Copy, Debug, Default)]
pub struct NextToken;

impl<B: AutodiffBackend> Objective<B> for NextToken {
    fn loss(&mut self, model: &Transformer<B>, weights: &dyn Weights<B>, batch: &Batch<B>) -> Result<Tensor<B, 1>> {
        let logits = model.forward(weights, batch.tokens.clone(), &mut ())?;
        Ok(loss::cross_entropy(
            logits,
            batch.targets.clone(),
            batch.weights.clone(),
        ))
    }
}
