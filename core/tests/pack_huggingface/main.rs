//! Packing checkpoints of the Hugging Face kind, which the tests make from random models.

#[path = "../pack_checkpoint/mod.rs"]
mod pack_checkpoint;
#[path = "../pack_common/mod.rs"]
mod pack_common;
mod refused;
mod ternary;
mod tokenizers;

use std::fs;
use std::ops::ControlFlow;

use halfpi::gguf::{Gguf, ModelFile};
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Format, Options, PackError, Source, pack};
use halfpi::tokenizer::{Special, Tokenizer};
use halfpi::transformer::Architecture;
use pack_checkpoint::{Checkpoint, Dtype};
use pack_common::{Directory, difference, logits, unwrap_pack_error};
use serde_json::json;

fn import(checkpoint: &Checkpoint, format: Format) -> ModelFile {
    let directory = Directory::new();
    checkpoint.write(directory.path(), Dtype::F32, 1);
    pack_directory(&directory, format)
}

fn pack_directory(directory: &Directory, format: Format) -> ModelFile {
    let source = Source::open(directory.path()).unwrap();
    let path = directory.path().join("packed.gguf");
    pack(
        &source,
        &Options::new(format),
        &path,
        &mut |_| ControlFlow::Continue(()),
    )
    .unwrap();
    ModelFile::from_bytes(fs::read(path).unwrap()).unwrap()
}

fn refuse(checkpoint: &Checkpoint) -> PackError {
    let directory = Directory::new();
    checkpoint.write(directory.path(), Dtype::F32, 1);
    unwrap_pack_error(Source::open(directory.path()))
}

/// The floats of a tensor.
fn floats(gguf: &Gguf<'_>, name: &str) -> Vec<f32> {
    let data = gguf.data(gguf.tensor(name).unwrap());
    data.chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

#[test]
fn every_architecture_gives_the_logits_of_its_gguf() {
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3] {
        for tied in [false, true] {
            let mut model = SyntheticModel::tiny(architecture);
            model.tied = tied;
            let expected = model.to_model_file().unwrap();
            let found = import(&Checkpoint::new(&model), Format::F32);
            assert!(logits(found) == logits(expected), "{architecture:?}, tied: {tied}");
        }
    }
}

/// In transformers, a Qwen2 whose biases are zero is a Llama. In GGUF they differ by the order of the rows of queries
/// and keys, so this fails if the import permutes them wrongly.
#[test]
fn a_llama_answers_as_the_same_qwen2_does() {
    let model = SyntheticModel::tiny(Architecture::Llama);
    let llama = Checkpoint::new(&model);
    let mut qwen2 = Checkpoint::new(&model);
    qwen2.config["architectures"] = json!(["Qwen2ForCausalLM"]);
    for block in 0..2 {
        for (name, len) in [("q_proj", 64), ("k_proj", 32), ("v_proj", 32)] {
            let name = format!("model.layers.{block}.self_attn.{name}.bias");
            qwen2.tensors.insert(name, (vec![len], vec![0.0; len]));
        }
    }
    let (a, b) = (logits(import(&llama, Format::F32)), logits(import(&qwen2, Format::F32)));
    assert!(difference(&a, &b) < 1e-4, "{}", difference(&a, &b));

    // The same with biases, which a llama may have too.
    let mut llama = llama;
    for (name, (shape, _)) in &qwen2.tensors {
        if name.ends_with(".bias") {
            let bias = (0..shape[0]).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
            llama.tensors.insert(name.clone(), (shape.clone(), bias));
        }
    }
    for (name, tensor) in &llama.tensors {
        qwen2.tensors.insert(name.clone(), tensor.clone());
    }
    let (c, d) = (logits(import(&llama, Format::F32)), logits(import(&qwen2, Format::F32)));
    assert!(difference(&c, &d) < 1e-4, "{}", difference(&c, &d));
    assert!(difference(&a, &c) > 1e-2, "the biases change nothing");
}

#[test]
fn shards_and_types_make_no_difference() {
    let checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::Qwen3));
    let expected = logits(import(&checkpoint, Format::F32));
    for (dtype, shards, tolerance) in [(Dtype::F32, 3, 0.0), (Dtype::F16, 1, 0.01), (Dtype::Bf16, 2, 0.1)] {
        let directory = Directory::new();
        checkpoint.write(directory.path(), dtype, shards);
        let found = logits(pack_directory(&directory, Format::Lossless));
        let error = difference(&expected, &found);
        assert!(
            error <= tolerance && (tolerance == 0.0) == (error == 0.0),
            "{dtype:?} in {shards}: {error}"
        );
    }
}

#[test]
fn the_shape_and_the_tokenizer_become_metadata() {
    for architecture in Architecture::ALL {
        let model = SyntheticModel::tiny(architecture);
        let (expected, found) = (
            model.to_model_file().unwrap(),
            import(&Checkpoint::new(&model), Format::Q8),
        );
        let (expected, found) = (expected.gguf().unwrap(), found.gguf().unwrap());
        for (key, value) in expected.metadata() {
            // These are the directory's.
            if !["general.name", "halfpi.layout_version"].contains(&key) {
                assert_eq!(
                    found.get(key).map(|v| format!("{v:?}")),
                    Some(format!("{value:?}")),
                    "{key}"
                );
            }
        }
        assert!(!found.bool("tokenizer.ggml.add_eos_token").unwrap());
        Tokenizer::from_gguf(&found).unwrap();
    }
}

#[test]
fn llama_3_frequencies_are_those_of_transformers() {
    let mut checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::Llama));
    checkpoint.config["rope_theta"] = json!(500000.0);
    checkpoint.config["rope_scaling"] = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192
    });
    let file = import(&checkpoint, Format::Q8);
    let factors = floats(&file.gguf().unwrap(), "rope_freqs.weight");
    // Llama 3.2's scaling, at a head of 16, as `_compute_llama3_parameters` words it.
    let (low, high, old) = (8192.0 / 1.0, 8192.0 / 4.0, 8192.0);
    for (i, &factor) in factors.iter().enumerate() {
        let inv_freq = 1.0 / 500000f64.powf(2.0 * i as f64 / 16.0);
        let wavelen = std::f64::consts::TAU / inv_freq;
        let mut scaled = if wavelen > low { inv_freq / 32.0 } else { inv_freq };
        if wavelen >= high && wavelen <= low {
            let smooth = (old / wavelen - 1.0) / (4.0 - 1.0);
            scaled = (1.0 - smooth) * inv_freq / 32.0 + smooth * inv_freq;
        }
        assert!(
            (inv_freq / scaled / f64::from(factor) - 1.0).abs() < 1e-4,
            "{i}: {factor}"
        );
    }
    assert_eq!((factors.len(), factors[0], factors[7]), (8, 1.0, 32.0));
    // The blend in the middle is there.
    assert!(
        factors.iter().any(|&factor| factor > 1.0 && factor < 32.0),
        "{factors:?}"
    );
    logits(file);
}

#[test]
fn linear_scaling_and_windows_are_kept() {
    let mut checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::Llama));
    checkpoint.config["architectures"] = json!(["MistralForCausalLM"]);
    checkpoint.config["rope_parameters"] = json!({"rope_type": "linear", "factor": 4.0, "rope_theta": 20000.0});
    checkpoint.config.as_object_mut().unwrap().remove("rope_theta");
    checkpoint.config["sliding_window"] = json!(128);
    let file = import(&checkpoint, Format::Q8);
    let gguf = file.gguf().unwrap();
    assert_eq!(gguf.str("general.architecture").unwrap(), "llama");
    assert_eq!(gguf.str("llama.rope.scaling.type").unwrap(), "linear");
    assert_eq!(gguf.f32("llama.rope.scaling.factor").unwrap(), 4.0);
    assert_eq!(gguf.f32("llama.rope.freq_base").unwrap(), 20000.0);
    assert_eq!(gguf.u32("llama.attention.sliding_window").unwrap(), 128);
    logits(file);
}
