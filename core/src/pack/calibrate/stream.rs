//! The calibration text on its way through the layers, one group of matrices at a time.

use halfpi_kernels::format::{GROUP, Matrix, Packed};
use halfpi_kernels::ops::{
    Activations, Attention, Int8RowsMut, KvElement, KvLayer, KvLayout, Product, Rope, add, attention, matmul,
    relu2_glu, rms_norm, rope, rope_angles, scores_len, swiglu,
};
use halfpi_kernels::{Backend, Parallel};
use std::collections::BTreeMap;

use super::CalibrationError;
use crate::pool::Pool;
use crate::transformer::{Architecture, Config};

/// Matrices of a layer that multiply the same input, in the order of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Qkv,
    AttentionOutput,
    GateUp,
    Down,
}

impl Step {
    pub const ALL: [Self; 4] = [Self::Qkv, Self::AttentionOutput, Self::GateUp, Self::Down];

    /// The names of the matrices within `blk.N.….weight`.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Step::Qkv => &["attn_q", "attn_k", "attn_v"],
            Step::AttentionOutput => &["attn_output"],
            Step::GateUp => &["ffn_gate", "ffn_up"],
            Step::Down => &["ffn_down"],
        }
    }

    /// Columns of the matrices.
    pub fn cols(self, config: &Config) -> usize {
        match self {
            Step::Qkv | Step::GateUp => config.embedding_length,
            Step::AttentionOutput => config.query_length(),
            Step::Down => config.feed_forward_length,
        }
    }

    /// Whether the result is added to the residual stream.
    pub fn is_added(self) -> bool {
        matches!(self, Step::AttentionOutput | Step::Down)
    }
}

/// Norms and biases that a layer may have.
pub(super) const VECTORS: [&str; 9] = [
    "attn_norm.weight",
    "attn_q.bias",
    "attn_k.bias",
    "attn_v.bias",
    "attn_q_norm.weight",
    "attn_k_norm.weight",
    "attn_sub_norm.weight",
    "ffn_norm.weight",
    "ffn_sub_norm.weight",
];

/// The weights of a layer.
#[derive(Clone, Default)]
pub(super) struct LayerWeights {
    /// Packed tensors with their headers, by the name within `blk.N.….weight`.
    pub matrices: BTreeMap<&'static str, Vec<u8>>,
    /// Norms and biases, by the name after `blk.N.`.
    pub vectors: BTreeMap<&'static str, Vec<f32>>,
}

impl LayerWeights {
    fn matrix(&self, name: &str) -> Result<Matrix<'_>, CalibrationError> {
        matrix(self.matrices.get(name).map(Vec::as_slice).unwrap_or_default())
    }

    fn vector(&self, name: &str) -> Option<&[f32]> {
        self.vectors.get(name).map(Vec::as_slice)
    }

    fn norm(&self, name: &'static str) -> Result<&[f32], CalibrationError> {
        let missing = || CalibrationError::Missing { name: name.to_owned() };
        self.vector(name).ok_or_else(missing)
    }
}

/// The packed matrix of a tensor's bytes.
pub(super) fn matrix(bytes: &[u8]) -> Result<Matrix<'_>, CalibrationError> {
    Ok(Matrix::Packed(Packed::from_file_bytes(bytes)?))
}

/// What all steps need.
pub(super) struct Machine {
    pub config: Config,
    pub rope_freqs: Vec<f32>,
    pub pool: Pool,
    pub backend: Backend,
}

/// Windows of text, each of `positions` tokens, somewhere between two layers.
pub(super) struct Stream {
    /// Positions of a window.
    pub positions: usize,
    /// The residual stream, `[position][embedding_length]`, window after window.
    pub x: Vec<f32>,
    /// The next step's input, `[position][cols]`.
    pub input: Vec<f32>,
}

impl Stream {
    /// Computes the input of the step that comes next.
    pub fn prepare(&mut self, machine: &Machine, step: Step, layer: &LayerWeights) -> Result<(), CalibrationError> {
        let norm = match step {
            Step::Qkv => layer.norm("attn_norm.weight")?,
            Step::GateUp => layer.norm("ffn_norm.weight")?,
            // Made when the step before was taken.
            Step::AttentionOutput | Step::Down => return Ok(()),
        };
        self.input.resize(self.x.len(), 0.0);
        let epsilon = machine.config.layer_norm_rms_epsilon;
        Ok(rms_norm(machine.backend, &self.x, norm, epsilon, &mut self.input)?)
    }

    /// Takes a step: multiplies its input with `layer`'s matrices and does what comes before the next ones.
    pub fn take(&mut self, machine: &Machine, step: Step, layer: &LayerWeights) -> Result<(), CalibrationError> {
        let cols = step.cols(&machine.config);
        let windows = self.input.chunks(self.positions * cols);
        let mut next = Vec::new();
        match step {
            Step::Qkv => {
                for input in windows {
                    next.extend(machine.attention(input, layer)?);
                }
            }
            Step::GateUp => {
                for input in windows {
                    next.extend(machine.gate(input, layer)?);
                }
            }
            Step::AttentionOutput | Step::Down => {
                let d = machine.config.embedding_length;
                for (input, x) in windows.zip(self.x.chunks_mut(self.positions * d)) {
                    let [delta] = machine.products(input, cols, layer, [step.names()[0]])?;
                    add(machine.backend, x, &delta)?;
                }
            }
        }
        self.input = next;
        Ok(())
    }
}

impl Machine {
    /// The input's products with some matrices.
    pub fn products<const N: usize>(
        &self,
        input: &[f32],
        cols: usize,
        layer: &LayerWeights,
        names: [&'static str; N],
    ) -> Result<[Vec<f32>; N], CalibrationError> {
        let matrices = names
            .iter()
            .map(|name| layer.matrix(name))
            .collect::<Result<Vec<_>, _>>()?;
        let positions = input.len() / cols;
        let mut outputs: [Vec<f32>; N] = std::array::from_fn(|i| vec![0.0; positions * matrices[i].rows()]);
        let groups = input.len() / GROUP;
        let (mut codes, mut running_sums) = (vec![0; input.len()], vec![0; groups]);
        let (mut scales, mut sums) = (vec![0.0; groups], vec![0.0; groups]);
        let mut int8 = Int8RowsMut {
            codes: &mut codes,
            scales: &mut scales,
            sums: &mut sums,
            running_sums: &mut running_sums,
        };
        let int8 = int8.quantize(self.backend, self.config.architecture.quantization(), input, cols)?;
        let mut products: Vec<Product<'_, '_>> = matrices
            .iter()
            .zip(&mut outputs)
            .map(|(weight, out)| Product { weight, out })
            .collect();
        let activations = Activations {
            floats: input,
            int8: Some(int8),
        };
        matmul(self.backend, &self.pool, &activations, &mut products)?;
        Ok(outputs)
    }

    /// From the normed input of a window to what the output projection takes.
    fn attention(&self, input: &[f32], layer: &LayerWeights) -> Result<Vec<f32>, CalibrationError> {
        let (config, backend) = (&self.config, self.backend);
        let (head_dim, epsilon) = (config.head_dim, config.layer_norm_rms_epsilon);
        let n = input.len() / config.embedding_length;
        let mut qkv = self.products(input, config.embedding_length, layer, ["attn_q", "attn_k", "attn_v"])?;
        for (rows, name) in qkv.iter_mut().zip(["attn_q.bias", "attn_k.bias", "attn_v.bias"]) {
            if let Some(bias) = layer.vector(name) {
                for row in rows.chunks_exact_mut(bias.len()) {
                    add(backend, row, bias)?;
                }
            }
        }
        for (rows, name) in qkv.iter_mut().zip(["attn_q_norm.weight", "attn_k_norm.weight"]) {
            if let Some(norm) = layer.vector(name) {
                let unnormed = rows.clone();
                rms_norm(backend, &unnormed, norm, epsilon, rows)?;
            }
        }
        let [mut q, mut k, v] = qkv;
        let pairs = config.architecture.rope_pairs();
        let turns = Rope {
            pairs,
            freq_base: config.rope_freq_base,
            scale: config.rope_scale,
            dims: config.rope_dimension_count,
            freq_factors: &self.rope_freqs,
        };
        let mut angles = vec![[0.0; 2]; n * config.rope_dimension_count / 2];
        rope_angles(&turns, 0, &mut angles)?;
        rope(pairs, &angles, n, head_dim, &mut q)?;
        rope(pairs, &angles, n, head_dim, &mut k)?;

        let layout = KvLayout::new(config.head_count_kv, head_dim, n, KvElement::F16)?;
        let mut data = vec![0; layout.bytes()];
        let mut cache = KvLayer::new(layout, &mut data)?;
        cache.store(backend, 0, &k, &v)?;
        let mut scores = vec![0.0; scores_len(&layout, self.pool.threads())];
        let mut mixed = vec![0.0; q.len()];
        let call = Attention {
            heads: config.head_count,
            first: 0,
            scale: 1.0 / (head_dim as f32).sqrt(),
            q: &q,
            scores: &mut scores,
            out: &mut mixed,
        };
        attention(backend, &self.pool, &mut cache, call)?;
        self.sub_norm(mixed, layer.vector("attn_sub_norm.weight"))
    }

    /// From the normed input of a window to what the down projection takes.
    fn gate(&self, input: &[f32], layer: &LayerWeights) -> Result<Vec<f32>, CalibrationError> {
        let config = &self.config;
        let [mut gate, up] = self.products(input, config.embedding_length, layer, ["ffn_gate", "ffn_up"])?;
        if config.architecture == Architecture::BitNet {
            relu2_glu(self.backend, &mut gate, &up)?;
        } else {
            swiglu(self.backend, &mut gate, &up)?;
        }
        self.sub_norm(gate, layer.vector("ffn_sub_norm.weight"))
    }

    /// BitNet's norm before the output projections.
    fn sub_norm(&self, x: Vec<f32>, norm: Option<&[f32]>) -> Result<Vec<f32>, CalibrationError> {
        let Some(norm) = norm else { return Ok(x) };
        let mut normed = vec![0.0; x.len()];
        rms_norm(self.backend, &x, norm, self.config.layer_norm_rms_epsilon, &mut normed)?;
        Ok(normed)
    }
}
