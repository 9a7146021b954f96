//! Losses of logits, summed over positions.

use crate::tensor::{Backend, Int, Tensor, activation};

/// The negative log-likelihood of the targets, in nats, each counted with its weight: `sum(weights * nll)`.
///
/// `logits` is `[positions, vocab_size]`; `targets` and `weights` have a number for each position.
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    weights: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let likelihood = activation::log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1));
    (likelihood.flatten::<1>(0, 1) * weights).sum().neg()
}
