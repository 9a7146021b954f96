use super::{Config, LayerAdapter};
use halfpi_kernels::format::Matrix;

/// The weights of one layer, by the names of their GGUF tensors.
///
/// In a [complex](super::Architecture::is_complex) family a matrix takes `x` to `W conj(x)`. It is either the real
/// matrix that does so, from `[re, im]` to `[re, im]`, as packed complex weights are; or, half as wide, the real parts
/// of its rows followed by the imaginary ones.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// `[embedding_length]`
    pub attn_norm: &'a [f32],
    /// Queries: `embedding_length` to `head_count * head_dim`.
    pub attn_q: Matrix<'a>,
    /// Keys: to `head_count_kv * head_dim`.
    pub attn_k: Matrix<'a>,
    /// Values: as the keys.
    pub attn_v: Matrix<'a>,
    /// Biases of the three (qwen2).
    pub attn_bias: Option<[&'a [f32]; 3]>,
    /// Norms of every head's query and key, `[head_dim]` (qwen3).
    pub attn_qk_norm: Option<[&'a [f32]; 2]>,
    /// Norm before the output projection (bitnet, ifairy).
    pub attn_sub_norm: Option<&'a [f32]>,
    /// Output projection: back to `embedding_length`.
    pub attn_output: Matrix<'a>,
    /// `[embedding_length]`
    pub ffn_norm: &'a [f32],
    /// `embedding_length` to `feed_forward_length`.
    pub ffn_gate: Matrix<'a>,
    /// As the gate.
    pub ffn_up: Matrix<'a>,
    /// Norm before the down projection (bitnet, ifairy).
    pub ffn_sub_norm: Option<&'a [f32]>,
    /// Back to `embedding_length`.
    pub ffn_down: Matrix<'a>,
}

/// A model's weights. [`forward`](Model::forward) runs it.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// The shape that all weights have.
    pub config: Config,
    /// A row a token.
    pub token_embd: Matrix<'a>,
    /// From the first to the last.
    pub layers: &'a [Layer<'a>],
    /// `[embedding_length]`
    pub output_norm: &'a [f32],
    /// From channels to tokens: `token_embd` again where the file ties them.
    pub output: Matrix<'a>,
    /// Divides the rotary frequencies (llama 3), or empty.
    pub rope_freqs: &'a [f32],
    /// What an adapter adds to each layer, or empty.
    pub adapter: &'a [LayerAdapter<'a>],
    /// The highest rank of the adapter; 0 without.
    pub adapter_rank: usize,
}
