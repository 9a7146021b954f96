//! Rotary position embedding (RoFormer, arXiv:2104.09864, section 3.4).

use crate::tensor::{Backend, Tensor, TensorData};
use halfpi::transformer::Config;
use halfpi_kernels::ops::RopePairs;

/// The turns of every position.
///
/// A turn is `x * cos + (x R) * sin`, where `R` moves each channel to its partner's place. As a product with a small matrix
/// that is fast whichever channels are partners: neighbours would otherwise be read one by one.
#[derive(Clone, Debug)]
pub(super) struct Rope<B: Backend> {
    /// `[1, length, 1, head_dim]` each.
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
    /// `[head_dim, head_dim]`.
    partners: Tensor<B, 2>,
}

impl<B: Backend> Rope<B> {
    pub(super) fn new(config: &Config, length: usize, factors: &[f32], device: &B::Device) -> Self {
        let (head_dim, dims) = (config.head_dim, config.rope_dimension_count);
        let pairs = config.architecture.rope_pairs();
        let (mut cos, mut sin) = (vec![1f32; length * head_dim], vec![0f32; length * head_dim]);
        let mut partners = vec![0f32; head_dim * head_dim];
        for i in 0..dims / 2 {
            let (first, second) = match pairs {
                RopePairs::Adjacent => (2 * i, 2 * i + 1),
                RopePairs::Halves => (i, i + dims / 2),
            };
            partners[second * head_dim + first] = -1.0;
            partners[first * head_dim + second] = 1.0;
            let frequency = f64::from(config.rope_freq_base).powf(-2.0 * i as f64 / dims as f64)
                / f64::from(factors.get(i).copied().unwrap_or(1.0));
            for position in 0..length {
                let angle = position as f64 / f64::from(config.rope_scale) * frequency;
                for channel in [first, second] {
                    cos[position * head_dim + channel] = angle.cos() as f32;
                    sin[position * head_dim + channel] = angle.sin() as f32;
                }
            }
        }
        let table = |values| Tensor::from_data(TensorData::new(values, [1, length, 1, head_dim]), device);
        Self {
            cos: table(cos),
            sin: table(sin),
            partners: Tensor::from_data(TensorData::new(partners, [head_dim, head_dim]), device),
        }
    }

    /// Turns the heads of every position: `x` is `[batch, length, heads, head_dim]`.
    pub(super) fn turn(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, length, heads, head_dim] = x.dims();
        let flat = x.clone().reshape([batch * length * heads, head_dim]);
        let partners = flat
            .matmul(self.partners.clone())
            .reshape([batch, length, heads, head_dim]);
        x * self.cos.clone() + partners * self.sin.clone()
    }
}
