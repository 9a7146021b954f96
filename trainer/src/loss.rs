//! What training makes small.

use crate::tensor::{Backend, Int, Tensor, activation};

/// The mean negative log-likelihood of the targets, in nats, weighted: `sum(weights * nll) / sum(weights)`.
///
/// `logits` is `[positions, vocab_size]`; `targets` and `weights` have a number for each position, and not all weights are 0.
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    weights: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let total = weights.clone().sum();
    let likelihood = activation::log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1));
    (likelihood.flatten::<1>(0, 1) * weights).sum().neg() / total
}
