//! A directory as the Hugging Face hub has them, with the weights as floats: for further training, elsewhere or here.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use half::{bf16, f16};
use halfpi::gguf::AtomicFile;
use halfpi::pack::{Blueprint, PackError, Source, TensorShape, hub_name};
use halfpi::transformer::{Architecture, Config};
use halfpi_kernels::format::Float;
use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use super::tensor_file::{self, Entry, Sink};
use super::{OutputError, Weights};
use crate::{Result, TrainError};

/// Not a tensor of the hub's, but a consequence of `config.json`.
const ROPE_FREQS: &str = "rope_freqs.weight";
/// What a directory may have beside its weights and its configuration.
const COMPANIONS: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
];
/// Where an old checkpoint may say that its weights are in several files.
const INDEX: &str = "model.safetensors.index.json";

/// Writes the model into `directory`: `config.json`, `model.safetensors` with the hub's names and order of rows, and the
/// tokenizer's files. Each file appears when it is complete, the weights last.
///
/// `original` is the directory of the hub that the model came from, if it did: its `config.json` (but for what has changed)
/// and its tokenizer's files are taken. Otherwise both are made from the blueprint; where the tokenizer cannot be, a
/// `README.md` says so.
///
/// Reading the directory again gives the same weights, to the bit if `float` is f32; only [`Source`] rounds a BitNet's to
/// ternary ones again, by the scale that they have on average.
///
/// # Errors
/// [`OutputError`] for what the hub has no way to say, [`PackError`] for weights that are too large for f16, and
/// [`halfpi::Error`] if the files cannot be written.
pub fn write_hub<W: Weights + ?Sized>(
    weights: &W,
    blueprint: &Blueprint,
    float: Float,
    original: Option<&Path>,
    directory: &Path,
) -> Result<()> {
    let config = blueprint.config();
    let architecture = config.architecture;
    if architecture.is_complex() {
        let architecture = architecture.name();
        return Err(OutputError::Architecture { architecture }.into());
    }
    let index = directory.join(INDEX);
    if index.exists() {
        return Err(OutputError::InUse { path: index }.into());
    }
    fs::create_dir_all(directory).map_err(|source| io(directory, source))?;
    let shapes = weights.shapes()?;
    let rope_freqs = shapes.iter().find(|shape| shape.name == ROPE_FREQS);
    let rope_freqs = rope_freqs.map(|shape| weights.read(shape)).transpose()?;

    write_companions(blueprint, original, directory)?;
    let settings = match original {
        Some(original) => read_config(original)?,
        None => config_of(config, rope_freqs.as_deref()),
    };
    let settings = with_weights(settings, blueprint, &shapes, float);
    write_text(&directory.join("config.json"), &pretty(&settings))?;
    write_weights(weights, config, &shapes, float, &directory.join("model.safetensors"))?;

    // What config.json could not say would be another model without notice.
    let written = Source::open(directory)?;
    let not_said = |what| OutputError::NotSaid {
        path: directory.to_owned(),
        what,
    };
    if written.config()? != *config {
        return Err(not_said("config.json").into());
    }
    if rope_freqs.is_some_and(|freqs| !written.read(ROPE_FREQS).is_ok_and(|found| found == freqs)) {
        return Err(not_said("the scaling of the rotary frequencies").into());
    }
    Ok(())
}

fn write_companions(blueprint: &Blueprint, original: Option<&Path>, directory: &Path) -> Result<()> {
    if let Some(original) = original {
        for name in COMPANIONS {
            match fs::read(original.join(name)) {
                Ok(bytes) => write_text(&directory.join(name), &bytes)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(io(&original.join(name), error)),
            }
        }
        return Ok(());
    }
    match blueprint.tokenizer_files()? {
        Some(files) => files
            .iter()
            .try_for_each(|(name, value)| write_text(&directory.join(name), &pretty(value))),
        None => write_text(
            &directory.join("README.md"),
            b"The tokenizer is not here: the GGUF file that this model came from does not say enough for a\n\
              tokenizer.json. Take tokenizer.json and tokenizer_config.json from the original model.\n",
        ),
    }
}

fn read_config(original: &Path) -> Result<Value> {
    let path = original.join("config.json");
    let text = fs::read(&path).map_err(|source| io(&path, source))?;
    serde_json::from_slice(&text).map_err(|source| halfpi::Error::from(PackError::Json { path, source }).into())
}

/// The configuration with what these weights make different.
fn with_weights(mut settings: Value, blueprint: &Blueprint, shapes: &[TensorShape], float: Float) -> Value {
    let dtype = match float {
        Float::F32 => "float32",
        Float::F16 => "float16",
        Float::Bf16 => "bfloat16",
    };
    let has = |name: &str| shapes.iter().any(|shape| shape.name == name);
    settings["vocab_size"] = json!(blueprint.config().vocab_size);
    settings["tie_word_embeddings"] = json!(!has("output.weight"));
    settings["torch_dtype"] = json!(dtype);
    if blueprint.config().architecture == Architecture::Llama && has("blk.0.attn_q.bias") {
        settings["attention_bias"] = json!(true);
    }
    if let Some(settings) = settings.as_object_mut() {
        // Transformers 5's name of torch_dtype, and what the original's weights were packed as.
        settings.remove("dtype");
        settings.remove("quantization_config");
    }
    settings
}

fn config_of(config: &Config, rope_freqs: Option<&[f32]>) -> Value {
    let (class, model_type, activation) = match config.architecture {
        Architecture::Llama => ("LlamaForCausalLM", "llama", "silu"),
        Architecture::Qwen2 => ("Qwen2ForCausalLM", "qwen2", "silu"),
        Architecture::Qwen3 => ("Qwen3ForCausalLM", "qwen3", "silu"),
        Architecture::BitNet => ("BitNetForCausalLM", "bitnet", "relu2"),
        Architecture::IFairy => ("ComplexNetLM", "ifairy", "relu2"),
    };
    let rope_scaling = match rope_freqs {
        // Llama 3's own numbers; of others the file says too little, and reading the directory shows it.
        Some(factors) => json!({
            "rope_type": "llama3",
            "factor": factors.iter().copied().fold(1.0, f32::max),
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192
        }),
        None if config.rope_scale != 1.0 => json!({ "rope_type": "linear", "factor": config.rope_scale }),
        None => Value::Null,
    };
    json!({
        "architectures": [class],
        "model_type": model_type,
        "hidden_size": config.embedding_length,
        "intermediate_size": config.feed_forward_length,
        "num_hidden_layers": config.block_count,
        "num_attention_heads": config.head_count,
        "num_key_value_heads": config.head_count_kv,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.layer_norm_rms_epsilon,
        "rope_theta": config.rope_freq_base,
        "rope_scaling": rope_scaling,
        "hidden_act": activation
    })
}

fn write_weights<W: Weights + ?Sized>(
    weights: &W,
    config: &Config,
    shapes: &[TensorShape],
    float: Float,
    path: &Path,
) -> Result<()> {
    let dtype = match float {
        Float::F32 => Dtype::F32,
        Float::F16 => Dtype::F16,
        Float::Bf16 => Dtype::BF16,
    };
    let entry = |shape: &TensorShape| {
        let name = hub_name(&shape.name).ok_or_else(|| OutputError::NoHubName {
            name: shape.name.clone(),
        })?;
        let lengths = [shape.rows, shape.cols];
        Ok(Entry {
            name,
            dtype,
            shape: lengths[usize::from(shape.is_vector)..].to_vec(),
            from: shape.clone(),
        })
    };
    let tensors = shapes.iter().filter(|shape| shape.name != ROPE_FREQS).map(entry);
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    tensor_file::write(path, metadata, tensors, |entry, sink| {
        let values = weights.read(&entry.from)?;
        write_rows(&entry.from, &values, config, float, sink)
    })
}

/// Writes the rows in the hub's order.
fn write_rows(shape: &TensorShape, values: &[f32], config: &Config, float: Float, sink: Sink<'_>) -> Result<()> {
    let is_turned = [".attn_q.", ".attn_k."].iter().any(|part| shape.name.contains(part));
    let is_turned = is_turned && config.architecture == Architecture::Llama;
    // The rows of a bias are its numbers.
    let cols = if shape.is_vector && is_turned {
        1
    } else {
        shape.cols.max(1)
    };
    let (rows, head_dim) = (values.len() / cols, config.head_dim.max(2));
    let mut bytes = Vec::with_capacity(4 * cols);
    for row in 0..rows {
        // Rows of a head that turn together are neighbours in GGUF, and half a head apart here.
        let (head, i) = (row / head_dim * head_dim, row % head_dim);
        let from = if is_turned {
            head + 2 * (i % (head_dim / 2)) + i / (head_dim / 2)
        } else {
            row
        };
        let weights = values.get(from * cols..(from + 1) * cols).unwrap_or_default();
        bytes.clear();
        for &weight in weights {
            let stored = match float {
                Float::F32 => {
                    bytes.extend(weight.to_le_bytes());
                    weight
                }
                Float::F16 => {
                    bytes.extend(f16::from_f32(weight).to_le_bytes());
                    f16::from_f32(weight).to_f32()
                }
                Float::Bf16 => {
                    bytes.extend(bf16::from_f32(weight).to_le_bytes());
                    bf16::from_f32(weight).to_f32()
                }
            };
            if !stored.is_finite() {
                let name = shape.name.clone();
                let error = if weight.is_finite() {
                    PackError::Overflow {
                        name,
                        row: from,
                        weight,
                    }
                } else {
                    PackError::NotFinite { name, row: from }
                };
                return Err(halfpi::Error::from(error).into());
            }
        }
        sink(&bytes)?;
    }
    Ok(())
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn write_text(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(halfpi::Error::Write)?;
    Ok(file.commit()?)
}

fn io(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io {
        path: path.to_owned(),
        source,
    }
}
