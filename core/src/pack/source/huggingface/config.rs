//! `config.json`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::bitlinear::{BitLinear, RawQuantization};
use super::{PackError, read_json, required};
use crate::Result;
use crate::gguf::{Gguf, Writer};
use crate::model::read_metadata;
use crate::pack::metadata::set_config;
use crate::transformer::{Architecture, Config};

/// What the importer needs of a checkpoint's `config.json`.
pub(super) struct ModelConfig {
    pub config: Config,
    /// Whether the embedding matrix is the output matrix too.
    pub tied: bool,
    /// Positions that attention looks back, if there is a limit.
    pub sliding_window: Option<u32>,
    /// Llama 3's change of the rotary frequencies.
    pub llama3_rope: Option<Llama3Rope>,
    /// What the scales of packed ternary weights do, if it says so.
    pub bit_linear: Option<BitLinear>,
    pub special: SpecialTokens,
}

/// Token ids that a configuration names; the tokenizer's own files come first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpecialTokens {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub pad: Option<u32>,
}

/// Long wavelengths are stretched by `factor`, short ones stay, and those between are blended (transformers'
/// `_compute_llama3_parameters`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Llama3Rope {
    factor: f32,
    low_freq_factor: f32,
    high_freq_factor: f32,
    original_context: f32,
}

/// The keys that are read. What is not here has no influence on the results of the supported architectures.
#[derive(Deserialize)]
struct Raw {
    architectures: Option<Vec<String>>,
    hidden_size: Option<u32>,
    intermediate_size: Option<u32>,
    num_hidden_layers: Option<u32>,
    num_attention_heads: Option<u32>,
    num_key_value_heads: Option<u32>,
    head_dim: Option<u32>,
    vocab_size: Option<u32>,
    max_position_embeddings: Option<u32>,
    rms_norm_eps: Option<f32>,
    rope_theta: Option<f32>,
    rope_scaling: Option<RawRope>,
    /// What transformers 5 calls it.
    rope_parameters: Option<RawRope>,
    partial_rotary_factor: Option<f32>,
    hidden_act: Option<String>,
    tie_word_embeddings: Option<bool>,
    sliding_window: Option<u32>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<RawQuantization>,
    bos_token_id: Option<Value>,
    eos_token_id: Option<Value>,
    pad_token_id: Option<Value>,
}

#[derive(Deserialize)]
struct RawRope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    /// Where transformers 5 writes the base.
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<f32>,
}

impl ModelConfig {
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("config.json");
        let raw = required(path.clone(), read_json::<Raw>(&path)?, "the model's shape")?;
        Ok(Reader { path }.read(raw)?)
    }

    /// Sets what it says of the model's shape.
    pub(super) fn set_metadata(&self, writer: &mut Writer) -> Result<()> {
        let architecture = self.config.architecture.name();
        writer.set("general.architecture", architecture)?;
        set_config(writer, &self.config)?;
        if let Some(window) = self.sliding_window {
            writer.set(&format!("{architecture}.attention.sliding_window"), window)?;
        }
        Ok(())
    }

    /// Refuses a model that would be packed and then not load.
    pub(super) fn check(&self) -> Result<()> {
        let mut writer = Writer::new();
        self.set_metadata(&mut writer)?;
        let metadata = writer.write_header(Vec::new())?.finish()?;
        read_metadata(&Gguf::parse(&metadata)?, |_| Ok(self.config.vocab_size))?;
        Ok(())
    }
}

/// Knows where it reads, for errors.
struct Reader {
    path: PathBuf,
}

impl Reader {
    fn read(&self, raw: Raw) -> Result<ModelConfig, PackError> {
        let architecture = self.architecture(raw.architectures.as_deref().unwrap_or_default())?;
        let (expected, default) = match architecture {
            Architecture::BitNet | Architecture::IFairy => ("relu2", "relu2"),
            _ => ("silu", "silu"),
        };
        let activation = raw.hidden_act.unwrap_or(default.into());
        if activation != expected {
            return Err(self.unsupported("hidden_act", activation, expected));
        }
        if let Some(factor) = raw.partial_rotary_factor.filter(|&factor| factor != 1.0) {
            return Err(self.unsupported("partial_rotary_factor", factor, "1"));
        }

        // Complex channels are two floats each.
        let floats = if architecture.is_complex() { 2 } else { 1 };
        let embedding_length = floats * self.count("hidden_size", raw.hidden_size)?;
        let head_count = self.count("num_attention_heads", raw.num_attention_heads)?;
        let head_dim = match raw.head_dim {
            Some(head_dim) => floats * self.count("head_dim", Some(head_dim))?,
            None => embedding_length / head_count,
        };
        // Also what the permutation of llama's rows stands on.
        if head_dim == 0 || head_dim % 2 != 0 {
            return Err(self.unsupported("head_dim", head_dim, "an even number"));
        }
        let vocab_size = self.count("vocab_size", raw.vocab_size)?;

        let rope = raw.rope_scaling.or(raw.rope_parameters);
        let rope_freq_base = rope.as_ref().and_then(|rope| rope.rope_theta).or(raw.rope_theta);
        let (rope_scale, llama3_rope) = self.rope(rope.as_ref())?;
        let config = Config {
            architecture,
            block_count: self.count("num_hidden_layers", raw.num_hidden_layers)?,
            embedding_length,
            feed_forward_length: floats * self.count("intermediate_size", raw.intermediate_size)?,
            head_count,
            head_count_kv: match raw.num_key_value_heads {
                Some(heads) => self.count("num_key_value_heads", Some(heads))?,
                None => head_count,
            },
            head_dim,
            vocab_size,
            context_length: self.count("max_position_embeddings", raw.max_position_embeddings)?,
            layer_norm_rms_epsilon: self.positive("rms_norm_eps", raw.rms_norm_eps.unwrap_or(1e-6))?,
            rope_freq_base: self.positive("rope_theta", rope_freq_base.unwrap_or(10_000.0))?,
            rope_scale,
            rope_dimension_count: head_dim,
        };

        let id = |value: &Option<Value>| {
            token_ids(value.as_ref())
                .next()
                .filter(|&id| (id as usize) < vocab_size)
        };
        // Qwen's configurations name a window that is not used.
        let has_window = raw.use_sliding_window.unwrap_or(architecture == Architecture::Llama);
        let tied = raw.tie_word_embeddings.unwrap_or(false);
        if tied && architecture.is_complex() {
            return Err(self.unsupported("tie_word_embeddings", tied, "false"));
        }
        Ok(ModelConfig {
            config,
            tied,
            sliding_window: raw.sliding_window.filter(|&window| has_window && window > 0),
            llama3_rope,
            bit_linear: BitLinear::new(raw.quantization_config.as_ref()),
            special: SpecialTokens {
                bos: id(&raw.bos_token_id),
                eos: id(&raw.eos_token_id),
                pad: id(&raw.pad_token_id),
            },
        })
    }

    fn architecture(&self, names: &[String]) -> Result<Architecture, PackError> {
        let name = names.first().map_or("none", |name| name.as_str());
        Ok(match name {
            "LlamaForCausalLM" | "MistralForCausalLM" => Architecture::Llama,
            "Qwen2ForCausalLM" => Architecture::Qwen2,
            "Qwen3ForCausalLM" => Architecture::Qwen3,
            "BitNetForCausalLM" => Architecture::BitNet,
            "ComplexNetLM" => Architecture::IFairy,
            _ => {
                let known = "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, \
                             BitNetForCausalLM or ComplexNetLM";
                return Err(self.unsupported("architectures", name, known));
            }
        })
    }

    /// The divisor of positions, and Llama 3's scaling.
    fn rope(&self, raw: Option<&RawRope>) -> Result<(f32, Option<Llama3Rope>), PackError> {
        let Some(raw) = raw else { return Ok((1.0, None)) };
        let number = |key: &'static str, value: Option<f32>| match value {
            Some(value) => self.positive(key, value),
            None => Err(self.missing(key)),
        };
        match raw.rope_type.as_deref() {
            None | Some("default") => Ok((1.0, None)),
            Some("linear") => Ok((number("rope_scaling.factor", raw.factor)?, None)),
            Some("llama3") => {
                let rope = Llama3Rope {
                    factor: number("rope_scaling.factor", raw.factor)?,
                    low_freq_factor: number("rope_scaling.low_freq_factor", raw.low_freq_factor)?,
                    high_freq_factor: number("rope_scaling.high_freq_factor", raw.high_freq_factor)?,
                    original_context: number(
                        "rope_scaling.original_max_position_embeddings",
                        raw.original_max_position_embeddings,
                    )?,
                };
                if rope.low_freq_factor == rope.high_freq_factor {
                    let expected = "another number than low_freq_factor";
                    return Err(self.unsupported("rope_scaling.high_freq_factor", rope.high_freq_factor, expected));
                }
                Ok((1.0, Some(rope)))
            }
            Some(other) => Err(self.unsupported("rope_scaling.rope_type", other, "default, linear or llama3")),
        }
    }

    /// A length that a GGUF key can hold and that no product of two overflows with.
    fn count(&self, key: &'static str, value: Option<u32>) -> Result<usize, PackError> {
        match value {
            None => Err(self.missing(key)),
            Some(value) if value == 0 || value > 1 << 28 => Err(self.unsupported(key, value, "from 1 to 2^28")),
            Some(value) => Ok(value as usize),
        }
    }

    fn positive(&self, key: &'static str, value: f32) -> Result<f32, PackError> {
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(self.unsupported(key, value, "a positive number"))
        }
    }

    fn missing(&self, key: &'static str) -> PackError {
        PackError::MissingKey {
            path: self.path.clone(),
            key,
        }
    }

    fn unsupported(&self, key: &'static str, value: impl ToString, expected: &'static str) -> PackError {
        PackError::Unsupported {
            path: self.path.clone(),
            key,
            value: value.to_string(),
            expected,
        }
    }
}

/// A token id, or a list of them.
pub(super) fn token_ids(value: Option<&Value>) -> impl Iterator<Item = u32> {
    let list = match value {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    list.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok())
}

impl Llama3Rope {
    /// What each rotary frequency is divided by: `rope_freqs.weight`.
    pub(super) fn factors(&self, base: f32, head_dim: usize) -> Vec<f32> {
        let low_wavelength = self.original_context / self.low_freq_factor;
        let high_wavelength = self.original_context / self.high_freq_factor;
        let factor = |i: usize| {
            let frequency = 1.0 / base.powf((2 * i) as f32 / head_dim as f32);
            let wavelength = 2.0 * std::f32::consts::PI / frequency;
            if wavelength < high_wavelength {
                1.0
            } else if wavelength > low_wavelength {
                self.factor
            } else {
                let smooth = (self.original_context / wavelength - self.low_freq_factor)
                    / (self.high_freq_factor - self.low_freq_factor);
                1.0 / ((1.0 - smooth) / self.factor + smooth)
            }
        };
        (0..head_dim / 2).map(factor).collect()
    }
}
