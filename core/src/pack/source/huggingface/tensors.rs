//! Which tensors a checkpoint must have, and what each is called in GGUF.

use std::borrow::Cow;
use std::collections::HashSet;

use super::super::{ComplexWeights, SourceTensor, Transform, Weights, dequantize};
use super::PackError;
use super::config::ModelConfig;
use super::names::hub_name;
use super::safetensors::{Shards, Tensor};
use crate::Result;
use crate::gguf::GgmlType;
use crate::transformer::Architecture;

/// All tensors of the model, in the order that the transformer uses them.
///
/// # Errors
/// [`PackError`] for the first tensor that is missing, misshapen, of a type that holds no floats, or unknown: one that
/// nothing here reads would change the results without notice.
pub(super) fn tensors<'a>(model: &ModelConfig, shards: &'a Shards) -> Result<Vec<SourceTensor<'a>>> {
    let mut import = Import {
        model,
        shards,
        used: HashSet::new(),
        tensors: Vec::new(),
    };
    import.all()?;
    // The rotary frequencies of old checkpoints follow from the base, and a tied output is the embedding again.
    let known = |name: &&str| name.ends_with(".rotary_emb.inv_freq") || model.tied && *name == "lm_head.weight";
    let unused = shards.names().find(|name| !import.used.contains(*name) && !known(name));
    match unused {
        None => Ok(import.tensors),
        Some(name) => Err(PackError::UnusedTensor {
            name: name.to_owned(),
            architecture: model.config.architecture.name(),
        }
        .into()),
    }
}

pub(super) struct Import<'m, 'a> {
    pub model: &'m ModelConfig,
    pub shards: &'a Shards,
    used: HashSet<String>,
    pub tensors: Vec<SourceTensor<'a>>,
}

impl<'a> Import<'_, 'a> {
    fn all(&mut self) -> Result<(), PackError> {
        let config = self.model.config;
        if config.architecture.is_complex() {
            return self.all_complex();
        }
        let (d, vocab) = (config.embedding_length, config.vocab_size);
        self.add("token_embd.weight", &[vocab, d], Transform::None)?;
        for block in 0..config.block_count {
            self.block(block)?;
        }
        // Only now is it certain that a head is as long as config.json says.
        self.rope_freqs()?;
        self.add("output_norm.weight", &[d], Transform::None)?;
        if !self.model.tied {
            self.add("output.weight", &[vocab, d], Transform::None)?;
        }
        Ok(())
    }

    fn block(&mut self, block: usize) -> Result<(), PackError> {
        let config = self.model.config;
        let (d, ff) = (config.embedding_length, config.feed_forward_length);
        let (q, kv, head_dim) = (config.query_length(), config.kv_length(), config.head_dim);
        let rope = match config.architecture {
            Architecture::Llama => Transform::RopePairs { head_dim },
            Architecture::Qwen2 | Architecture::Qwen3 | Architecture::BitNet | Architecture::IFairy => Transform::None,
        };
        let mut add = |to: &str, shape: &[usize], transform| self.add(&format!("blk.{block}.{to}"), shape, transform);
        add("attn_norm.weight", &[d], Transform::None)?;
        add("attn_q.weight", &[q, d], rope)?;
        add("attn_k.weight", &[kv, d], rope)?;
        add("attn_v.weight", &[kv, d], Transform::None)?;
        add("attn_output.weight", &[d, q], Transform::None)?;
        add("ffn_norm.weight", &[d], Transform::None)?;
        add("ffn_gate.weight", &[ff, d], Transform::None)?;
        add("ffn_up.weight", &[ff, d], Transform::None)?;
        add("ffn_down.weight", &[d, ff], Transform::None)?;
        if config.architecture == Architecture::Qwen3 {
            add("attn_q_norm.weight", &[head_dim], Transform::None)?;
            add("attn_k_norm.weight", &[head_dim], Transform::None)?;
        }
        // BitNet always has these, others where they were trained so.
        let first_norm = hub_name(&format!("blk.{block}.attn_sub_norm.weight")).unwrap_or_default();
        if config.architecture == Architecture::BitNet || self.shards.contains(&first_norm) {
            self.add(&format!("blk.{block}.attn_sub_norm.weight"), &[q], Transform::None)?;
            self.add(&format!("blk.{block}.ffn_sub_norm.weight"), &[ff], Transform::None)?;
        }
        // Qwen2 always has these, some llamas do.
        let first_bias = hub_name(&format!("blk.{block}.attn_q.bias")).unwrap_or_default();
        if config.architecture == Architecture::Qwen2 || self.shards.contains(&first_bias) {
            for (name, len, transform) in [
                ("attn_q.bias", q, rope),
                ("attn_k.bias", kv, rope),
                ("attn_v.bias", kv, Transform::None),
            ] {
                self.add(&format!("blk.{block}.{name}"), &[len], transform)?;
            }
        }
        Ok(())
    }

    /// iFairy: complex tensors are two real ones. Lengths below count complex numbers, which are two floats in `config`.
    fn all_complex(&mut self) -> Result<(), PackError> {
        let config = self.model.config;
        let (vocab, d, ff) = (
            config.vocab_size,
            config.embedding_length / 2,
            config.feed_forward_length / 2,
        );
        let (q, kv) = (config.query_length() / 2, config.kv_length() / 2);
        let part = |part| format!("token_embeddings_{part}.weight");
        self.add_complex("token_embd.weight", ["real", "imag"].map(part), &[vocab, d])?;
        for block in 0..config.block_count {
            for (to, from, shape) in [
                ("attn_norm", "pre_layernorm", &[d][..]),
                ("attn_q", "self_attn.q_proj", &[q, d]),
                ("attn_k", "self_attn.k_proj", &[kv, d]),
                ("attn_v", "self_attn.v_proj", &[kv, d]),
                ("attn_sub_norm", "self_attn.attn_layernorm", &[q]),
                ("attn_output", "self_attn.o_proj", &[d, q]),
                ("ffn_norm", "post_layernorm", &[d]),
                ("ffn_gate", "mlp.gate_proj", &[ff, d]),
                ("ffn_up", "mlp.up_proj", &[ff, d]),
                ("ffn_sub_norm", "mlp.ffn_layernorm", &[ff]),
                ("ffn_down", "mlp.down_proj", &[d, ff]),
            ] {
                let part = |part| format!("layer.{block}.{from}.weight_{part}");
                self.add_complex(&format!("blk.{block}.{to}.weight"), ["real", "imag"].map(part), shape)?;
            }
        }
        let part = |part| format!("final_norm.weight_{part}");
        self.add_complex("output_norm.weight", ["real", "imag"].map(part), &[d])?;
        self.add("output.weight", &[vocab, 2 * d], Transform::None)
    }

    /// Adds a tensor of complex numbers; `shape` is that of either part.
    fn add_complex(&mut self, to: &str, from: [String; 2], shape: &[usize]) -> Result<(), PackError> {
        let [re, im] = &from;
        let (re, im) = (self.take(re, shape)?, self.take(im, shape)?);
        if re.ty != im.ty {
            let [name, other] = from;
            return Err(PackError::Parts { name, other });
        }
        let (parts, cols) = ([re.data, im.data], shape.last().copied().unwrap_or(1));
        let rows = shape.iter().product::<usize>() / cols.max(1);
        let is_linear = shape.len() == 2 && to.starts_with("blk.");
        let (weights, dims) = if is_linear {
            let weights = ComplexWeights::phases(re.ty, parts, rows, cols);
            parts.iter().for_each(|part| self.shards.release(part));
            (weights, vec![cols as u64, 2 * rows as u64])
        } else {
            let dims = [2 * cols, rows].map(|length| length as u64);
            let weights = ComplexWeights::columns(re.ty, parts, rows, cols);
            (weights, dims[..shape.len()].to_vec())
        };
        let tensor = SourceTensor::new(to, &dims, Weights::Complex(weights))?;
        self.tensors.push(SourceTensor {
            is_complex: is_linear,
            ..tensor
        });
        Ok(())
    }

    /// A tensor that must be there with this shape (rows first, as checkpoints have it).
    pub fn take(&mut self, from: &str, shape: &[usize]) -> Result<Tensor<'a>, PackError> {
        let found = self.shards.tensor(from)?;
        let tensor = found.ok_or_else(|| self.missing(from))?;
        self.found(from, shape, tensor.shape)?;
        Ok(tensor)
    }

    /// The same for a tensor of bytes.
    pub fn take_bytes(&mut self, from: &str, shape: &[usize]) -> Result<&'a [u8], PackError> {
        let (found, data) = self.shards.bytes(from).ok_or_else(|| self.missing(from))?;
        self.found(from, shape, found)?;
        Ok(data)
    }

    fn missing(&self, from: &str) -> PackError {
        PackError::MissingTensor {
            name: from.to_owned(),
            path: self.shards.directory().to_owned(),
        }
    }

    fn found(&mut self, from: &str, expected: &[usize], found: &[usize]) -> Result<(), PackError> {
        if found != expected {
            return Err(PackError::TensorShape {
                name: from.to_owned(),
                expected: expected.to_vec(),
                found: found.to_vec(),
            });
        }
        self.used.insert(from.to_owned());
        Ok(())
    }

    /// Adds a tensor that must be there with this shape.
    fn add(&mut self, to: &str, shape: &[usize], transform: Transform) -> Result<(), PackError> {
        let from = &hub_name(to).unwrap_or_default();
        let is_linear = to.starts_with("blk.");
        if let &[rows, cols] = shape
            && is_linear
            && self.shards.bytes(from).is_some()
        {
            return self.add_ternary(to, from, [rows, cols], transform);
        }
        let tensor = self.take(from, shape)?;
        let is_linear = is_linear && shape.len() == 2;
        let transform = match self.model.config.architecture {
            Architecture::BitNet if is_linear => {
                let scale = ternary_scale(&tensor);
                self.shards.release(tensor.data);
                Transform::Ternary { scale }
            }
            _ => transform,
        };
        let dims: Vec<u64> = shape.iter().rev().map(|&length| length as u64).collect();
        let weights = Weights::Blocks {
            ty: tensor.ty,
            data: Cow::Borrowed(tensor.data),
        };
        let mut tensor = SourceTensor::new(to, &dims, weights)?;
        if shape.len() == 1 && transform != Transform::None {
            // The rows of a bias are its numbers.
            (tensor.rows, tensor.cols) = (tensor.cols, 1);
        }
        tensor.transform = transform;
        self.tensors.push(tensor);
        Ok(())
    }

    fn rope_freqs(&mut self) -> Result<(), PackError> {
        let Some(rope) = self.model.llama3_rope else {
            return Ok(());
        };
        let config = self.model.config;
        let factors = rope.factors(config.rope_freq_base, config.head_dim);
        let data: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
        let weights = Weights::Blocks {
            ty: GgmlType::F32,
            data: Cow::Owned(data),
        };
        let tensor = SourceTensor::new("rope_freqs.weight", &[factors.len() as u64], weights)?;
        self.tensors.push(tensor);
        Ok(())
    }
}

/// The mean magnitude of all weights, which BitNet b1.58 rounds them by (Ma et al. 2024).
fn ternary_scale(tensor: &Tensor<'_>) -> f32 {
    let count: usize = tensor.shape.iter().product();
    let mut row = vec![0.0; tensor.shape.last().copied().unwrap_or(1)];
    let row_bytes = row.len() * tensor.ty.block_bytes() as usize;
    let mut sum = 0.0;
    for bytes in tensor.data.chunks_exact(row_bytes) {
        dequantize::row(tensor.ty, bytes, &mut row);
        sum += row.iter().map(|&weight| f64::from(weight.abs())).sum::<f64>();
    }
    f64::max(sum / count as f64, 1e-5) as f32
}
