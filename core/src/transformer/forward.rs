use super::adapter::adapt;
use super::complex::{gather_heads, matmul_parts};
use super::workspace::{Scratch, Workspace};
use super::{Architecture, ForwardError, KvCache, Layer, Model};
use halfpi_kernels::format::Matrix;
use halfpi_kernels::ops::{
    Activations, Attention, OpError, Product, Quantization, Rope, add, attention, complex_relu2_glu, complex_rms_norm,
    matmul, relu2_glu, rms_norm, rope, rope_angles, swap_axes, swiglu,
};
use halfpi_kernels::{Backend, Parallel};

/// What packed weights are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Precision {
    /// Activations rounded to 8 bits: fast.
    #[default]
    Int8,
    /// Activations as they are, weights turned into floats: the exact mode, for checking. Many times slower.
    F32,
}

/// What does the work.
#[derive(Clone, Copy)]
pub struct Runtime<'a> {
    /// The instruction set.
    pub backend: Backend,
    /// The threads.
    pub parallel: &'a dyn Parallel,
    /// What packed weights are multiplied with.
    pub precision: Precision,
}

impl Model<'_> {
    /// Runs `tokens`, which stand at the positions from `first` on, and appends their keys and values to the cache;
    /// the positions before `first` must be there already.
    ///
    /// `logits` takes the scores of the tokens that might follow, `[position][vocab_size]`, for as many of the last
    /// positions as it is long; it may be empty. `memory` is [`workspace_len`](super::workspace_len) floats, and with an
    /// adapter [`adapter_len`](super::adapter_len) more.
    ///
    /// # Errors
    /// [`ForwardError`] for unknown tokens, a full cache, or memory that does not fit. The cache's positions before
    /// `first` are untouched by a failure.
    pub fn forward(
        &self,
        runtime: &Runtime<'_>,
        tokens: &[u32],
        first: usize,
        cache: &mut KvCache<'_>,
        memory: &mut [f32],
        logits: &mut [f32],
    ) -> Result<(), ForwardError> {
        let (config, n, backend) = (&self.config, tokens.len(), runtime.backend);
        let (d, vocab_size) = (config.embedding_length, config.vocab_size);
        if first.saturating_add(n) > cache.positions() {
            return Err(ForwardError::CacheFull {
                needed: first.saturating_add(n),
                positions: cache.positions(),
            });
        }
        let wanted = logits.len().checked_div(vocab_size).unwrap_or(0);
        if wanted > n || wanted * vocab_size != logits.len() {
            return Err(OpError {
                what: "logits",
                expected: n.saturating_mul(vocab_size),
                found: logits.len(),
            }
            .into());
        }
        if n == 0 {
            return Ok(());
        }
        if d == 0 {
            return Err(OpError {
                what: "embedding_length",
                expected: 1,
                found: 0,
            }
            .into());
        }
        let threads = runtime.parallel.threads();
        let mut w = Workspace::new(config, cache.shape(), n, threads, self.adapter_rank, memory)?;

        for (&id, x) in tokens.iter().zip(w.x.chunks_exact_mut(d)) {
            let row = usize::try_from(id).ok().filter(|&row| row < vocab_size);
            let row = row.ok_or(ForwardError::Token { id, vocab_size })?;
            self.token_embd.dequantize_row(row, x)?;
        }
        let turns = Rope {
            pairs: config.architecture.rope_pairs(),
            freq_base: config.rope_freq_base,
            scale: config.rope_scale,
            dims: config.rope_dimension_count,
            freq_factors: self.rope_freqs,
        };
        rope_angles(&turns, first, w.angles)?;

        for (index, layer) in self.layers.iter().enumerate() {
            self.attention_block(runtime, layer, index, first, cache, &mut w)?;
            add(backend, w.x, w.delta)?;
            self.feed_forward_block(runtime, layer, index, &mut w)?;
            add(backend, w.x, w.delta)?;
        }

        if wanted > 0 {
            let last = &w.x[(n - wanted) * d..];
            let h = &mut w.h[..last.len()];
            self.norm(backend, last, self.output_norm, h)?;
            let mut output = [Product {
                weight: &self.output,
                out: logits,
            }];
            // iFairy's last matrix is a real one, trained with floats.
            let quantization = match config.architecture {
                Architecture::IFairy => Quantization::Group,
                architecture => architecture.quantization(),
            };
            linear(runtime, quantization, h, d, &mut w.scratch, &mut output)?;
        }
        Ok(())
    }

    /// `delta = attention(norm(x))`, over all positions so far.
    fn attention_block(
        &self,
        runtime: &Runtime<'_>,
        layer: &Layer<'_>,
        index: usize,
        first: usize,
        cache: &mut KvCache<'_>,
        w: &mut Workspace<'_>,
    ) -> Result<(), ForwardError> {
        let (config, backend) = (&self.config, runtime.backend);
        let (head_dim, epsilon) = (config.head_dim, config.layer_norm_rms_epsilon);
        let (d, n) = (config.embedding_length, w.x.len() / config.embedding_length);
        let quantization = config.architecture.quantization();

        let h = &mut w.h[..w.x.len()];
        self.norm(backend, w.x, layer.attn_norm, h)?;
        let mut qkv = [
            Product {
                weight: &layer.attn_q,
                out: w.q,
            },
            Product {
                weight: &layer.attn_k,
                out: w.k,
            },
            Product {
                weight: &layer.attn_v,
                out: w.v,
            },
        ];
        linear(runtime, quantization, h, d, &mut w.scratch, &mut qkv)?;
        let adapter = self.adapter.get(index).copied().unwrap_or_default();
        for (low_rank, out) in [
            (adapter.attn_q, &mut *w.q),
            (adapter.attn_k, &mut *w.k),
            (adapter.attn_v, &mut *w.v),
        ] {
            adapt(runtime, low_rank.as_ref(), h, d, w.adapter, out)?;
        }

        if let Some(biases) = layer.attn_bias {
            for (rows, bias) in [&mut *w.q, w.k, w.v].into_iter().zip(biases) {
                let row = rows.len() / n;
                for row in rows.chunks_exact_mut(row.max(1)) {
                    add(backend, row, bias)?;
                }
            }
        }
        if let Some([q_norm, k_norm]) = layer.attn_qk_norm {
            // `h` has room for either: there are never more key heads than query heads.
            let h = &mut w.h[..w.q.len()];
            rms_norm(backend, w.q, q_norm, epsilon, h)?;
            w.q.copy_from_slice(h);
            let h = &mut w.h[..w.k.len()];
            rms_norm(backend, w.k, k_norm, epsilon, h)?;
            w.k.copy_from_slice(h);
        }
        let is_complex = config.architecture.is_complex();
        if is_complex {
            for (x, heads) in [
                (&mut *w.q, config.head_count),
                (w.k, config.head_count_kv),
                (w.v, config.head_count_kv),
            ] {
                gather_heads(heads, head_dim, x, w.h)?;
            }
        }
        let pairs = config.architecture.rope_pairs();
        rope(pairs, w.angles, n, head_dim, w.q)?;
        rope(pairs, w.angles, n, head_dim, w.k)?;

        let mut cache = cache.layer(index)?;
        cache.store(backend, first, w.k, w.v)?;
        let h = &mut w.h[..w.q.len()];
        let channels = if is_complex { head_dim / 2 } else { head_dim };
        let scale = 1.0 / libm::sqrtf(channels as f32);
        let call = Attention {
            heads: config.head_count,
            first,
            scale,
            q: w.q,
            scores: w.scores,
            out: h,
        };
        attention(backend, runtime.parallel, &mut cache, call)?;

        let (mut mixed, mut other) = (h, &mut *w.q);
        if is_complex {
            swap_axes([config.head_count, 2, channels], mixed, other)?;
            (mixed, other) = (other, mixed);
        }
        if let Some(sub_norm) = layer.attn_sub_norm {
            self.norm(backend, mixed, sub_norm, other)?;
            mixed = other;
        }
        let mut output = [Product {
            weight: &layer.attn_output,
            out: w.delta,
        }];
        let cols = config.query_length();
        linear(runtime, quantization, mixed, cols, &mut w.scratch, &mut output)?;
        Ok(adapt(
            runtime,
            adapter.attn_output.as_ref(),
            mixed,
            cols,
            w.adapter,
            w.delta,
        )?)
    }

    /// `delta = down(act(gate(norm(x))) * up(norm(x)))`.
    fn feed_forward_block(
        &self,
        runtime: &Runtime<'_>,
        layer: &Layer<'_>,
        index: usize,
        w: &mut Workspace<'_>,
    ) -> Result<(), ForwardError> {
        let (config, backend) = (&self.config, runtime.backend);
        let (d, ff) = (config.embedding_length, config.feed_forward_length);
        let quantization = config.architecture.quantization();

        let h = &mut w.h[..w.x.len()];
        self.norm(backend, w.x, layer.ffn_norm, h)?;
        let mut gate_up = [
            Product {
                weight: &layer.ffn_gate,
                out: w.gate,
            },
            Product {
                weight: &layer.ffn_up,
                out: w.up,
            },
        ];
        linear(runtime, quantization, h, d, &mut w.scratch, &mut gate_up)?;
        let adapter = self.adapter.get(index).copied().unwrap_or_default();
        for (low_rank, out) in [(adapter.ffn_gate, &mut *w.gate), (adapter.ffn_up, &mut *w.up)] {
            adapt(runtime, low_rank.as_ref(), h, d, w.adapter, out)?;
        }

        match config.architecture {
            Architecture::BitNet => relu2_glu(backend, w.gate, w.up)?,
            Architecture::IFairy => complex_relu2_glu(ff / 2, w.gate, w.up)?,
            Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => swiglu(backend, w.gate, w.up)?,
        }
        let inner = match layer.ffn_sub_norm {
            None => &mut *w.gate,
            Some(sub_norm) => {
                self.norm(backend, w.gate, sub_norm, w.up)?;
                &mut *w.up
            }
        };
        let mut down = [Product {
            weight: &layer.ffn_down,
            out: w.delta,
        }];
        linear(runtime, quantization, inner, ff, &mut w.scratch, &mut down)?;
        Ok(adapt(
            runtime,
            adapter.ffn_down.as_ref(),
            inner,
            ff,
            w.adapter,
            w.delta,
        )?)
    }

    /// `out = norm(x)`, over the channels of the family.
    fn norm(&self, backend: Backend, x: &[f32], weight: &[f32], out: &mut [f32]) -> Result<(), OpError> {
        let epsilon = self.config.layer_norm_rms_epsilon;
        if self.config.architecture.is_complex() {
            complex_rms_norm(backend, x, weight, epsilon, out)
        } else {
            rms_norm(backend, x, weight, epsilon, out)
        }
    }
}

/// Multiplies `x`, rows of `cols` floats, with several weights, quantizing it once if any of them is packed.
fn linear(
    runtime: &Runtime<'_>,
    quantization: Quantization,
    x: &[f32],
    cols: usize,
    scratch: &mut Scratch<'_>,
    products: &mut [Product<'_, '_>],
) -> Result<(), ForwardError> {
    if quantization == Quantization::Halves && products.iter().any(|product| product.weight.cols() != cols) {
        return Ok(matmul_parts(runtime, x, cols, scratch, products)?);
    }
    let packed = products
        .iter()
        .any(|product| matches!(product.weight, Matrix::Packed(_)));
    let int8 = if packed && runtime.precision == Precision::Int8 {
        Some(scratch.int8.quantize(runtime.backend, quantization, x, cols)?)
    } else {
        None
    };
    let x = Activations { floats: x, int8 };
    Ok(matmul(runtime.backend, runtime.parallel, &x, products)?)
}
