//! Random models load and run in every architecture and weight format.

mod pack_common;

use halfpi::gguf::{Gguf, ModelFile};
use halfpi::model::LoadedModel;
use halfpi::pack::PackError;
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::template::{ChatTemplate, Message, Role};
use halfpi::tokenizer::{Special, Tokenizer};
use halfpi::transformer::Architecture;
use halfpi_kernels::Serial;
use halfpi_kernels::format::{Codes, HEADER_BYTES, Packed, ScaleGroup};

fn storage(name: &str) -> Storage {
    Storage::by_name(name).unwrap()
}

fn mean_and_deviation(values: &[f32]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

/// A tiny model with this storage, wide enough for its blocks.
fn tiny(architecture: Architecture, name: &str) -> SyntheticModel {
    let mut model = SyntheticModel::tiny(architecture).with_storage(storage(name));
    if ["tq1_0", "tq2_0", "i2_s"].contains(&name) {
        model.config.embedding_length = 512;
        model.config.feed_forward_length = 512;
        model.config.head_dim = 128;
        model.config.rope_dimension_count = 128;
    }
    model
}

fn logits(model: &SyntheticModel) -> Vec<f32> {
    pack_common::logits(model.to_model_file().unwrap())
}

#[test]
fn every_architecture_runs_in_every_format() {
    for architecture in Architecture::ALL {
        for name in Storage::names() {
            let storage = storage(name);
            let model = tiny(architecture, name);
            if storage.is_complex() && !architecture.is_complex() {
                let error = pack_common::unwrap_pack_error(model.to_bytes());
                assert!(matches!(error, PackError::NotComplex { .. }), "{error}");
                continue;
            }
            let logits = logits(&model);
            let (_, deviation) = mean_and_deviation(&logits);
            assert!(
                (1.0..4.0).contains(&deviation),
                "{architecture:?} {name}: logits spread by {deviation}"
            );
            let other = self::logits(&model.with_seed(2));
            assert!(logits != other, "{architecture:?} {name}");
        }
    }
}

#[test]
fn weights_have_the_spread_of_a_trained_model_in_every_format() {
    for name in Storage::names() {
        let architecture = if storage(name).is_complex() {
            Architecture::IFairy
        } else {
            Architecture::Llama
        };
        let mut model = tiny(architecture, name);
        model.config.embedding_length = 512;
        let loaded = LoadedModel::new(model.to_model_file().unwrap(), &Serial).unwrap();
        let matrix = loaded.model().layers[1].ffn_up;
        let mut values = vec![0.0; matrix.rows() * matrix.cols()];
        for (row, out) in values.chunks_exact_mut(matrix.cols()).enumerate() {
            matrix.dequantize_row(row, out).unwrap();
        }
        let (mean, deviation) = mean_and_deviation(&values);
        let expected = 1.0 / 512f64.sqrt();
        assert!(
            (deviation / expected - 1.0).abs() < 0.05,
            "{name}: {deviation} for {expected}"
        );
        assert!(mean.abs() < 0.05 * expected, "{name}: mean {mean}");
    }
}

#[test]
fn missing_rows_of_packed_matrices_are_zero() {
    for name in ["q8", "phi4"] {
        // 13 rows in the last tile.
        let mut model = SyntheticModel::tiny(Architecture::Llama).with_storage(storage(name));
        model.config.vocab_size = 301;
        let bytes = model.to_bytes().unwrap();
        let gguf = Gguf::parse(&bytes).unwrap();
        let data = gguf.data(gguf.tensor("token_embd.weight").unwrap());
        let packed = Packed::from_file_bytes(data).unwrap();
        let (layout, body) = (packed.layout(), &data[HEADER_BYTES..]);
        // [tile][group][16 rows] of f16, two groups.
        let scales = &body[layout.scales_offset()..];
        for group in scales[scales.len() - 64..].chunks_exact(32) {
            assert!(group[..26].chunks(2).all(|scale| scale != [0, 0]), "{name}");
            assert!(group[26..].iter().all(|&b| b == 0), "{name}");
        }
        let step = &body[layout.codes_bytes() - 64..layout.codes_bytes()];
        assert!(step[..52].iter().any(|&b| b != 0), "{name}");
        assert!(step[52..].iter().all(|&b| b == 0), "{name}");
    }
}

#[test]
fn the_tokenizer_and_the_template_work() {
    for architecture in Architecture::ALL {
        let bytes = SyntheticModel::tiny(architecture).to_bytes().unwrap();
        let gguf = Gguf::parse(&bytes).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        assert_eq!(tokenizer.vocab_size(), 421);

        let source = gguf.str("tokenizer.chat_template").unwrap();
        let template = ChatTemplate::new(source, "<|endoftext|>", "<|im_end|>").unwrap();
        let message = Message::new(Role::User, "What did they say? \u{1f389} naïve\u{0}");
        let text = template.render(&[message], true).unwrap();
        assert_eq!(
            text,
            "<|im_start|>user\nWhat did they say? \u{1f389} naïve\u{0}<|im_end|>\n<|im_start|>assistant\n"
        );
        let ids = tokenizer.encode(&text, Special::Parse);
        assert_eq!(tokenizer.decode(&ids, true), text);
        // One token for each special token, and merges that work: " did", " they" and the like are few tokens.
        let start = tokenizer.token_id("<|im_start|>").unwrap();
        assert_eq!(ids.iter().filter(|&&id| id == start).count(), 2);
        assert!(ids.len() < text.len() * 2 / 3, "{} of {}", ids.len(), text.len());
        assert!(tokenizer.is_end_of_generation(tokenizer.token_id("<|im_end|>").unwrap()));
    }
}

#[test]
fn one_seed_gives_one_file() {
    let model = SyntheticModel::tiny(Architecture::Qwen3).with_storage(storage("q4_1"));
    let bytes = model.to_bytes().unwrap();
    assert_eq!(bytes, model.clone().to_bytes().unwrap());
    assert_eq!(bytes, model.to_model_file().unwrap().bytes());
    assert_ne!(bytes, model.with_seed(7).to_bytes().unwrap());
}

#[test]
fn tensor_kinds_can_be_stored_differently() {
    let mut model = SyntheticModel::tiny(Architecture::Qwen2);
    model.embedding = storage("q8_0");
    model.feed_forward = Storage::Packed {
        codes: Codes::Int8,
        scales: ScaleGroup::Row,
    };
    let bytes = model.to_bytes().unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let ty = |name: &str| gguf.tensor(name).unwrap().ty.name();
    assert_eq!(ty("token_embd.weight"), "Q8_0");
    assert_eq!(ty("blk.1.attn_q.weight"), "F32");
    assert_eq!(ty("blk.1.ffn_down.weight"), "I8");
    assert_eq!(ty("output.weight"), "F32");
    assert_eq!(gguf.tensor("blk.0.attn_k.bias").unwrap().dims(), [32]);
    assert_eq!(gguf.u32("halfpi.layout_version").unwrap(), 1);
    assert!(logits(&model).iter().all(|logit| logit.is_finite()));
}

#[test]
fn shapes_have_the_size_of_the_models_they_are_named_after() {
    for (name, parameters) in [
        ("smollm2-135m", 134_515_008),
        ("smollm2-360m", 361_821_120),
        ("qwen2.5-0.5b", 494_032_768),
        ("llama-3.2-1b", 1_235_814_400),
        ("bitnet-2b4t", 2_412_820_480),
        // Twice its complex weights, and a real head.
        ("ifairy-700m", 1_555_983_360),
    ] {
        let model = SyntheticModel::by_name(name).unwrap();
        assert_eq!(model.parameters(), parameters, "{name}");
    }
    assert_eq!(SyntheticModel::names().count(), 6);
    assert!(SyntheticModel::by_name("gpt-5").is_none());
}

#[test]
fn files_are_saved_whole() {
    let directory = std::env::temp_dir().join(format!("halfpi-synthetic-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("model.gguf");
    let model = SyntheticModel::tiny(Architecture::BitNet);
    model.save(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), model.to_bytes().unwrap());
    let file = ModelFile::open(&path).unwrap();
    assert_eq!(file.gguf().unwrap().str("bitnet.hidden_activation").unwrap(), "relu2");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn impossible_shapes_are_refused() {
    let refused = |change: fn(&mut SyntheticModel)| {
        let mut model = SyntheticModel::tiny(Architecture::Llama);
        change(&mut model);
        match model.to_bytes() {
            Err(halfpi::Error::Pack(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let error = refused(|m| m.config.vocab_size = 258);
    assert!(
        matches!(
            error,
            PackError::Shape {
                what: "vocab_size",
                value: 258,
                ..
            }
        ),
        "{error}"
    );
    let error = refused(|m| m.config.block_count = 0);
    assert!(
        matches!(
            error,
            PackError::Shape {
                what: "block_count",
                ..
            }
        ),
        "{error}"
    );
    let error = refused(|m| m.config.embedding_length = usize::MAX);
    assert!(
        matches!(
            error,
            PackError::Shape {
                what: "embedding_length",
                ..
            }
        ),
        "{error}"
    );
    let error = refused(|m| {
        m.feed_forward = storage("q4_0");
        m.config.feed_forward_length = 100;
    });
    assert!(
        matches!(&error, PackError::Format { name, .. } if name == "blk.0.ffn_down.weight"),
        "{error}"
    );
}
