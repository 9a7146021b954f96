//! Root mean square layer normalization (Zhang and Sennrich 2019, arXiv:1910.07467).

use super::host::{change_rows, dot, of_rows};
use super::{Backend, Step, Tensor, matrix};

/// `x / rms(x) * weight`, for rows of `x`, `[positions, channels]`; `weight` is `[1, channels]`. Each channel is so many
/// floats: 2 of complex numbers.
pub fn rms_norm<B: Backend>(x: Tensor<B, 2>, weight: Tensor<B, 2>, floats: f32, epsilon: f32) -> Tensor<B, 2> {
    B::apply(RmsNorm { floats, epsilon }, [x, weight])
}

#[derive(Clone, Copy, Debug)]
struct RmsNorm {
    floats: f32,
    epsilon: f32,
}

/// Rows whose gradients of the weight are added up one after the other.
const BLOCK: usize = 128;

impl<B: Backend> Step<B, 2> for RmsNorm {
    /// What each row is multiplied with: `[positions, 1]`.
    type Kept = Tensor<B, 2>;

    fn forward(&self, [x, weight]: [Tensor<B, 2>; 2]) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let ([positions, channels], device) = (x.dims(), x.device());
        if let [Some(numbers), Some(weight)] = [&x, &weight].map(B::floats) {
            let weight = weight.as_ref();
            let factors = of_rows(numbers.as_ref(), channels, |_, row| {
                (dot(row, row) / channels as f32 * self.floats + self.epsilon)
                    .sqrt()
                    .recip()
            });
            drop(numbers);
            let normal = change_rows(x, |position, row| {
                for (x, weight) in row.iter_mut().zip(weight) {
                    *x = *x * factors[position] * weight;
                }
            });
            return (normal, matrix(factors, [positions, 1], &device));
        }
        let mean_square = (x.clone() * x.clone()).mean_dim(1) * self.floats;
        let factors = (mean_square + self.epsilon).sqrt().recip();
        (x * factors.clone() * weight, factors)
    }

    fn backward(
        &self,
        inputs: [Option<Tensor<B, 2>>; 2],
        factors: Tensor<B, 2>,
        gradient: Tensor<B, 2>,
        _: [bool; 2],
    ) -> [Option<Tensor<B, 2>>; 2] {
        let [Some(x), Some(weight)] = inputs else {
            return [None, None];
        };
        let [_, channels] = x.dims();
        let per_channel = self.floats / channels as f32;
        if let [Some(x), Some(weights), Some(factors), Some(upstream)] =
            [&x, &weight, &factors, &gradient].map(B::floats)
        {
            let (x, weights, factors) = (x.as_ref(), weights.as_ref(), factors.as_ref());
            let of_weight = of_weight(x, upstream.as_ref(), factors, channels);
            drop(upstream);
            let of_x = change_rows(gradient, |position, row| {
                let (x, factor) = (&x[position * channels..][..channels], factors[position]);
                row.iter_mut()
                    .zip(weights)
                    .for_each(|(number, weight)| *number *= weight);
                let common = dot(row, x) * factor * factor * per_channel;
                for (number, x) in row.iter_mut().zip(x) {
                    *number = (*number - x * common) * factor;
                }
            });
            return [Some(of_x), Some(matrix(of_weight, [1, channels], &weight.device()))];
        }
        let normal = x * factors.clone();
        let of_weight = (gradient.clone() * normal.clone()).sum_dim(0);
        let gradient = gradient * weight;
        let common = (gradient.clone() * normal.clone()).sum_dim(1) * per_channel;
        [Some((gradient - normal * common) * factors), Some(of_weight)]
    }
}

/// The gradient of the weight: sums over rows, of blocks of rows and then of blocks, so that they do not depend on the
/// number of threads.
fn of_weight(x: &[f32], gradient: &[f32], factors: &[f32], channels: usize) -> Vec<f32> {
    use rayon::prelude::*;
    let size = BLOCK * channels.max(1);
    let block = |(block, (x, gradient)): (usize, (&[f32], &[f32]))| {
        let mut sums = vec![0f32; channels];
        let rows = x.chunks(channels.max(1)).zip(gradient.chunks(channels.max(1)));
        for ((x, gradient), factor) in rows.zip(&factors[block * BLOCK..]) {
            for ((sum, x), gradient) in sums.iter_mut().zip(x).zip(gradient) {
                *sum += x * gradient * factor;
            }
        }
        sums
    };
    let blocks: Vec<Vec<f32>> = x
        .par_chunks(size)
        .zip(gradient.par_chunks(size))
        .enumerate()
        .map(block)
        .collect();
    let mut total = vec![0f32; channels];
    for sums in blocks {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::super::Cpu;
    use super::super::testing::assert_same;
    use super::*;

    #[test]
    fn values_and_gradients_are_those_of_the_formula() {
        let formula = |[x, weight]: [Tensor<Cpu, 2>; 2]| {
            let mean_square = (x.clone() * x.clone()).mean_dim(1) * 2.0;
            x * (mean_square + 0.1).sqrt().recip() * weight
        };
        assert_same(
            |[x, weight]| rms_norm(x, weight, 2.0, 0.1),
            formula,
            [[300, 19], [1, 19]],
        );
    }
}
