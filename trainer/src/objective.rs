//! What training makes small.

use crate::Result;
use crate::batch::Batch;
use crate::loss;
use crate::pass::Pass;
use crate::tensor::{AutodiffBackend, Tensor};
use crate::{Gradients, Parameters};

/// A loss of a batch.
pub trait Objective<B: AutodiffBackend> {
    /// The loss summed over the targets of `batch`, each counted with its weight: a tensor of one number. The mean over an
    /// update of several batches, on several machines, is then the quotient of sums.
    /// `student` is asked for its logits of the batch.
    ///
    /// # Errors
    /// Whatever the forward pass says.
    fn loss(&mut self, student: &mut Pass<'_, B>, batch: &Batch<B>) -> Result<Tensor<B, 1>>;

    /// Adds what does not depend on a batch to the gradients of an update, after so many others: once, when those of all
    /// batches and processes are summed.
    ///
    /// # Errors
    /// Whatever keeps it from being computed.
    fn regularize(&mut self, _parameters: &Parameters<B>, _updates: u64, _gradients: &mut Gradients<B>) -> Result<()> {
        Ok(())
    }
}

/// The negative log-likelihood of the next token, in nats: pre-training and fine-tuning.
#[derive(Clone, Copy, Debug, Default)]
pub struct NextToken;

impl<B: AutodiffBackend> Objective<B> for NextToken {
    fn loss(&mut self, student: &mut Pass<'_, B>, batch: &Batch<B>) -> Result<Tensor<B, 1>> {
        let logits = student.logits(batch.tokens.clone(), &mut ())?;
        Ok(loss::cross_entropy(
            logits,
            batch.targets.clone(),
            batch.weights.clone(),
        ))
    }
}
