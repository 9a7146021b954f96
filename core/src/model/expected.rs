use super::ModelError;
use crate::transformer::{Architecture, Config};
use std::collections::HashMap;

/// A tensor's name in GGUF and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorShape {
    /// Such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Rows; 1 for a vector.
    pub rows: usize,
    /// The length of a row.
    pub cols: usize,
    /// Has one dimension: a norm, a bias.
    pub is_vector: bool,
}

impl TensorShape {
    /// Of a matrix.
    pub fn matrix(name: impl Into<String>, rows: usize, cols: usize) -> Self {
        let (name, is_vector) = (name.into(), false);
        Self {
            name,
            rows,
            cols,
            is_vector,
        }
    }

    /// Of a vector.
    pub fn vector(name: impl Into<String>, len: usize) -> Self {
        let (name, is_vector) = (name.into(), true);
        Self {
            name,
            rows: 1,
            cols: len,
            is_vector,
        }
    }

    /// How many weights it has; `usize::MAX` if they cannot be counted.
    pub fn weights(&self) -> usize {
        self.rows.saturating_mul(self.cols)
    }

    /// Lengths as GGUF has them, that of a row first.
    pub fn dims(&self) -> Vec<u64> {
        let dims = [self.cols as u64, self.rows as u64];
        dims[..if self.is_vector { 1 } else { 2 }].to_vec()
    }
}

/// The tensors that every model of this shape has: all matrices, then all vectors.
///
/// What a file may have beside these: an output matrix of its own if it is not `tied` to the embedding, which this lists
/// only then, `rope_freqs.weight`, and in any family biases of queries, keys and values, and BitNet's two norms inside the
/// blocks. A complex matrix is listed as it lies in parts: the rows' real parts, then their imaginary ones.
///
/// They are listed one by one, because the number of layers may be what a broken file says.
pub fn expected_tensors(config: &Config, tied: bool) -> impl Iterator<Item = TensorShape> {
    matrices(*config, tied).chain(vectors(*config))
}

/// Vectors that a model of this shape may have beside the [expected](expected_tensors) ones: all of a list, or none. That
/// it has them is told by the first.
pub(super) fn optional_vectors(config: &Config) -> impl Iterator<Item = Vec<TensorShape>> {
    let config = *config;
    let (q, kv, ff) = (config.query_length(), config.kv_length(), config.feed_forward_length);
    let factors = TensorShape::vector("rope_freqs.weight", config.rope_dimension_count / 2);
    let has_biases = config.architecture == Architecture::Qwen2;
    let has_sub_norms = matches!(config.architecture, Architecture::BitNet | Architecture::IFairy);
    let layers = (0..config.block_count).flat_map(move |block| {
        let vector = |name: &str, len| TensorShape::vector(format!("blk.{block}.{name}"), len);
        // Some llama files have biases too; then all three.
        let biases = || {
            vec![
                vector("attn_q.bias", q),
                vector("attn_k.bias", kv),
                vector("attn_v.bias", kv),
            ]
        };
        // What was trained in few bits may have BitNet's norms in any family.
        let norms = || {
            [
                vec![vector("attn_sub_norm.weight", q)],
                vec![vector("ffn_sub_norm.weight", ff)],
            ]
        };
        let biases = (!has_biases).then(biases);
        biases
            .into_iter()
            .chain((!has_sub_norms).then(norms).into_iter().flatten())
    });
    [vec![factors]].into_iter().chain(layers)
}

/// Whether tensors of these names and shapes are a model that loading would take: each of the
/// [expected](expected_tensors) ones in its shape, and nothing beside them that has no use.
///
/// # Errors
/// [`ModelError::MissingTensor`], [`ModelError::Shape`] or [`ModelError::UnusedTensor`].
pub fn check_shapes(config: &Config, tensors: impl IntoIterator<Item = TensorShape>) -> Result<(), ModelError> {
    let named = |tensor: TensorShape| (tensor.name.clone(), tensor);
    let mut found: HashMap<String, TensorShape> = tensors.into_iter().map(named).collect();
    let is_complex = config.architecture.is_complex();
    let tied = !found.contains_key("output.weight") && !is_complex;
    let take = |found: &mut HashMap<String, TensorShape>, expected: TensorShape| {
        let Some(tensor) = found.remove(&expected.name) else {
            return Err(ModelError::MissingTensor { name: expected.name });
        };
        // A complex matrix is there in parts, or twice as wide as the real one it stands for.
        let wide = TensorShape {
            cols: 2 * expected.cols,
            ..expected.clone()
        };
        let may_be_wide = is_complex && expected.name.starts_with("blk.") && !expected.is_vector;
        if tensor == expected || may_be_wide && tensor == wide {
            return Ok(());
        }
        let (expected, found) = (expected.dims(), tensor.dims());
        let name = tensor.name;
        Err(ModelError::Shape { name, expected, found })
    };
    for tensor in expected_tensors(config, tied) {
        take(&mut found, tensor)?;
    }
    for vectors in optional_vectors(config) {
        if found.contains_key(&vectors[0].name) {
            vectors.into_iter().try_for_each(|vector| take(&mut found, vector))?;
        }
    }
    match found.into_keys().min() {
        None => Ok(()),
        Some(name) => Err(ModelError::UnusedTensor {
            name,
            architecture: config.architecture.name(),
        }),
    }
}

fn matrices(config: Config, tied: bool) -> impl Iterator<Item = TensorShape> {
    let (d, ff) = (config.embedding_length, config.feed_forward_length);
    let (q, kv) = (config.query_length(), config.kv_length());
    let floats = if config.architecture.is_complex() { 2 } else { 1 };
    let layers = (0..config.block_count).flat_map(move |block| {
        let shapes = [
            ("attn_q", q, d),
            ("attn_k", kv, d),
            ("attn_v", kv, d),
            ("attn_output", d, q),
            ("ffn_gate", ff, d),
            ("ffn_up", ff, d),
            ("ffn_down", d, ff),
        ];
        shapes.map(|(name, rows, cols)| TensorShape::matrix(format!("blk.{block}.{name}.weight"), rows, cols / floats))
    });
    let head = move |name| TensorShape::matrix(name, config.vocab_size, d);
    let output = (!tied).then(|| head("output.weight"));
    [head("token_embd.weight")].into_iter().chain(layers).chain(output)
}

fn vectors(config: Config) -> impl Iterator<Item = TensorShape> {
    let (d, q, kv) = (config.embedding_length, config.query_length(), config.kv_length());
    let (ff, head_dim) = (config.feed_forward_length, config.head_dim);
    let layers = (0..config.block_count).flat_map(move |block| {
        let own: &[(&str, usize)] = match config.architecture {
            Architecture::Llama => &[],
            Architecture::Qwen2 => &[("attn_q.bias", q), ("attn_k.bias", kv), ("attn_v.bias", kv)],
            Architecture::Qwen3 => &[("attn_q_norm.weight", head_dim), ("attn_k_norm.weight", head_dim)],
            Architecture::BitNet | Architecture::IFairy => &[("attn_sub_norm.weight", q), ("ffn_sub_norm.weight", ff)],
        };
        let all = [("attn_norm.weight", d), ("ffn_norm.weight", d)];
        let vector = |(name, len): &(&str, usize)| TensorShape::vector(format!("blk.{block}.{name}"), *len);
        all.iter().chain(own).map(vector).collect::<Vec<_>>()
    });
    [TensorShape::vector("output_norm.weight", d)].into_iter().chain(layers)
}
