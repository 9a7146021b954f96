//! The transformer as a caller without the rest of the crate sees it.

use halfpi::model::LoadedModel;
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::transformer::{
    Architecture, Config, ForwardError, KvCache, Layer, Model, Precision, Runtime, workspace_len,
};
use halfpi_kernels::format::{Dense, Float, Matrix};
use halfpi_kernels::ops::{KvElement, KvLayout};
use halfpi_kernels::{Backend, Serial};

const POSITIONS: usize = 16;

fn runtime() -> Runtime<'static> {
    Runtime {
        backend: Backend::detect(),
        parallel: &Serial,
        precision: Precision::Int8,
    }
}

fn loaded(architecture: Architecture, format: &str) -> LoadedModel {
    let model = SyntheticModel::tiny(architecture).with_storage(Storage::by_name(format).unwrap());
    LoadedModel::new(model.to_model_file().unwrap(), &Serial).unwrap()
}

/// Memory for one model.
struct Memory {
    layout: KvLayout,
    data: Vec<u8>,
    workspace: Vec<f32>,
    logits: Vec<f32>,
}

impl Memory {
    fn new(config: &Config) -> Self {
        let layout = KvCache::layout(config, POSITIONS, KvElement::F16).unwrap();
        Self {
            layout,
            data: vec![0; KvCache::bytes(config, &layout)],
            workspace: vec![0.0; workspace_len(config, &layout, POSITIONS, 1)],
            logits: vec![0.0; config.vocab_size],
        }
    }

    fn run(&mut self, model: &Model<'_>, tokens: &[u32], first: usize) -> Result<Vec<f32>, ForwardError> {
        let mut cache = KvCache::new(self.layout, &mut self.data)?;
        model.forward(
            &runtime(),
            tokens,
            first,
            &mut cache,
            &mut self.workspace,
            &mut self.logits,
        )?;
        Ok(self.logits.clone())
    }
}

/// Two channels, three tokens, no layers: the scores can be computed by hand.
#[test]
fn a_model_made_by_hand() {
    let config = Config {
        architecture: Architecture::Llama,
        block_count: 0,
        embedding_length: 2,
        feed_forward_length: 16,
        head_count: 1,
        head_count_kv: 1,
        head_dim: 16,
        vocab_size: 3,
        context_length: POSITIONS,
        layer_norm_rms_epsilon: 1e-12,
        rope_freq_base: 10_000.0,
        rope_scale: 1.0,
        rope_dimension_count: 16,
    };
    let bytes = |floats: [f32; 6]| floats.map(f32::to_le_bytes).concat();
    let (embedding, output) = (
        bytes([3.0, 4.0, 0.0, -2.0, 1.0, 1.0]),
        bytes([1.0, 0.0, 0.0, 1.0, 2.0, -1.0]),
    );
    let matrix = |bytes| Matrix::Dense(Dense::new(3, 2, Float::F32, bytes).unwrap());
    let model = Model {
        config,
        token_embd: matrix(&embedding),
        layers: &[],
        output_norm: &[1.0, 10.0],
        output: matrix(&output),
        rope_freqs: &[],
        adapter: &[],
        adapter_rank: 0,
    };
    let mut memory = Memory::new(&Config {
        block_count: 1,
        ..config
    });
    // The root of the mean square of (3, 4) is 5 / √2.
    let normed = [3.0 * 2f32.sqrt() / 5.0, 40.0 * 2f32.sqrt() / 5.0];
    let expected = [normed[0], normed[1], 2.0 * normed[0] - normed[1]];
    let logits = memory.run(&model, &[1, 0], 0).unwrap();
    for (logit, expected) in logits.iter().zip(expected) {
        assert!((logit - expected).abs() < 1e-5, "{logits:?} for {expected:?}");
    }
}

#[test]
fn scores_of_as_many_positions_as_there_is_room_for() {
    let loaded = loaded(Architecture::Qwen3, "q8_0");
    let (model, config) = (loaded.model(), loaded.config());
    let tokens = [5, 6, 7, 8];
    let mut memory = Memory::new(config);
    let one_by_one: Vec<f32> = (0..4)
        .flat_map(|i| memory.run(&model, &tokens[i..=i], i).unwrap())
        .collect();
    for wanted in 0..=4 {
        let mut memory = Memory::new(config);
        memory.logits = vec![f32::NAN; wanted * config.vocab_size];
        let logits = memory.run(&model, &tokens, 0).unwrap();
        assert_eq!(logits, one_by_one[(4 - wanted) * config.vocab_size..]);
    }
    for len in [1, config.vocab_size - 1, config.vocab_size + 1, 5 * config.vocab_size] {
        let mut memory = Memory::new(config);
        memory.logits = vec![0.0; len];
        assert!(matches!(memory.run(&model, &tokens, 0), Err(ForwardError::Op(error)) if error.what == "logits"));
    }
}

#[test]
fn no_tokens_are_no_work() {
    let loaded = loaded(Architecture::Llama, "f16");
    let mut memory = Memory::new(loaded.config());
    memory.logits.clear();
    memory.run(&loaded.model(), &[], 0).unwrap();
    memory.run(&loaded.model(), &[], POSITIONS).unwrap();
}

#[test]
fn what_does_not_fit_is_refused() {
    let loaded = loaded(Architecture::Llama, "q4_0");
    let (model, config) = (loaded.model(), loaded.config());
    let mut memory = Memory::new(config);
    let full = |needed| ForwardError::CacheFull {
        needed,
        positions: POSITIONS,
    };
    assert_eq!(
        memory.run(&model, &[1; POSITIONS + 1], 0).unwrap_err(),
        full(POSITIONS + 1)
    );
    assert_eq!(memory.run(&model, &[1], POSITIONS).unwrap_err(), full(POSITIONS + 1));
    assert_eq!(memory.run(&model, &[1], usize::MAX).unwrap_err(), full(usize::MAX));
    let unknown = |id| ForwardError::Token { id, vocab_size: 421 };
    assert_eq!(memory.run(&model, &[420, 421], 0).unwrap_err(), unknown(421));
    assert_eq!(memory.run(&model, &[u32::MAX], 0).unwrap_err(), unknown(u32::MAX));

    memory.workspace.pop();
    let short = memory.run(&model, &[1; POSITIONS], 0);
    assert!(matches!(short, Err(ForwardError::Op(error)) if error.what == "workspace"));
    let mut memory = Memory::new(config);
    memory.data.pop();
    assert!(matches!(memory.run(&model, &[1], 0), Err(ForwardError::Op(error)) if error.what == "kv_cache: data"));
    let mut memory = Memory::new(config);
    memory.data.truncate(memory.data.len() / 2);
    assert!(matches!(memory.run(&model, &[1], 0), Err(ForwardError::Op(error)) if error.what == "kv_cache: layers"));
}

/// Weights and shapes that do not belong together are errors, whatever the caller puts together.
#[test]
fn models_that_do_not_fit_together_are_refused() {
    let other = loaded(Architecture::BitNet, "q8_0");
    for (architecture, format) in [
        (Architecture::Qwen2, "f32"),
        (Architecture::IFairy, "f32"),
        (Architecture::IFairy, "phase-complex"),
    ] {
        refuses_what_does_not_fit(&loaded(architecture, format).model(), &other.model());
    }
}

fn refuses_what_does_not_fit(&model: &Model<'_>, other: &Model<'_>) {
    type Change = fn(&mut Config, usize);
    let changes: [Change; 9] = [
        |config, value| config.embedding_length = value,
        |config, value| config.feed_forward_length = value,
        |config, value| config.head_count = value,
        |config, value| config.head_count_kv = value,
        |config, value| config.head_dim = value,
        |config, value| config.vocab_size = value,
        |config, value| config.rope_dimension_count = value,
        |config, value| (config.head_count, config.head_count_kv) = (value, value),
        |config, value| (config.embedding_length, config.feed_forward_length) = (value, value),
    ];
    for change in changes {
        for value in [0, 1, 3, 15, 48, 1 << 20, usize::MAX / 2, usize::MAX] {
            let mut changed = model;
            change(&mut changed.config, value);
            let mut memory = Memory::new(&model.config);
            assert!(memory.run(&changed, &[1, 2], 0).is_err(), "{:?}", changed.config);
            // Nor can its memory be counted wrongly.
            assert!(workspace_len(&changed.config, &memory.layout, usize::MAX, usize::MAX) > 1 << 30);
        }
    }
    let [good, bad] = [model.layers[0], other.layers[0]];
    let short = &good.attn_norm[..3];
    let broken = [
        Layer {
            attn_norm: short,
            ..good
        },
        Layer { ffn_norm: &[], ..good },
        Layer {
            attn_bias: Some([&[]; 3]),
            ..good
        },
        Layer {
            attn_bias: Some([short; 3]),
            ..good
        },
        Layer {
            attn_qk_norm: Some([&[]; 2]),
            ..good
        },
        Layer {
            attn_sub_norm: Some(short),
            ..good
        },
        Layer {
            ffn_sub_norm: Some(short),
            ..good
        },
        Layer {
            attn_q: good.ffn_up,
            ..good
        },
        Layer {
            attn_k: good.attn_q,
            ..good
        },
        Layer {
            attn_output: good.ffn_down,
            ..good
        },
        Layer {
            ffn_gate: bad.ffn_down,
            ..good
        },
        Layer {
            ffn_down: bad.attn_q,
            ..good
        },
    ];
    for layer in broken {
        let changed = Model {
            layers: &[layer],
            ..model
        };
        let result = Memory::new(&model.config).run(&changed, &[1, 2], 0);
        assert!(result.is_err(), "{layer:?}");
    }
    for changed in [
        Model {
            output_norm: short,
            ..model
        },
        Model {
            rope_freqs: short,
            ..model
        },
        Model {
            token_embd: good.attn_q,
            ..model
        },
        Model {
            output: good.attn_q,
            ..model
        },
    ] {
        assert!(Memory::new(&model.config).run(&changed, &[1, 64], 0).is_err());
    }
    Memory::new(&model.config).run(&model, &[1, 2], 0).unwrap();
}
