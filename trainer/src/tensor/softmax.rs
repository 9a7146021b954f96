//! Softmax over what came before.

use super::host::{change_rows, dot, exp, largest};
use super::{Backend, Step, Tensor, TensorData, activation};

/// The softmax of each row of `scale * scores` over the positions that are not after its own; 0 for those that are.
///
/// `scores` is `[count * length, length]`: row `i` belongs to position `i % length`.
pub fn causal_softmax<B: Backend>(scores: Tensor<B, 2>, scale: f32) -> Tensor<B, 2> {
    B::apply(CausalSoftmax { scale }, [scores])
}

#[derive(Clone, Copy, Debug)]
struct CausalSoftmax {
    scale: f32,
}

/// Instead of minus infinity, whose gradient is no number.
const FORBIDDEN: f32 = -1e9;

impl<B: Backend> Step<B, 1> for CausalSoftmax {
    /// The result.
    type Kept = Tensor<B, 2>;

    fn forward(&self, [scores]: [Tensor<B, 2>; 1]) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let ([rows, length], device) = (scores.dims(), scores.device());
        let shares = if B::IS_HOST {
            change_rows(scores, |row, scores| {
                let (seen, after) = scores.split_at_mut(row % length + 1);
                let top = largest(seen);
                seen.iter_mut()
                    .for_each(|score| *score = exp((*score - top) * self.scale));
                let factor = super::host::sum(seen, |share| share).recip();
                seen.iter_mut().for_each(|share| *share *= factor);
                after.fill(0.0);
            })
        } else {
            let after = |i: usize| (0..length).map(move |j| if j > i { FORBIDDEN } else { 0.0 });
            let mask: Vec<f32> = (0..length).flat_map(after).collect();
            let mask = Tensor::<B, 3>::from_data(TensorData::new(mask, [1, length, length]), &device);
            let scores = scores.reshape([rows / length, length, length]) * self.scale + mask;
            activation::softmax(scores, 2).reshape([rows, length])
        };
        (shares.clone(), shares)
    }

    fn needs(_: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(
        &self,
        _: [Option<Tensor<B, 2>>; 1],
        shares: Tensor<B, 2>,
        gradient: Tensor<B, 2>,
        _: [bool; 1],
    ) -> [Option<Tensor<B, 2>>; 1] {
        let [_, length] = shares.dims();
        if let Some(shares) = B::floats(&shares) {
            return [Some(change_rows(gradient, |row, gradient| {
                let shares = &shares.as_ref()[row * length..][..length];
                let common = dot(gradient, shares);
                for (gradient, share) in gradient.iter_mut().zip(shares) {
                    *gradient = (*gradient - common) * share * self.scale;
                }
            }))];
        }
        let common = (gradient.clone() * shares.clone()).sum_dim(1);
        [Some((gradient - common) * shares * self.scale)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_same;
    use super::super::{Cpu, Tensor, TensorData, activation};
    use super::causal_softmax;

    #[test]
    fn values_and_gradients_are_those_of_a_masked_softmax() {
        let masked = |[scores]: [Tensor<Cpu, 2>; 1]| {
            let mask: Vec<f32> = (0..2 * 25)
                .map(|i| if i % 5 > i / 5 % 5 { -1e9 } else { 0.0 })
                .collect();
            let mask = Tensor::from_data(TensorData::new(mask, [10, 5]), &Default::default());
            activation::softmax(scores * 0.7 + mask, 1)
        };
        assert_same(|[scores]| causal_softmax(scores, 0.7), masked, [[10, 5]]);
    }
}
