use super::ModelError;
use crate::Result;
use crate::gguf::{GgmlType, Gguf, GgufError};
use crate::transformer::{Architecture, Config, MAX_POSITIONS};
use halfpi_kernels::format::Packed;
use std::fmt::Display;

/// No model has more of anything that is counted here; products of two stay far from overflow.
const MOST: usize = 1 << 22;

/// The model's shape, from its metadata.
///
/// # Errors
/// [`GgufError`](crate::gguf::GgufError) for missing keys or keys of the wrong type, [`ModelError`] for an unknown
/// architecture or values that no model can have.
pub fn read_config(gguf: &Gguf<'_>) -> Result<Config> {
    read_metadata(gguf, vocab_size)
}

/// The same of metadata without tensors: `vocab_size` gives the rows of the embedding.
pub(crate) fn read_metadata(
    gguf: &Gguf<'_>,
    vocab_size: impl FnOnce(&Gguf<'_>) -> Result<usize, ModelError>,
) -> Result<Config> {
    if let Some(count) = gguf.opt_u32("split.count")?.filter(|&count| count > 1) {
        return Err(ModelError::Split { count }.into());
    }
    let name = gguf.str("general.architecture")?;
    // BitNet's own converter calls its 2B4T model so, and its predecessor of April 2025 the other.
    let is_bitnet = matches!(name, "bitnet-b1.58" | "bitnet-25");
    let architecture = Architecture::from_name(if is_bitnet { "bitnet" } else { name });
    let architecture = architecture.ok_or_else(|| ModelError::Architecture { name: name.to_owned() })?;
    let key = |suffix: &str| format!("{name}.{suffix}");
    let optional = |suffix: &str| {
        let value = gguf.opt_u32(&key(suffix))?.map(|value| value as usize);
        if let Some(value) = value {
            check((1..=MOST).contains(&value), &key(suffix), value, "from 1 to 2^22")?;
        }
        Ok::<_, crate::Error>(value)
    };
    let required = |suffix: &str| {
        let missing = || GgufError::MissingKey { key: key(suffix) };
        Ok::<_, crate::Error>(optional(suffix)?.ok_or_else(missing)?)
    };
    // Complex channels are two floats each.
    let floats = if architecture.is_complex() { 2 } else { 1 };
    let length = |suffix: &str| Ok::<_, crate::Error>(required(suffix)? * floats);
    let optional_length = |suffix: &str| Ok::<_, crate::Error>(optional(suffix)?.map(|value| value * floats));

    let block_count = required("block_count")?;
    let embedding_length = length("embedding_length")?;
    let feed_forward_length = length("feed_forward_length")?;
    let head_count = required("attention.head_count")?;
    let head_count_kv = optional("attention.head_count_kv")?.unwrap_or(head_count);
    let whole = head_count.is_multiple_of(head_count_kv);
    check(
        whole,
        &key("attention.head_count_kv"),
        head_count_kv,
        "a divisor of the query heads",
    )?;
    let head_dim = optional_length("attention.key_length")?.unwrap_or(embedding_length / head_count);
    let good = head_dim.is_multiple_of(16) && (16..=512).contains(&head_dim);
    check(
        good,
        &key("attention.key_length"),
        head_dim,
        "a multiple of 16 floats, at most 512",
    )?;
    if let Some(value_length) = optional_length("attention.value_length")? {
        check(
            value_length == head_dim,
            &key("attention.value_length"),
            value_length,
            "the key length",
        )?;
    }
    let experts = gguf.opt_u32(&key("expert_count"))?.unwrap_or(0);
    check(
        experts == 0,
        &key("expert_count"),
        experts,
        "mixtures of experts are not supported",
    )?;

    if let Some(activation) = gguf.opt_str(&key("hidden_activation"))? {
        let expected = match architecture {
            Architecture::BitNet | Architecture::IFairy => "relu2",
            Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => "silu",
        };
        let good = activation == expected;
        check(
            good,
            &key("hidden_activation"),
            activation,
            "relu2 for bitnet and ifairy, silu for the others",
        )?;
    }

    // Attention within a sliding window is plain attention as long as the context is no longer than the window.
    let window = gguf
        .opt_u32(&key("attention.sliding_window"))?
        .filter(|&window| window > 0);
    let context_length = gguf.u32(&key("context_length"))?;
    check(context_length > 0, &key("context_length"), context_length, "at least 1")?;
    let context_length = context_length.min(window.unwrap_or(u32::MAX)) as usize;

    let vocab_size = vocab_size(gguf)?;

    let epsilon = gguf.f32(&key("attention.layer_norm_rms_epsilon"))?;
    let good = epsilon.is_finite() && epsilon > 0.0;
    check(
        good,
        &key("attention.layer_norm_rms_epsilon"),
        epsilon,
        "a small positive number",
    )?;
    let rope_freq_base = gguf.opt_f32(&key("rope.freq_base"))?.unwrap_or(10_000.0);
    check(
        rope_freq_base.is_finite() && rope_freq_base > 1.0,
        &key("rope.freq_base"),
        rope_freq_base,
        "above 1",
    )?;
    let rope_dimension_count = optional_length("rope.dimension_count")?.unwrap_or(head_dim);
    // Every complex channel turns: there is no other pair for it.
    let least = if architecture.is_complex() { head_dim } else { 2 };
    let good = rope_dimension_count.is_multiple_of(2) && (least..=head_dim).contains(&rope_dimension_count);
    check(
        good,
        &key("rope.dimension_count"),
        rope_dimension_count,
        "even and at most the head's length, or just that for ifairy",
    )?;

    Ok(Config {
        architecture,
        block_count,
        embedding_length,
        feed_forward_length,
        head_count,
        head_count_kv,
        head_dim,
        vocab_size,
        context_length: context_length.min(MAX_POSITIONS),
        layer_norm_rms_epsilon: epsilon,
        rope_freq_base,
        rope_scale: rope_scale(gguf, name)?,
        rope_dimension_count,
    })
}

/// The rows of the embedding matrix, which a packed one keeps in its header.
fn vocab_size(gguf: &Gguf<'_>) -> Result<usize, ModelError> {
    let name = "token_embd.weight";
    let tensor = gguf.tensor(name);
    let tensor = tensor.ok_or(ModelError::MissingTensor { name: name.into() })?;
    let rows = match tensor.ty {
        GgmlType::I8 => {
            let packed = Packed::from_file_bytes(gguf.data(tensor));
            let packed = packed.map_err(|source| ModelError::Format {
                name: name.into(),
                source,
            })?;
            packed.rows() as u64
        }
        _ => tensor.rows(),
    };
    let rows_u32 = u32::try_from(rows).map_err(|_| ModelError::Value {
        key: name.into(),
        value: rows.to_string(),
        expected: "at most 2^32 tokens",
    })?;
    Ok(rows_u32 as usize)
}

/// The divisor of positions under linear scaling, 1 without. (Llama 3's scaling comes as `rope_freqs.weight`.)
fn rope_scale(gguf: &Gguf<'_>, name: &str) -> Result<f32> {
    let key = format!("{name}.rope.scaling.type");
    let (factor, old_factor) = (
        format!("{name}.rope.scaling.factor"),
        format!("{name}.rope.scale_linear"),
    );
    let scale = match gguf.opt_str(&key)? {
        None | Some("linear") => gguf.opt_f32(&factor)?.or(gguf.opt_f32(&old_factor)?).unwrap_or(1.0),
        Some("none" | "llama3") => 1.0,
        Some(other) => {
            let expected = "none, linear or llama3: other scalings are not supported";
            return Err(ModelError::Value {
                key,
                value: other.to_owned(),
                expected,
            }
            .into());
        }
    };
    check(scale.is_finite() && scale > 0.0, &factor, scale, "a positive factor")?;
    Ok(scale)
}

fn check(good: bool, key: &str, value: impl Display, expected: &'static str) -> Result<(), ModelError> {
    if good {
        Ok(())
    } else {
        Err(ModelError::Value {
            key: key.to_owned(),
            value: value.to_string(),
            expected,
        })
    }
}
