//! Attention over whole sequences.

use super::rope::Rope;
use crate::tensor::{Backend, Tensor, TensorData, activation};
use halfpi::transformer::Config;

/// Instead of minus infinity, whose gradient is no number.
const FORBIDDEN: f32 = -1e9;

/// What is added to scores, `[length, length]`: nobody looks at what comes after.
pub(super) fn mask<B: Backend>(length: usize, device: &B::Device) -> Tensor<B, 2> {
    let row = |i: usize| (0..length).map(move |j| if j > i { FORBIDDEN } else { 0.0 });
    let values: Vec<f32> = (0..length).flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, [length, length]), device)
}

/// Each query head's mix of the values, `[batch * length, heads * head_dim]`, of queries of that shape and keys and values
/// `[batch * length, kv heads * head_dim]`.
///
/// Query heads that share a key head (grouped-query attention, arXiv:2305.13245) lie one below the other as more rows of
/// one product, so that keys and values need no copies.
pub(super) fn causal_attention<B: Backend>(
    config: &Config,
    batch: usize,
    q: Tensor<B, 2>,
    k: Tensor<B, 2>,
    v: Tensor<B, 2>,
    rope: &Rope<B>,
    mask: &Tensor<B, 2>,
) -> Tensor<B, 2> {
    let (kv_heads, head_dim) = (config.head_count_kv, config.head_dim);
    let shared = config.head_count / kv_heads;
    let length = q.dims()[0] / batch;
    // Turned before positions and heads change places: the engine is fast on what lies in order.
    let heads = |x: Tensor<B, 2>, heads: usize| x.reshape([batch, length, heads, head_dim]);
    let q = rope.turn(heads(q, kv_heads * shared)).swap_dims(1, 2);
    let k = rope.turn(heads(k, kv_heads)).swap_dims(1, 2);
    let v = heads(v, kv_heads).swap_dims(1, 2);

    // Of complex numbers, `head_dim` floats are half as many channels.
    let channels = if config.architecture.is_complex() {
        head_dim / 2
    } else {
        head_dim
    };
    let scale = (channels as f32).sqrt().recip();
    let q = q.reshape([batch, kv_heads, shared * length, head_dim]) * scale;
    let scores = q
        .matmul(k.swap_dims(2, 3))
        .reshape([batch, kv_heads * shared, length, length]);
    let weights = activation::softmax(scores + mask.clone().unsqueeze::<4>(), 3);
    let mixed = weights.reshape([batch, kv_heads, shared * length, length]).matmul(v);
    let mixed = mixed
        .reshape([batch, kv_heads * shared, length, head_dim])
        .swap_dims(1, 2);
    mixed.reshape([batch * length, kv_heads * shared * head_dim])
}
