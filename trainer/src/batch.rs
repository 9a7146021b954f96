//! What one forward pass reads.

use crate::tensor::{Backend, Int, Tensor, TensorData};

/// Sequences of one length, with what follows each of their tokens.
#[derive(Clone, Debug)]
pub struct Batch<B: Backend> {
    /// `[sequences, length]`.
    pub tokens: Tensor<B, 2, Int>,
    /// The token that follows each: `[sequences * length]`.
    pub targets: Tensor<B, 1, Int>,
    /// How much each target counts: `[sequences * length]`.
    pub weights: Tensor<B, 1>,
    /// The sum of the weights.
    pub total: f32,
}

impl<B: Backend> Batch<B> {
    /// Moves a batch to a device. `tokens`, `targets` and `weights` have `sequences * length` numbers each.
    pub fn new(
        tokens: &[i32],
        targets: &[i32],
        weights: &[f32],
        [sequences, length]: [usize; 2],
        device: &B::Device,
    ) -> Self {
        let ids = |ids: &[i32]| TensorData::new(ids.to_vec(), [sequences * length]);
        Self {
            tokens: Tensor::<B, 1, Int>::from_data(ids(tokens), device).reshape([sequences, length]),
            targets: Tensor::from_data(ids(targets), device),
            weights: Tensor::from_data(TensorData::new(weights.to_vec(), [weights.len()]), device),
            total: weights.iter().sum(),
        }
    }

    /// Tokens that are read.
    pub fn positions(&self) -> usize {
        self.targets.dims()[0]
    }
}
