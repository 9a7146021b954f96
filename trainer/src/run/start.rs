//! The model that a run begins with.

use std::collections::BTreeMap;
use std::path::Path;

use halfpi::pack::{Blueprint, Source, TensorShape, check_shapes, expected_tensors, vocab_size};
use halfpi::tokenizer::Tokenizer;
use halfpi::transformer::{Architecture, Config};
use sha2::{Digest, Sha256};

use super::options::{Shape, Start};
use crate::distill::Teacher;
use crate::model::{Initial, Transformer, random};
use crate::tensor::{AutodiffBackend, Backend, Tensor, matrix, values};
use crate::{Parameters, Result, TrainError};

/// What rotary frequencies are divided by (Llama 3.1 and later).
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// A model before its training.
pub(super) struct Beginning<B: AutodiffBackend> {
    pub blueprint: Blueprint,
    /// What its file has, in its order.
    pub tensors: Vec<TensorShape>,
    pub parameters: Parameters<B>,
    /// What rotary frequencies are divided by, if the model has that.
    pub rope_factors: Vec<f32>,
}

impl<B: AutodiffBackend> Beginning<B> {
    /// Adds a norm before each matrix that leads back into the residual stream and has none: SubLN, with which models of few
    /// bits train better (BitNet b1.58 2B4T, arXiv:2504.12285, section 2; BitNet Distillation, arXiv:2510.13998, section
    /// 3.1). A model that had none computes something else then, which training has to mend.
    pub fn add_sub_norms(&mut self, device: &B::Device) {
        for (matrix_end, norm_end) in [
            ("attn_output.weight", "attn_sub_norm.weight"),
            ("ffn_down.weight", "ffn_sub_norm.weight"),
        ] {
            let mut at = 0;
            while let Some(tensor) = self.tensors.get(at) {
                let (cols, norm) = (tensor.cols, tensor.name.strip_suffix(matrix_end));
                let norm = norm.map(|layer| format!("{layer}{norm_end}"));
                if let Some(norm) = norm.filter(|norm| self.parameters.get(norm).is_none()) {
                    self.parameters
                        .insert(norm.clone(), matrix(vec![1.0; cols], [1, cols], device));
                    self.tensors.insert(at, TensorShape::vector(norm, cols));
                    at += 1;
                }
                at += 1;
            }
        }
    }
}

/// Tokenizer, template and shape of the model, without its weights.
pub(super) fn blueprint(start: &Start) -> Result<Blueprint> {
    Ok(match start {
        Start::Model(path) => Blueprint::of(&Source::open(path)?)?,
        Start::New { shape, tokenizer } => Blueprint::new(&shape.config(tokenizer)?, tokenizer)?,
    })
}

/// Reads or makes the model. `each` is called after every tensor, which it may take out of the parameters.
pub(super) fn begin<B: AutodiffBackend>(
    start: &Start,
    seed: u64,
    device: &B::Device,
    each: &mut dyn FnMut(&mut Parameters<B>) -> Result<()>,
) -> Result<Beginning<B>> {
    let mut parameters = Parameters::default();
    match start {
        Start::Model(path) => {
            let source = Source::open(path)?;
            check(&source)?;
            source.read_all(|tensor, values| {
                let weights = matrix(values, dims(&tensor), device);
                parameters.insert(tensor.name, weights);
                each(&mut parameters)
            })?;
            parameters.freeze(|name| name == ROPE_FACTORS);
            let rope_factors = match parameters.get(ROPE_FACTORS) {
                Some(factors) => values(factors.value.clone()),
                None => Vec::new(),
            };
            let (blueprint, tensors) = (Blueprint::of(&source)?, source.shapes()?);
            Ok(Beginning {
                blueprint,
                tensors,
                parameters,
                rope_factors,
            })
        }
        Start::New { shape, tokenizer } => {
            let config = shape.config(tokenizer)?;
            let tensors: Vec<TensorShape> = expected_tensors(&config, shape.tied).collect();
            let initial = Initial {
                seed,
                ..Initial::default()
            };
            for tensor in &tensors {
                let name = &tensor.name;
                let made = random::<B>(&config, &[(name.clone(), dims(tensor))], initial, device);
                parameters.insert(name.clone(), made.matrix(name)?);
                each(&mut parameters)?;
            }
            let blueprint = Blueprint::new(&config, tokenizer)?;
            Ok(Beginning {
                blueprint,
                tensors,
                parameters,
                rope_factors: Vec::new(),
            })
        }
    }
}

/// Reads a teacher, for sequences of `length` tokens and a student of this kind, whose tokens it must have.
pub(super) fn teacher<B: AutodiffBackend>(
    path: &Path,
    length: usize,
    student: &Blueprint,
    device: &B::Device,
) -> Result<Teacher<B::InnerBackend>> {
    let refuse = |reason: String| TrainError::Option {
        option: "teacher",
        reason,
    };
    let source = Source::open(path)?;
    let config = source.config()?;
    let [own, students] = [config.vocab_size, student.config().vocab_size];
    if own != students {
        return Err(refuse(format!(
            "its predictions are of {own} tokens, the student's of {students}"
        )));
    }
    if tokens_of(&Blueprint::of(&source)?.tokenizer()?) != tokens_of(&student.tokenizer()?) {
        return Err(refuse("its tokens are others than the student's".into()));
    }
    check(&source)?;
    let weights = read::<B::InnerBackend>(&source, device)?;
    let rope_factors = weights
        .get(ROPE_FACTORS)
        .map(|factors| values(factors.clone()))
        .unwrap_or_default();
    Ok(Teacher::new(
        Transformer::new(&config, length, &rope_factors, device),
        weights,
    ))
}

/// What a tokenizer's tokens are, in short.
pub(super) fn tokens_of(tokenizer: &Tokenizer) -> [u8; 32] {
    let mut hash = Sha256::new();
    for id in 0..tokenizer.vocab_size() as u32 {
        let bytes = tokenizer.token_bytes(id, true);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

/// Refuses tensors that lack, or whose shapes are not what the configuration says: products would not fit.
fn check(source: &Source) -> Result<()> {
    Ok(check_shapes(&source.config()?, source.shapes()?).map_err(halfpi::Error::from)?)
}

fn read<B: Backend>(source: &Source, device: &B::Device) -> Result<BTreeMap<String, Tensor<B, 2>>> {
    let mut weights = BTreeMap::new();
    source.read_all(|tensor, values| {
        weights.insert(tensor.name.clone(), matrix(values, dims(&tensor), device));
        Ok::<(), TrainError>(())
    })?;
    Ok(weights)
}

impl Shape {
    /// The shape of a model that has a row for every token of `tokenizer`.
    fn config(&self, tokenizer: &Path) -> Result<Config> {
        let refuse = |reason: String| TrainError::NoShape { reason };
        let architecture = Architecture::from_name(&self.architecture)
            .ok_or_else(|| refuse(format!("there is no architecture {}", self.architecture)))?;
        let lengths = [
            ("block_count", self.block_count),
            ("embedding_length", self.embedding_length),
            ("feed_forward_length", self.feed_forward_length),
            ("head_count", self.head_count),
            ("head_count_kv", self.head_count_kv),
            ("context_length", self.context_length),
        ];
        for (name, length) in lengths {
            if length == 0 || length > 1 << 20 {
                return Err(refuse(format!(
                    "{name} is {length}, and has to be from 1 to {}",
                    1 << 20
                )));
            }
        }
        let multiples = [
            ("embedding_length", self.embedding_length, "head_count", self.head_count),
            ("head_count", self.head_count, "head_count_kv", self.head_count_kv),
            ("embedding_length", self.embedding_length, "32", 32),
            ("feed_forward_length", self.feed_forward_length, "32", 32),
        ];
        for (name, length, of, part) in multiples {
            if !length.is_multiple_of(part) {
                return Err(refuse(format!(
                    "{name} is {length}, which is no multiple of {of}, {part}"
                )));
            }
        }
        // A config counts floats, of which a complex channel has two.
        let floats = if architecture.is_complex() { 2 } else { 1 };
        let head_dim = self.embedding_length / self.head_count;
        if !head_dim.is_multiple_of(2) {
            return Err(refuse(format!(
                "heads of {head_dim} channels cannot be turned: an even number can"
            )));
        }
        Ok(Config {
            architecture,
            block_count: self.block_count,
            embedding_length: self.embedding_length * floats,
            feed_forward_length: self.feed_forward_length * floats,
            head_count: self.head_count,
            head_count_kv: self.head_count_kv,
            head_dim: head_dim * floats,
            vocab_size: vocab_size(tokenizer)?,
            context_length: self.context_length,
            layer_norm_rms_epsilon: 1e-5,
            rope_freq_base: 10_000.0,
            rope_scale: 1.0,
            rope_dimension_count: head_dim * floats,
        })
    }
}

/// Rows and columns; a vector is one row.
pub(super) fn dims(tensor: &TensorShape) -> [usize; 2] {
    [tensor.rows, tensor.cols]
}

#[cfg(test)]
mod tests {
    use halfpi::pack::synthetic::SyntheticModel;

    use super::*;

    /// Products of such tensors would panic in the tensor engine.
    #[test]
    fn tensors_that_do_not_fit_the_configuration_are_refused() {
        for architecture in [
            Architecture::Llama,
            Architecture::Qwen2,
            Architecture::Qwen3,
            Architecture::BitNet,
        ] {
            let bytes = SyntheticModel::tiny(architecture).to_bytes().unwrap();
            let path = std::env::temp_dir().join(format!(
                "halfpi-shapes-{}-{}.gguf",
                architecture.name(),
                std::process::id()
            ));
            let check = |bytes: &[u8]| {
                std::fs::write(&path, bytes).unwrap();
                Source::open(&path)
                    .map_err(TrainError::from)
                    .and_then(|source| check(&source))
            };
            check(&bytes).unwrap();
            let key = format!("{}.feed_forward_length", architecture.name());
            let at = bytes
                .windows(key.len())
                .position(|window| window == key.as_bytes())
                .unwrap()
                + key.len()
                + 4;
            let mut other = bytes.clone();
            let length = u32::from_le_bytes(other[at..at + 4].try_into().unwrap());
            other[at..at + 4].copy_from_slice(&(length + 32).to_le_bytes());
            let refused = check(&other).unwrap_err();
            assert!(refused.to_string().contains("ffn"), "{refused}");
            std::fs::remove_file(&path).unwrap();
        }
    }
}
