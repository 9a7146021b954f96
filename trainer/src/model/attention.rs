//! Attention over whole sequences.

use crate::tensor::{Backend, Tensor, Turns, causal_softmax, join_heads, products, split_heads};
use halfpi::transformer::Config;

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
    turns: &Turns<B::Inner>,
) -> Tensor<B, 2> {
    let (heads, kv_heads, head_dim) = (config.head_count, config.head_count_kv, config.head_dim);
    let length = q.dims()[0] / batch;
    let q = split_heads(q, [batch, heads], Some(turns.clone()));
    let k = split_heads(k, [batch, kv_heads], Some(turns.clone()));
    let v = split_heads(v, [batch, kv_heads], None);

    // Of complex numbers, `head_dim` floats are half as many channels.
    let channels = if config.architecture.is_complex() {
        head_dim / 2
    } else {
        head_dim
    };
    let groups = batch * kv_heads;
    let shares = causal_softmax(products(q, k, groups), (channels as f32).sqrt().recip());
    let shares = shares.reshape([groups, heads / kv_heads * length, length]);
    let mixed = shares.matmul(v.reshape([groups, length, head_dim]));
    join_heads(mixed.reshape([batch * heads * length, head_dim]), [batch, heads])
}
