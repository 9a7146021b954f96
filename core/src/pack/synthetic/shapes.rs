//! Shapes of models that people run, so that their speed can be measured without their weights.

use super::SyntheticModel;
use crate::transformer::{Architecture, Config};

/// A known model. All of them but the complex ones use the embedding matrix for the output too.
pub(super) struct Shape {
    pub name: &'static str,
    architecture: Architecture,
    hidden: usize,
    feed_forward: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocabulary: usize,
    context: usize,
    rope_base: f32,
    epsilon: f32,
}

impl Shape {
    pub(super) fn model(&self) -> SyntheticModel {
        // A config counts floats, these shapes channels.
        let floats = if self.architecture.is_complex() { 2 } else { 1 };
        let head_dim = floats * self.hidden / self.heads;
        let config = Config {
            architecture: self.architecture,
            block_count: self.layers,
            embedding_length: floats * self.hidden,
            feed_forward_length: floats * self.feed_forward,
            head_count: self.heads,
            head_count_kv: self.kv_heads,
            head_dim,
            vocab_size: self.vocabulary,
            context_length: self.context,
            layer_norm_rms_epsilon: self.epsilon,
            rope_freq_base: self.rope_base,
            rope_scale: 1.0,
            rope_dimension_count: head_dim,
        };
        SyntheticModel::new(config, !self.architecture.is_complex())
    }
}

/// From each model's config.json on the Hugging Face hub.
pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "smollm2-135m",
        architecture: Architecture::Llama,
        hidden: 576,
        feed_forward: 1536,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        vocabulary: 49152,
        context: 8192,
        rope_base: 100_000.0,
        epsilon: 1e-5,
    },
    Shape {
        name: "smollm2-360m",
        architecture: Architecture::Llama,
        hidden: 960,
        feed_forward: 2560,
        layers: 32,
        heads: 15,
        kv_heads: 5,
        vocabulary: 49152,
        context: 8192,
        rope_base: 100_000.0,
        epsilon: 1e-5,
    },
    Shape {
        name: "qwen2.5-0.5b",
        architecture: Architecture::Qwen2,
        hidden: 896,
        feed_forward: 4864,
        layers: 24,
        heads: 14,
        kv_heads: 2,
        vocabulary: 151_936,
        context: 32768,
        rope_base: 1_000_000.0,
        epsilon: 1e-6,
    },
    Shape {
        name: "llama-3.2-1b",
        architecture: Architecture::Llama,
        hidden: 2048,
        feed_forward: 8192,
        layers: 16,
        heads: 32,
        kv_heads: 8,
        vocabulary: 128_256,
        context: 131_072,
        rope_base: 500_000.0,
        epsilon: 1e-5,
    },
    Shape {
        name: "bitnet-2b4t",
        architecture: Architecture::BitNet,
        hidden: 2560,
        feed_forward: 6912,
        layers: 30,
        heads: 20,
        kv_heads: 5,
        vocabulary: 128_256,
        context: 4096,
        rope_base: 500_000.0,
        epsilon: 1e-5,
    },
    Shape {
        name: "ifairy-700m",
        architecture: Architecture::IFairy,
        hidden: 1536,
        feed_forward: 4096,
        layers: 24,
        heads: 16,
        kv_heads: 16,
        vocabulary: 32000,
        context: 2048,
        rope_base: 10_000.0,
        epsilon: 1e-5,
    },
];
