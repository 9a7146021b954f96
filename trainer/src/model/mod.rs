//! The transformer as training sees it: all positions at once, every step differentiable.
//!
//! [`Transformer::forward`] is what `halfpi::transformer` computes, on tensors; `trainer/tests` compares the two.

mod attention;
pub(crate) mod complex;
mod initial;
mod plain;
mod rope;

use self::attention::causal_attention;
use self::complex::{gather_heads, scatter_heads, squared_relu_glu};
pub use self::initial::{Initial, random};
pub use self::plain::{Arrangement, Named, Plain, PlainWeights};
use std::ops::Range;

use crate::Result;
use crate::tensor::{Backend, Int, Tensor, Turns, activation, rms_norm, swiglu};
use halfpi::transformer::{Architecture, Config};

/// Where the transformer gets its weights: as they are, quantized, with adapters.
pub trait Weights<B: Backend> {
    /// `x W^T`: `x` is `[positions, columns]`, the matrix called `name` `[rows, columns]`.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`](crate::TrainError::MissingParameter).
    fn linear(&self, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>>;

    /// The rows of the embedding for these tokens: `[positions, columns]`.
    ///
    /// # Errors
    /// As [`linear`](Self::linear).
    fn embedding(&self, tokens: Tensor<B, 1, Int>) -> Result<Tensor<B, 2>>;

    /// The vector called `name`, or `None` where the model has none.
    fn vector(&self, name: &str) -> Option<Tensor<B, 1>>;

    /// Whether there is a matrix with this name.
    fn has(&self, name: &str) -> bool;
}

/// What a forward pass shows of its inside to whoever wants to see it.
pub trait Observer<B: Backend> {
    /// The residual stream after layer `block`: `[positions, embedding_length]`.
    fn hidden(&mut self, _block: usize, _x: &Tensor<B, 2>) {}

    /// Queries, keys and values of layer `block` before rope: `[positions, heads * head_dim]`.
    fn attention(&mut self, _block: usize, _q: &Tensor<B, 2>, _k: &Tensor<B, 2>, _v: &Tensor<B, 2>) {}
}

/// Sees nothing.
impl<B: Backend> Observer<B> for () {}

/// A decoder-only transformer of the llama family on one device, for sequences of one length.
#[derive(Clone, Debug)]
pub struct Transformer<B: Backend> {
    config: Config,
    turns: Turns<B::Inner>,
}

impl<B: Backend> Transformer<B> {
    /// For sequences of `length` tokens. `rope_factors` is what rotary frequencies are divided by, one for each pair of
    /// channels that turn; empty where the model has none.
    pub fn new(config: &Config, length: usize, rope_factors: &[f32], device: &B::Device) -> Self {
        Self {
            config: *config,
            turns: rope::turns(config, length, rope_factors, device),
        }
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The logits of the next token at every position, `[batch * length, vocab_size]`, for `tokens`: `[batch, length]`.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`](crate::TrainError::MissingParameter).
    pub fn forward(
        &self,
        weights: &dyn Weights<B>,
        tokens: Tensor<B, 2, Int>,
        observer: &mut dyn Observer<B>,
    ) -> Result<Tensor<B, 2>> {
        let batch = tokens.dims()[0];
        let x = self.embed(weights, tokens)?;
        let x = self.layers(weights, 0..self.config.block_count, batch, x, observer)?;
        self.head(weights, x)
    }

    /// The residual stream before the first layer, `[batch * length, embedding_length]`, for `tokens`: `[batch, length]`.
    pub(crate) fn embed(&self, weights: &dyn Weights<B>, tokens: Tensor<B, 2, Int>) -> Result<Tensor<B, 2>> {
        weights.embedding(tokens.flatten(0, 1))
    }

    /// The residual stream after the layers `blocks`, where it was `x` before them.
    pub(crate) fn layers(
        &self,
        weights: &dyn Weights<B>,
        blocks: Range<usize>,
        batch: usize,
        mut x: Tensor<B, 2>,
        observer: &mut dyn Observer<B>,
    ) -> Result<Tensor<B, 2>> {
        for block in blocks {
            x = x.clone() + self.attention_block(weights, block, batch, x, observer)?;
            x = x.clone() + self.feed_forward_block(weights, block, x)?;
            observer.hidden(block, &x);
        }
        Ok(x)
    }

    /// The logits, `[batch * length, vocab_size]`, from the residual stream after the last layer.
    pub(crate) fn head(&self, weights: &dyn Weights<B>, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        let x = self.norm(weights, "output_norm.weight", x)?;
        let output = if weights.has("output.weight") {
            "output.weight"
        } else {
            "token_embd.weight"
        };
        weights.linear(output, x)
    }

    /// `attention(norm(x))`.
    fn attention_block(
        &self,
        weights: &dyn Weights<B>,
        block: usize,
        batch: usize,
        x: Tensor<B, 2>,
        observer: &mut dyn Observer<B>,
    ) -> Result<Tensor<B, 2>> {
        let config = &self.config;
        let name = |suffix: &str| format!("blk.{block}.{suffix}");
        let h = self.norm(weights, &name("attn_norm.weight"), x)?;
        let part = |part: &str, h: Tensor<B, 2>| -> Result<Tensor<B, 2>> {
            let x = weights.linear(&name(&format!("{part}.weight")), h)?;
            Ok(match weights.vector(&name(&format!("{part}.bias"))) {
                Some(bias) => x + bias.unsqueeze::<2>(),
                None => x,
            })
        };
        let (mut q, mut k, v) = (
            part("attn_q", h.clone())?,
            part("attn_k", h.clone())?,
            part("attn_v", h)?,
        );
        observer.attention(block, &q, &k, &v);
        if weights.vector(&name("attn_q_norm.weight")).is_some() {
            q = self.norm_heads(weights, &name("attn_q_norm.weight"), q)?;
            k = self.norm_heads(weights, &name("attn_k_norm.weight"), k)?;
        }
        let is_complex = config.architecture.is_complex();
        let (query_heads, heads) = (config.head_count, config.head_count_kv);
        let (q, k, v) = if is_complex {
            (
                gather_heads(q, query_heads),
                gather_heads(k, heads),
                gather_heads(v, heads),
            )
        } else {
            (q, k, v)
        };
        let mixed = causal_attention(config, batch, q, k, v, &self.turns);
        let mixed = if is_complex {
            scatter_heads(mixed, query_heads)
        } else {
            mixed
        };
        let mixed = match weights.vector(&name("attn_sub_norm.weight")) {
            Some(_) => self.norm(weights, &name("attn_sub_norm.weight"), mixed)?,
            None => mixed,
        };
        weights.linear(&name("attn_output.weight"), mixed)
    }

    /// `down(act(gate(norm(x))) * up(norm(x)))`.
    fn feed_forward_block(&self, weights: &dyn Weights<B>, block: usize, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        let name = |suffix: &str| format!("blk.{block}.{suffix}");
        let h = self.norm(weights, &name("ffn_norm.weight"), x)?;
        let gate = weights.linear(&name("ffn_gate.weight"), h.clone())?;
        let up = weights.linear(&name("ffn_up.weight"), h)?;
        let mut inner = match self.config.architecture {
            Architecture::BitNet => {
                let gate = activation::relu(gate);
                gate.clone() * gate * up
            }
            Architecture::IFairy => squared_relu_glu(gate, up),
            Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => swiglu(gate, up),
        };
        if weights.vector(&name("ffn_sub_norm.weight")).is_some() {
            inner = self.norm(weights, &name("ffn_sub_norm.weight"), inner)?;
        }
        weights.linear(&name("ffn_down.weight"), inner)
    }

    /// `x / rms(x) * weight`, for rows of `x` (Zhang and Sennrich 2019, arXiv:1910.07467).
    fn norm(&self, weights: &dyn Weights<B>, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        let missing = || crate::TrainError::MissingParameter { name: name.to_owned() };
        let weight = weights.vector(name).ok_or_else(missing)?;
        let epsilon = self.config.layer_norm_rms_epsilon;
        // A complex channel is two floats.
        let floats = if self.config.architecture.is_complex() {
            2.0
        } else {
            1.0
        };
        Ok(rms_norm(x, weight.unsqueeze(), floats, epsilon))
    }

    /// The same for each head.
    fn norm_heads(&self, weights: &dyn Weights<B>, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        let [positions, channels] = x.dims();
        let heads = x.reshape([positions * channels / self.config.head_dim, self.config.head_dim]);
        Ok(self.norm(weights, name, heads)?.reshape([positions, channels]))
    }
}
