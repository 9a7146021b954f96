use super::workspace::Workspace;
use super::{Architecture, ForwardError, KvCache, Layer, Model};
use halfpi_kernels::format::Matrix;
use halfpi_kernels::ops::{
    Activations, Attention, Int8RowsMut, OpError, Product, Quantization, Rope, add, attention, matmul, relu2_glu,
    rms_norm, rope, rope_angles, swiglu,
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
    /// positions as it is long; it may be empty. `memory` is [`workspace_len`](super::workspace_len) floats.
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
        let mut w = Workspace::new(config, cache.shape(), n, threads, memory)?;

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
            self.feed_forward_block(runtime, layer, &mut w)?;
            add(backend, w.x, w.delta)?;
        }

        if wanted > 0 {
            let last = &w.x[(n - wanted) * d..];
            let h = &mut w.h[..last.len()];
            rms_norm(backend, last, self.output_norm, config.layer_norm_rms_epsilon, h)?;
            self.linear(
                runtime,
                h,
                &mut w.int8,
                &mut [Product {
                    weight: &self.output,
                    out: logits,
                }],
            )?;
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
        let n = w.x.len() / config.embedding_length;

        let h = &mut w.h[..w.x.len()];
        rms_norm(backend, w.x, layer.attn_norm, epsilon, h)?;
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
        self.linear(runtime, h, &mut w.int8, &mut qkv)?;

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
        let pairs = config.architecture.rope_pairs();
        rope(pairs, w.angles, n, head_dim, w.q)?;
        rope(pairs, w.angles, n, head_dim, w.k)?;

        let mut cache = cache.layer(index)?;
        cache.store(backend, first, w.k, w.v)?;
        let h = &mut w.h[..w.q.len()];
        let scale = 1.0 / libm::sqrtf(head_dim as f32);
        let call = Attention {
            heads: config.head_count,
            first,
            scale,
            q: w.q,
            scores: w.scores,
            out: h,
        };
        attention(backend, runtime.parallel, &mut cache, call)?;

        let mixed = match layer.attn_sub_norm {
            None => h,
            Some(sub_norm) => {
                rms_norm(backend, h, sub_norm, epsilon, w.q)?;
                &mut *w.q
            }
        };
        let mut output = [Product {
            weight: &layer.attn_output,
            out: w.delta,
        }];
        self.linear(runtime, mixed, &mut w.int8, &mut output)
    }

    /// `delta = down(act(gate(norm(x))) * up(norm(x)))`.
    fn feed_forward_block(
        &self,
        runtime: &Runtime<'_>,
        layer: &Layer<'_>,
        w: &mut Workspace<'_>,
    ) -> Result<(), ForwardError> {
        let backend = runtime.backend;
        let epsilon = self.config.layer_norm_rms_epsilon;

        let h = &mut w.h[..w.x.len()];
        rms_norm(backend, w.x, layer.ffn_norm, epsilon, h)?;
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
        self.linear(runtime, h, &mut w.int8, &mut gate_up)?;

        match self.config.architecture {
            Architecture::BitNet => relu2_glu(backend, w.gate, w.up)?,
            Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => swiglu(backend, w.gate, w.up)?,
        }
        let inner = match layer.ffn_sub_norm {
            None => &mut *w.gate,
            Some(sub_norm) => {
                rms_norm(backend, w.gate, sub_norm, epsilon, w.up)?;
                &mut *w.up
            }
        };
        self.linear(
            runtime,
            inner,
            &mut w.int8,
            &mut [Product {
                weight: &layer.ffn_down,
                out: w.delta,
            }],
        )
    }

    /// Multiplies `x` with several weights, quantizing it once if any of them is packed.
    fn linear(
        &self,
        runtime: &Runtime<'_>,
        x: &[f32],
        int8: &mut Int8RowsMut<'_>,
        products: &mut [Product<'_, '_>],
    ) -> Result<(), ForwardError> {
        let Some(cols) = products.first().map(|product| product.weight.cols()) else {
            return Ok(());
        };
        let packed = products
            .iter()
            .any(|product| matches!(product.weight, Matrix::Packed(_)));
        let int8 = if packed && runtime.precision == Precision::Int8 {
            let quantization = match self.config.architecture {
                Architecture::BitNet => Quantization::Row,
                Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => Quantization::Group,
            };
            Some(int8.quantize(runtime.backend, quantization, x, cols)?)
        } else {
            None
        };
        matmul(
            runtime.backend,
            runtime.parallel,
            &Activations { floats: x, int8 },
            products,
        )?;
        Ok(())
    }
}
