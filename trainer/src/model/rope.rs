//! Rotary position embedding (RoFormer, arXiv:2104.09864, section 3.4).

use crate::tensor::{Backend, Turns, matrix};
use halfpi::transformer::Config;
use halfpi_kernels::ops::RopePairs;

/// The turns of every position. `factors` is what frequencies are divided by.
pub(super) fn turns<B: Backend>(config: &Config, length: usize, factors: &[f32], device: &B::Device) -> Turns<B> {
    let (head_dim, dims) = (config.head_dim, config.rope_dimension_count);
    let pairs: Vec<[usize; 2]> = (0..dims / 2)
        .map(|i| match config.architecture.rope_pairs() {
            RopePairs::Adjacent => [2 * i, 2 * i + 1],
            RopePairs::Halves => [i, i + dims / 2],
        })
        .collect();
    let (mut cos, mut sin) = (vec![1f32; length * head_dim], vec![0f32; length * head_dim]);
    for (i, pair) in pairs.iter().enumerate() {
        let frequency = f64::from(config.rope_freq_base).powf(-2.0 * i as f64 / dims as f64)
            / f64::from(factors.get(i).copied().unwrap_or(1.0));
        for position in 0..length {
            let angle = position as f64 / f64::from(config.rope_scale) * frequency;
            for channel in pair {
                cos[position * head_dim + channel] = angle.cos() as f32;
                sin[position * head_dim + channel] = angle.sin() as f32;
            }
        }
    }
    Turns {
        cos: matrix(cos, [length, head_dim], device),
        sin: matrix(sin, [length, head_dim], device),
        pairs,
    }
}
