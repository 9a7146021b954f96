//! The negative log-likelihood of tokens.

use super::host::{change_rows, exp, largest, of_rows, sum};
use super::{Backend, IndexingUpdateOp, Int, Step, Tensor, matrix};

/// The negative log-likelihood of the targets, in nats, each counted with its weight: `sum(weights * nll)`.
///
/// `logits` is `[positions, vocab_size]`; `targets` and `weights` have a number for each position. Beside the logits a
/// number for each position is kept, and their gradient takes their place.
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    weights: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let step = CrossEntropy::<B::Inner> {
        targets: B::detached_int(targets),
        weights: B::detached(weights),
    };
    B::apply(step, [logits]).flatten(0, 1)
}

#[derive(Clone, Debug)]
struct CrossEntropy<B: Backend> {
    targets: Tensor<B, 1, Int>,
    weights: Tensor<B, 1>,
}

impl<B: Backend> Step<B, 1> for CrossEntropy<B> {
    /// The logarithm of each position's sum of exponentials: `[positions, 1]`.
    type Kept = Tensor<B, 2>;

    fn forward(&self, [logits]: [Tensor<B, 2>; 1]) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let ([positions, vocab], device) = (logits.dims(), logits.device());
        let sums = match B::floats(&logits) {
            Some(logits) => {
                let sums = of_rows(logits.as_ref(), vocab, |_, row| {
                    let top = largest(row);
                    sum(row, |logit| exp(logit - top)).ln() + top
                });
                matrix(sums, [positions, 1], &device)
            }
            None => {
                let top = logits.clone().max_dim(1);
                (logits.clone() - top.clone()).exp().sum_dim(1).log() + top
            }
        };
        let chosen = logits.gather(1, self.targets.clone().unsqueeze_dim(1));
        let lost = (sums.clone() - chosen).flatten::<1>(0, 1) * self.weights.clone();
        (lost.sum().reshape([1, 1]), sums)
    }

    /// What is predicted less what is right, each position times its weight.
    fn backward(
        &self,
        [logits]: [Option<Tensor<B, 2>>; 1],
        sums: Tensor<B, 2>,
        gradient: Tensor<B, 2>,
        _: [bool; 1],
    ) -> [Option<Tensor<B, 2>>; 1] {
        let weights = self.weights.clone().unsqueeze_dim::<2>(1) * gradient;
        let Some(logits) = logits else { return [None] };
        let predicted = match [&sums, &weights].map(B::floats) {
            [Some(sums), Some(weights)] => {
                let (sums, weights) = (sums.as_ref(), weights.as_ref());
                let targets: Vec<usize> = self
                    .targets
                    .to_data()
                    .iter::<i64>()
                    .map(|target| target as usize)
                    .collect();
                change_rows(logits, |position, row| {
                    let (sum, weight) = (sums[position], weights[position]);
                    row.iter_mut().for_each(|logit| *logit = exp(*logit - sum) * weight);
                    if let Some(right) = row.get_mut(targets[position]) {
                        *right -= weight;
                    }
                })
            }
            _ => {
                let predicted = (logits - sums).exp() * weights.clone();
                let targets = self.targets.clone().unsqueeze_dim(1);
                predicted.scatter(1, targets, weights.neg(), IndexingUpdateOp::Add)
            }
        };
        [Some(predicted)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_same;
    use super::super::{Cpu, TensorData, activation};
    use super::*;

    fn targets() -> (Tensor<Cpu, 1, Int>, Tensor<Cpu, 1>) {
        let device = Default::default();
        let targets = Tensor::from_data(TensorData::from([3i32, 0, 36, 5]), &device);
        (
            targets,
            Tensor::from_data(TensorData::from([1.0f32, 0.5, 0.0, 2.0]), &device),
        )
    }

    #[test]
    fn values_and_gradients_are_those_of_log_softmax() {
        assert_same(
            |[logits]| {
                let (targets, weights) = targets();
                cross_entropy(logits * 5.0, targets, weights).reshape([1, 1])
            },
            |[logits]| {
                let (targets, weights) = targets();
                let likelihood = activation::log_softmax(logits * 5.0, 1).gather(1, targets.unsqueeze_dim(1));
                (likelihood.flatten::<1>(0, 1) * weights).sum().neg().reshape([1, 1])
            },
            [[4, 37]],
        );
    }
}
