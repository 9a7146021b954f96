//! Weights to begin with.

use crate::Parameters;
use crate::tensor::{AutodiffBackend, matrix};
use halfpi::transformer::Config;

/// How weights begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Initial {
    /// The standard deviation of the weights of matrices.
    pub deviation: f32,
    /// Chooses them.
    pub seed: u64,
}

impl Default for Initial {
    /// As GPT-2 and its successors begin.
    fn default() -> Self {
        Self {
            deviation: 0.02,
            seed: 0,
        }
    }
}

/// Random weights for a model of this shape: normal, those of the projections back into the residual stream smaller by
/// √(2 layers) (GPT-2, section 2.3); norms 1.
///
/// `tensors` are names, rows and columns, as [`halfpi::pack`] lists them.
pub fn random<B: AutodiffBackend>(
    config: &Config,
    tensors: &[(String, [usize; 2])],
    initial: Initial,
    device: &B::Device,
) -> Parameters<B> {
    let mut parameters = Parameters::default();
    for (name, shape) in tensors {
        let count = shape[0] * shape[1];
        let values = if name.ends_with("norm.weight") {
            vec![1.0; count]
        } else if name.ends_with(".bias") {
            vec![0.0; count]
        } else {
            let into_residual = name.ends_with("attn_output.weight") || name.ends_with("ffn_down.weight");
            let layers = (2.0 * config.block_count.max(1) as f32).sqrt();
            let deviation = initial.deviation / if into_residual { layers } else { 1.0 };
            let mut normal = crate::Random::of(initial.seed, name);
            (0..count).map(|_| deviation * normal.normal()).collect()
        };
        parameters.insert(name.clone(), matrix(values, *shape, device));
    }
    parameters
}
