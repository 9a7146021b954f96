//! Low-rank adapters: the model with one is the model whose weights were changed.

mod pack_common;

use std::sync::Arc;

use halfpi::Error;
use halfpi::engine::{Engine, EngineOptions};
use halfpi::gguf::{GgmlType, ModelFile, Value, Writer};
use halfpi::model::{AdapterError, LoadedModel, ModelError};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pack::{Blueprint, Source, TensorShape};
use halfpi::session::{Session, SessionOptions, StateError};
use halfpi::transformer::Architecture;
use halfpi_kernels::Serial;
use halfpi_kernels::format::Float;
use pack_common::{difference, loaded_logits, logits, weights::uniform};

const ALPHA: f32 = 6.0;

/// A matrix of an adapter.
struct Part {
    name: String,
    rows: usize,
    cols: usize,
    values: Vec<f32>,
}

/// Random matrices of this rank for some of the linear layers.
fn parts(model: &SyntheticModel, rank: usize) -> Vec<Part> {
    let shapes = halfpi::pack::expected_tensors(&model.config, true);
    let linear = shapes.into_iter().filter(|shape| {
        let skipped = shape.name.ends_with("1.attn_k.weight");
        shape.name.starts_with("blk.") && !shape.is_vector && !skipped
    });
    let mut next = uniform(rank as u64);
    let mut part = |name: String, rows: usize, cols: usize| Part {
        name,
        rows,
        cols,
        values: (0..rows * cols).map(|_| (0.2 * (next() - 0.5)) as f32).collect(),
    };
    linear
        .flat_map(|TensorShape { name, rows, cols, .. }| {
            [
                part(format!("{name}.lora_a"), rank, cols),
                part(format!("{name}.lora_b"), rows, rank),
            ]
        })
        .collect()
}

/// The file of an adapter, with other metadata where `change` says so.
fn file<'a>(model: &SyntheticModel, parts: &[Part], change: &[(&str, Value<'a>)], ty: GgmlType) -> Arc<ModelFile> {
    let mut writer = Writer::new();
    for (key, value) in [
        ("general.type", Value::from("adapter")),
        ("adapter.type", Value::from("lora")),
        ("general.architecture", Value::from(model.config.architecture.name())),
        ("adapter.lora.alpha", Value::from(ALPHA)),
    ] {
        let changed = change.iter().find(|(other, _)| *other == key);
        writer.set(key, changed.map_or(value, |(_, value)| *value)).unwrap();
    }
    for part in parts {
        writer
            .declare(&part.name, &[part.cols as u64, part.rows as u64], ty)
            .unwrap();
    }
    let mut tensors = writer.write_header(Vec::new()).unwrap();
    for part in parts {
        let bytes: Vec<u8> = match ty {
            GgmlType::F16 => {
                let halves = part.values.iter().map(|&value| half::f16::from_f32(value));
                halves.flat_map(|half| half.to_le_bytes()).collect()
            }
            _ => part.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        tensors.write(&part.name, &bytes).unwrap();
    }
    Arc::new(ModelFile::from_bytes(tensors.finish().unwrap()).unwrap())
}

/// The model with the adapter multiplied into its weights.
fn merged(model: &SyntheticModel, parts: &[Part]) -> ModelFile {
    let source = Source::from_model_file(model.to_model_file().unwrap());
    let find = |name: String| parts.iter().find(|part| part.name == name);
    let file = Blueprint::of(&source)
        .unwrap()
        .to_model_file(Float::F32, &source.shapes().unwrap(), |tensor| {
            let mut weights = source.read(&tensor.name)?;
            let pair = ["lora_a", "lora_b"].map(|part| find(format!("{}.{part}", tensor.name)));
            let [Some(a), Some(b)] = pair else {
                return Ok::<_, Error>(weights);
            };
            let scale = ALPHA / a.rows as f32;
            for (row, weights) in weights.chunks_exact_mut(tensor.cols).enumerate() {
                for (col, weight) in weights.iter_mut().enumerate() {
                    let products = (0..a.rows).map(|r| b.values[row * a.rows + r] * a.values[r * a.cols + col]);
                    *weight += scale * products.sum::<f32>();
                }
            }
            Ok(weights)
        });
    file.unwrap()
}

const TOKENS: [u32; 19] = [
    72, 101, 108, 259, 0, 420, 3, 3, 1, 2, 3, 4, 5, 99, 98, 97, 300, 301, 302,
];

#[test]
fn an_adapter_is_a_change_of_the_weights() {
    for architecture in [
        Architecture::Llama,
        Architecture::Qwen2,
        Architecture::Qwen3,
        Architecture::BitNet,
    ] {
        let model = SyntheticModel::tiny(architecture);
        let plain = logits(model.to_model_file().unwrap());
        for rank in [1, 4, 16] {
            let parts = parts(&model, rank);
            let adapter = file(&model, &parts, &[], GgmlType::F32);
            let loaded = LoadedModel::new(model.to_model_file().unwrap(), &Serial).unwrap();
            let adapted = loaded.with_adapter(&adapter).unwrap();
            assert_eq!(adapted.adapter_rank(), rank);
            let expected = LoadedModel::new(merged(&model, &parts), &Serial).unwrap();
            // More positions than go through an adapter at a time.
            let (found, expected) = (loaded_logits(&adapted, &TOKENS), loaded_logits(&expected, &TOKENS));
            let off = difference(&found, &expected);
            let changed = difference(&found[..plain.len()], &plain);
            println!("{architecture:?}, rank {rank}: off by {off}, changed by {changed}");
            assert!(
                off < 1e-3 * changed && changed > 0.05,
                "off by {off}, changed by {changed}"
            );
        }
    }
}

/// A packed base, halves, and an engine: sessions with the adapter answer as ones with the changed weights, nearly.
#[test]
fn engines_apply_it_and_know_its_conversations() {
    let model = SyntheticModel::tiny(Architecture::Llama).with_storage(Storage::by_name("phi4").unwrap());
    let parts = parts(&model, 4);
    let engine = |adapter: Option<Arc<ModelFile>>| {
        let options = EngineOptions {
            threads: Some(1),
            adapter,
            ..EngineOptions::default()
        };
        Engine::load(model.to_model_file().unwrap(), options).unwrap()
    };
    let adapter = file(&model, &parts, &[], GgmlType::F16);
    let (plain, adapted) = (engine(None), engine(Some(adapter.clone())));
    let taken = |engine: &Engine| engine.memory().weights_heap_bytes;
    let floats: usize = parts.iter().map(|part| part.values.len()).sum();
    assert_eq!(taken(&adapted) - taken(&plain), 4 * floats as u64);

    let again = engine(Some(adapter));
    let [mut before, mut with, mut same] =
        [&plain, &adapted, &again].map(|engine| engine.session(SessionOptions::default()).unwrap());
    let scores = |session: &mut Session| {
        let mut all = Vec::new();
        session
            .evaluate(&TOKENS, |_, scores| all.extend_from_slice(scores))
            .unwrap();
        all
    };
    let [a, b, c] = [&mut before, &mut with, &mut same].map(scores);
    assert!(difference(&a, &b) > 0.05);
    assert!(b == c);

    // What was read with the adapter is not what was read without.
    let mut state = Vec::new();
    with.save_to(&mut state).unwrap();
    same.restore_from(&mut &state[..]).unwrap();
    let error = before.restore_from(&mut &state[..]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::SavedState {
                source: StateError::OtherModel,
                ..
            }
        ),
        "{error}"
    );
}

fn refusal(model: &SyntheticModel, adapter: &ModelFile) -> String {
    let loaded = LoadedModel::new(model.to_model_file().unwrap(), &Serial).unwrap();
    match loaded.with_adapter(adapter).map(drop) {
        Err(Error::Model(ModelError::Adapter(error))) => error.to_string(),
        Err(error) => format!("other: {error}"),
        Ok(()) => panic!("accepted"),
    }
}

#[test]
fn adapters_of_other_models_are_refused() {
    let model = SyntheticModel::tiny(Architecture::Llama);
    let parts_of = |change: &dyn Fn(&mut Vec<Part>)| {
        let mut parts = parts(&model, 4);
        change(&mut parts);
        file(&model, &parts, &[], GgmlType::F32)
    };
    for (adapter, expected) in [
        (
            parts_of(&|parts| drop(parts.remove(0))),
            "no tensor \"blk.0.attn_q.weight.lora_a\"",
        ),
        (
            parts_of(&|parts| drop(parts.remove(1))),
            "no tensor \"blk.0.attn_q.weight.lora_b\"",
        ),
        (
            parts_of(&|parts| parts[0].name = "output.weight.lora_a".into()),
            "no tensor",
        ),
        (
            parts_of(&|parts| {
                for (part, name) in parts
                    .iter_mut()
                    .zip(["blk.7.attn_q.weight.lora_a", "blk.7.attn_q.weight.lora_b"])
                {
                    part.name = name.into();
                }
            }),
            "\"blk.7.attn_q.weight.lora_a\" changes no linear layer",
        ),
        (
            parts_of(&|parts| {
                for (part, name) in parts.iter_mut().zip(["output.weight.lora_a", "output.weight.lora_b"]) {
                    part.name = name.into();
                }
            }),
            "\"output.weight.lora_a\" changes no linear layer",
        ),
        (
            parts_of(&|parts| {
                parts[1].rows = 32;
                parts[1].values.truncate(32 * 4);
            }),
            "lora_b\" has the shape [4, 32]",
        ),
        (
            parts_of(&|parts| {
                parts[0].rows = 65;
                parts[0].values.resize(65 * 64, 0.0);
            }),
            "lora_a\" has the shape [64, 65]",
        ),
        (parts_of(&|parts| parts[3].values[5] = f32::NAN), "not a finite number"),
        (
            file(&model, &[], &[("general.type", "model".into())], GgmlType::F32),
            "no LoRA adapter",
        ),
        (
            file(&model, &[], &[("adapter.type", "other".into())], GgmlType::F32),
            "no LoRA adapter",
        ),
        (
            file(&model, &[], &[("general.architecture", "qwen2".into())], GgmlType::F32),
            "\"llama\"",
        ),
        (
            file(
                &model,
                &[],
                &[("adapter.lora.alpha", f32::INFINITY.into())],
                GgmlType::F32,
            ),
            "alpha",
        ),
    ] {
        let error = refusal(&model, &adapter);
        assert!(error.contains(expected), "{error}");
    }
    let complex = SyntheticModel::tiny(Architecture::IFairy);
    let error = refusal(&complex, &file(&complex, &[], &[], GgmlType::F32));
    assert!(error.contains("ifairy"), "{error}");
    // An error type that callers can match.
    let loaded = LoadedModel::new(model.to_model_file().unwrap(), &Serial).unwrap();
    let error = loaded
        .with_adapter(&model.to_model_file().unwrap())
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Model(ModelError::Adapter(AdapterError::NotAdapter {
                key: "general.type",
                ..
            }))
        ),
        "{error}"
    );
}
