//! Writes random models as checkpoints of the Hugging Face kind.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use halfpi::gguf::Gguf;
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::transformer::Architecture;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

/// What a directory of the hub holds.
#[derive(Clone)]
pub struct Checkpoint {
    pub config: Value,
    /// Shape (rows first) and floats.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Tensors of bytes.
    pub bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
    pub tokenizer: Value,
    pub tokenizer_config: Value,
    pub generation_config: Option<Value>,
    pub chat_template: Option<String>,
}

/// How the floats are written.
#[derive(Clone, Copy, Debug)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
    I64,
}

/// GGUF's names and transformers'.
const NAMES: [(&str, &str); 16] = [
    ("attn_norm.weight", "input_layernorm.weight"),
    ("ffn_norm.weight", "post_attention_layernorm.weight"),
    ("attn_q.weight", "self_attn.q_proj.weight"),
    ("attn_k.weight", "self_attn.k_proj.weight"),
    ("attn_v.weight", "self_attn.v_proj.weight"),
    ("attn_q.bias", "self_attn.q_proj.bias"),
    ("attn_k.bias", "self_attn.k_proj.bias"),
    ("attn_v.bias", "self_attn.v_proj.bias"),
    ("attn_output.weight", "self_attn.o_proj.weight"),
    ("attn_q_norm.weight", "self_attn.q_norm.weight"),
    ("attn_k_norm.weight", "self_attn.k_norm.weight"),
    ("attn_sub_norm.weight", "self_attn.attn_sub_norm.weight"),
    ("ffn_gate.weight", "mlp.gate_proj.weight"),
    ("ffn_up.weight", "mlp.up_proj.weight"),
    ("ffn_down.weight", "mlp.down_proj.weight"),
    ("ffn_sub_norm.weight", "mlp.ffn_sub_norm.weight"),
];

fn checkpoint_name(name: &str) -> String {
    match name {
        "token_embd.weight" => "model.embed_tokens.weight".into(),
        "output_norm.weight" => "model.norm.weight".into(),
        "output.weight" => "lm_head.weight".into(),
        _ => {
            let (block, rest) = name.strip_prefix("blk.").unwrap().split_once('.').unwrap();
            let (_, rest) = NAMES.iter().find(|(gguf, _)| *gguf == rest).unwrap();
            format!("model.layers.{block}.{rest}")
        }
    }
}

/// The same for the complex family: the name of a part.
fn complex_name(name: &str, part: &str) -> String {
    match name {
        "token_embd.weight" => format!("token_embeddings_{part}.weight"),
        "output_norm.weight" => format!("final_norm.weight_{part}"),
        _ => {
            let (block, rest) = name.strip_prefix("blk.").unwrap().split_once('.').unwrap();
            let rest = match rest {
                "attn_norm.weight" => "pre_layernorm",
                "ffn_norm.weight" => "post_layernorm",
                "attn_sub_norm.weight" => "self_attn.attn_layernorm",
                "ffn_sub_norm.weight" => "mlp.ffn_layernorm",
                _ => {
                    let (_, rest) = NAMES.iter().find(|(gguf, _)| *gguf == rest).unwrap();
                    rest.strip_suffix(".weight").unwrap()
                }
            };
            format!("layer.{block}.{rest}.weight_{part}")
        }
    }
}

/// The real and the imaginary parts of a tensor: its rows' halves, or the first and the last of them if it is one of
/// the linear layers.
fn complex_parts(name: &str, floats: &[f32], cols: usize) -> [Vec<f32>; 2] {
    if name.starts_with("blk.") && floats.len() > cols {
        let (re, im) = floats.split_at(floats.len() / 2);
        return [re.to_vec(), im.to_vec()];
    }
    let part = |first: usize| {
        floats
            .chunks(cols)
            .flat_map(move |row| row[first..first + cols / 2].to_vec())
    };
    [part(0).collect(), part(cols / 2).collect()]
}

impl Checkpoint {
    /// The checkpoint that llama.cpp's converter would make this model's GGUF from.
    pub fn new(model: &SyntheticModel) -> Self {
        let bytes = model.to_bytes().unwrap();
        let gguf = Gguf::parse(&bytes).unwrap();
        let config = &model.config;
        let mut tensors = BTreeMap::new();
        for tensor in gguf.tensors() {
            let data = gguf.data(tensor).chunks_exact(4);
            let mut floats: Vec<f32> = data.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            let is_rotated = [".attn_q.", ".attn_k."].iter().any(|part| tensor.name.contains(part));
            if config.architecture == Architecture::Llama && is_rotated {
                floats = halves(&floats, tensor.columns() as usize, config.head_dim);
            }
            let shape: Vec<usize> = tensor.dims().iter().rev().map(|&dim| dim as usize).collect();
            if config.architecture.is_complex() && tensor.name != "output.weight" {
                let in_rows = tensor.name.starts_with("blk.") && shape.len() == 2;
                let axis = if in_rows { 0 } else { shape.len() - 1 };
                let parts = complex_parts(tensor.name, &floats, tensor.columns() as usize);
                for (part, floats) in ["real", "imag"].into_iter().zip(parts) {
                    let mut shape = shape.clone();
                    shape[axis] /= 2;
                    tensors.insert(complex_name(tensor.name, part), (shape, floats));
                }
                continue;
            }
            tensors.insert(checkpoint_name(tensor.name), (shape, floats));
        }
        let (architecture, activation) = match config.architecture {
            Architecture::Llama => ("LlamaForCausalLM", "silu"),
            Architecture::Qwen2 => ("Qwen2ForCausalLM", "silu"),
            Architecture::Qwen3 => ("Qwen3ForCausalLM", "silu"),
            Architecture::BitNet => ("BitNetForCausalLM", "relu2"),
            Architecture::IFairy => ("ComplexNetLM", "relu2"),
        };
        let channels = if config.architecture.is_complex() { 2 } else { 1 };
        Self {
            config: json!({
                "architectures": [architecture],
                "hidden_size": config.embedding_length / channels,
                "intermediate_size": config.feed_forward_length / channels,
                "num_hidden_layers": config.block_count,
                "num_attention_heads": config.head_count,
                "num_key_value_heads": config.head_count_kv,
                "head_dim": config.head_dim / channels,
                "vocab_size": config.vocab_size,
                "max_position_embeddings": config.context_length,
                "rms_norm_eps": config.layer_norm_rms_epsilon,
                "rope_theta": config.rope_freq_base,
                "rope_scaling": null,
                "hidden_act": activation,
                "tie_word_embeddings": model.tied,
                "torch_dtype": "float32"
            }),
            tensors,
            bytes: BTreeMap::new(),
            tokenizer: tokenizer(&gguf),
            tokenizer_config: json!({
                "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
                "chat_template": gguf.str("tokenizer.chat_template").unwrap()
            }),
            generation_config: None,
            chat_template: None,
        }
    }

    /// Writes all files, the weights in so many parts.
    pub fn write(&self, directory: &Path, dtype: Dtype, shards: usize) {
        let write = |name: &str, value: &Value| fs::write(directory.join(name), value.to_string()).unwrap();
        write("config.json", &self.config);
        write("tokenizer.json", &self.tokenizer);
        write("tokenizer_config.json", &self.tokenizer_config);
        if let Some(config) = &self.generation_config {
            write("generation_config.json", config);
        }
        if let Some(template) = &self.chat_template {
            fs::write(directory.join("chat_template.jinja"), template).unwrap();
        }
        let mut weight_map = Map::new();
        for shard in 0..shards {
            let file = match shards {
                1 => "model.safetensors".to_owned(),
                _ => format!("model-{:05}-of-{shards:05}.safetensors", shard + 1),
            };
            let part = self.tensors.iter().enumerate().filter(|(i, _)| i % shards == shard);
            let floats = part.map(|(_, (name, (shape, floats)))| (name, shape, encode(floats, dtype)));
            let bytes = self.bytes.iter().filter(|_| shard == 0);
            let bytes = bytes.map(|(name, (shape, bytes))| (name, shape, (safetensors::Dtype::U8, bytes.clone())));
            let part: Vec<_> = floats.chain(bytes).collect();
            let views = part.iter().map(|(name, shape, (ty, bytes))| {
                weight_map.insert(name.to_string(), json!(file));
                (name, TensorView::new(*ty, shape.to_vec(), bytes).unwrap())
            });
            let views: Vec<_> = views.collect();
            fs::write(directory.join(&file), safetensors::serialize(views, None).unwrap()).unwrap();
        }
        if shards > 1 {
            write(
                "model.safetensors.index.json",
                &json!({"metadata": {}, "weight_map": weight_map}),
            );
        }
    }
}

/// Undoes what llama.cpp's converter does to the rows of queries and keys: there, `weights.reshape(heads, 2,
/// head_dim / 2, columns).swapaxes(1, 2)` makes neighbours of the rows that lie half a head apart.
fn halves(floats: &[f32], cols: usize, head_dim: usize) -> Vec<f32> {
    let mut out = vec![0.0; floats.len()];
    for (row, from) in floats.chunks_exact(cols).enumerate() {
        let (head, i, j) = (row / head_dim, row % head_dim / 2, row % 2);
        let to = head * head_dim + j * head_dim / 2 + i;
        out[to * cols..][..cols].copy_from_slice(from);
    }
    out
}

fn encode(floats: &[f32], dtype: Dtype) -> (safetensors::Dtype, Vec<u8>) {
    match dtype {
        Dtype::F32 => (
            safetensors::Dtype::F32,
            floats.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Dtype::F16 => (
            safetensors::Dtype::F16,
            floats.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        ),
        Dtype::Bf16 => (
            safetensors::Dtype::BF16,
            floats.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        ),
        Dtype::I64 => (
            safetensors::Dtype::I64,
            floats.iter().flat_map(|&v| (v as i64).to_le_bytes()).collect(),
        ),
    }
}

/// tokenizer.json for the vocabulary of a GGUF.
fn tokenizer(gguf: &Gguf<'_>) -> Value {
    let types = gguf.i32s("tokenizer.ggml.token_type").unwrap();
    let mut vocab = Map::new();
    let mut added = Vec::new();
    for ((id, token), ty) in gguf
        .strings("tokenizer.ggml.tokens")
        .unwrap()
        .iter()
        .enumerate()
        .zip(types)
    {
        match ty {
            1 => drop(vocab.insert(token.into(), json!(id))),
            3 => added.push(json!({"id": id, "content": token, "special": true, "normalized": false})),
            other => panic!("a token of type {other}"),
        }
    }
    let merges = gguf.strings("tokenizer.ggml.merges").unwrap();
    let merges: Vec<Vec<&str>> = merges.iter().map(|merge| merge.split(' ').collect()).collect();
    let byte_level = |use_regex| json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": use_regex});
    let split = |digits| {
        let regex = format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
    };
    let parts = match gguf.str("tokenizer.ggml.pre").unwrap() {
        "smollm" => json!([{"type": "Digits", "individual_digits": true}, byte_level(true)]),
        "qwen2" => json!([split(""), byte_level(false)]),
        "llama-bpe" => json!([split("{1,3}"), byte_level(false)]),
        other => panic!("the pre-tokenizer {other}"),
    };
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts},
        "post_processor": null,
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "byte_fallback": false, "vocab": vocab, "merges": merges}
    })
}
