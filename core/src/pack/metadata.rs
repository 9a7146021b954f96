//! A model's shape as GGUF metadata.

use crate::Result;
use crate::gguf::Writer;
use crate::transformer::{Architecture, Config};

/// The version of the packed layout, in the metadata of files that have packed tensors.
pub(super) const LAYOUT_VERSION: u32 = 1;
pub(super) const LAYOUT_VERSION_KEY: &str = "halfpi.layout_version";

/// Sets the keys that [`read_config`](crate::model::read_config) reads.
pub(super) fn set_config(writer: &mut Writer, config: &Config) -> Result<()> {
    let key = |suffix: &str| format!("{}.{suffix}", config.architecture.name());
    // Files count channels, a config floats.
    let floats = if config.architecture.is_complex() { 2 } else { 1 };
    for (suffix, value) in [
        ("block_count", config.block_count),
        ("context_length", config.context_length),
        ("embedding_length", config.embedding_length / floats),
        ("feed_forward_length", config.feed_forward_length / floats),
        ("attention.head_count", config.head_count),
        ("attention.head_count_kv", config.head_count_kv),
        ("attention.key_length", config.head_dim / floats),
        ("attention.value_length", config.head_dim / floats),
        ("rope.dimension_count", config.rope_dimension_count / floats),
        ("vocab_size", config.vocab_size),
    ] {
        writer.set(&key(suffix), value as u32)?;
    }
    writer.set(&key("attention.layer_norm_rms_epsilon"), config.layer_norm_rms_epsilon)?;
    writer.set(&key("rope.freq_base"), config.rope_freq_base)?;
    if config.rope_scale != 1.0 {
        writer.set(&key("rope.scaling.type"), "linear")?;
        writer.set(&key("rope.scaling.factor"), config.rope_scale)?;
    }
    if matches!(config.architecture, Architecture::BitNet | Architecture::IFairy) {
        // Without it llama.cpp takes SiLU.
        writer.set(&key("hidden_activation"), "relu2")?;
    }
    Ok(())
}
