//! Packing with error feedback.

mod pack_common;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use halfpi::Error;
use halfpi::gguf::{GgmlType, ModelFile, Writer};
use halfpi::model::ModelError;
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pack::{Calibration, CalibrationError, Format, Method, Options, PackError, Source, pack};
use halfpi::tokenizer::{Special, Tokenizer};
use halfpi::transformer::Architecture;
use pack_common::{Directory, difference, logits, logits_of, unwrap_pack_error};

/// Characters of all kinds in no order, some thousand tokens: like the weights, they say nothing.
fn text(seed: u32) -> String {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        state >> 8
    };
    (0..4000).filter_map(|_| char::from_u32(next() % 0x500)).collect()
}

fn source(model: &SyntheticModel) -> Source {
    Source::from_model_file(model.to_model_file().unwrap())
}

fn calibrated(format: Format) -> Options {
    Options {
        calibration: Some(Calibration::new(text(1))),
        threads: 2,
        ..Options::new(format)
    }
}

fn write(source: &Source, options: &Options, path: &Path) -> halfpi::Result<halfpi::pack::PackReport> {
    pack(source, options, path, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn the_same_inputs_give_the_same_bytes_with_any_number_of_threads() {
    let directory = Directory::new();
    let source = source(&SyntheticModel::tiny(Architecture::Qwen3));
    let pack = |threads| {
        let path = directory.path().join(format!("{threads}.gguf"));
        let options = Options {
            threads,
            ..calibrated(Format::Phi4Additive)
        };
        write(&source, &options, &path).unwrap();
        fs::read(path).unwrap()
    };
    let one = pack(1);
    for threads in [1, 2, 5] {
        assert!(pack(threads) == one, "{threads} threads");
    }
}

#[test]
fn calibrated_files_have_the_usual_layout_and_say_less_wrong() {
    let directory = Directory::new();
    let (mut plain_error, mut feedback_error) = (0.0, 0.0);
    for seed in 0..4 {
        let model = SyntheticModel::tiny(Architecture::Llama).with_seed(seed);
        let source = source(&model);
        // Another text than the one it was calibrated on.
        let tokenizer = Tokenizer::from_gguf(&model.to_model_file().unwrap().gguf().unwrap()).unwrap();
        let tokens = &tokenizer.encode(&text(2), Special::Parse)[..256];
        let logits = |file| logits_of(file, tokens);
        let expected = logits(model.to_model_file().unwrap());
        let path = directory.path().join("packed.gguf");
        let plain = write(&source, &Options::new(Format::Phi4), &path).unwrap();
        plain_error += difference(&expected, &logits(ModelFile::open(&path).unwrap()));
        let feedback = write(&source, &calibrated(Format::Phi4), &path).unwrap();
        feedback_error += difference(&expected, &logits(ModelFile::open(&path).unwrap()));
        assert_eq!(plain.file_bytes, feedback.file_bytes);
        // The weights themselves end up further away: that is the trade.
        assert!(feedback.nmse > plain.nmse, "{} {}", feedback.nmse, plain.nmse);
    }
    println!("error of the logits: {plain_error} plain, {feedback_error} with feedback");
    assert!(feedback_error < 0.9 * plain_error, "{feedback_error} {plain_error}");
}

#[test]
fn mixed_formats_are_calibrated_where_they_have_codes() {
    let directory = Directory::new();
    let model = SyntheticModel::tiny(Architecture::BitNet).with_storage(Storage::by_name("q4_0").unwrap());
    let path = directory.path().join("packed.gguf");
    let options = Options {
        keep: [
            "*.attn_q.*=f16",
            "*.ffn_up.*=lossless",
            "token_embd.weight=q8",
            "blk.1.*=phi5",
        ]
        .map(|keep| keep.parse().unwrap())
        .to_vec(),
        ..calibrated(Format::Phi4)
    };
    let report = write(&source(&model), &options, &path).unwrap();
    let format = |name: &str| &report.tensors.iter().find(|tensor| tensor.name == name).unwrap().to;
    assert_eq!(format("blk.0.attn_q.weight"), "f16");
    assert_eq!(format("blk.1.ffn_up.weight"), "lossless");
    assert_eq!(format("blk.1.ffn_down.weight"), "phi5");
    assert!(
        logits(ModelFile::open(&path).unwrap())
            .iter()
            .all(|logit| logit.is_finite())
    );
}

#[test]
fn what_cannot_be_calibrated_is_refused_and_leaves_nothing() {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    let refused = |model: &SyntheticModel, calibration| {
        let options = Options {
            calibration: Some(calibration),
            ..Options::new(Format::Phi4)
        };
        let error = unwrap_pack_error(write(&source(model), &options, &path));
        assert!(!path.exists());
        match error {
            PackError::Calibration(error) => error,
            other => panic!("{other}"),
        }
    };
    let llama = SyntheticModel::tiny(Architecture::Llama);
    for text in ["", "too short"] {
        let error = refused(&llama, Calibration::new(text));
        assert!(matches!(error, CalibrationError::TextTooShort { .. }), "{error}");
    }
    let none = Calibration {
        tokens: 0,
        ..Calibration::new(text(1))
    };
    assert!(matches!(
        refused(&llama, none),
        CalibrationError::TextTooShort { found: 0, .. }
    ));
    let complex = SyntheticModel::tiny(Architecture::IFairy);
    let error = refused(&complex, Calibration::new(text(1)));
    assert!(
        matches!(error, CalibrationError::Architecture { name: "ifairy" }),
        "{error}"
    );
}

/// Feedback trades errors of weights for errors of outputs, but no right scale is refused for that, not even where the
/// text is too short to learn much from.
#[test]
fn good_packs_pass_the_gate_whatever_the_text() {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    let source = source(&SyntheticModel::tiny(Architecture::Llama));
    for format in [
        Format::Phi4,
        Format::Phi5,
        Format::Phi5Additive,
        Format::Halfpi4,
        Format::Ternary,
    ] {
        for tokens in [64, 700, 4096] {
            let calibration = Calibration {
                tokens,
                ..Calibration::new(text(1))
            };
            let options = Options {
                calibration: Some(calibration),
                ..Options::new(format)
            };
            let report = write(&source, &options, &path).unwrap();
            println!("{format}, {tokens} tokens: NMSE {}", report.nmse);
        }
    }
}

/// A few weights are large: BitNet's scale, made for ones that are all alike, leaves most of those out, and feedback cannot
/// help it.
#[test]
fn a_wrong_scale_is_refused_with_feedback_too() {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    let model = SyntheticModel::tiny(Architecture::Llama).to_model_file().unwrap();
    let start = {
        let gguf = model.gguf().unwrap();
        let weights = gguf.data(gguf.tensor("blk.1.ffn_up.weight").unwrap());
        let start = weights.as_ptr() as usize - model.bytes().as_ptr() as usize;
        start..start + weights.len()
    };
    let mut bytes = model.bytes().to_vec();
    let options = Options {
        method: Method::AbsMean,
        ..calibrated(Format::Ternary)
    };
    write(&Source::from_model_file(model), &options, &path).unwrap();
    fs::remove_file(&path).unwrap();
    for weight in bytes[start].chunks_exact_mut(4).step_by(50) {
        let large = 100.0 * f32::from_le_bytes(weight.try_into().unwrap());
        weight.copy_from_slice(&large.to_le_bytes());
    }
    let source = Source::from_model_file(ModelFile::from_bytes(bytes).unwrap());
    let error = unwrap_pack_error(write(&source, &options, &path));
    let PackError::Loss {
        name, of, nmse, limit, ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((name.as_str(), of), ("blk.1.ffn_up.weight", "outputs"));
    assert!(nmse > limit, "{nmse} {limit}");
    assert!(!path.exists());
    let taken = Options {
        allow_loss: true,
        ..options
    };
    write(&source, &taken, &path).unwrap();
}

#[test]
fn a_calibrated_pack_can_be_stopped() {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    let (source, mut calls) = (source(&SyntheticModel::tiny(Architecture::Llama)), 0);
    let stopped = pack(&source, &calibrated(Format::Phi4), &path, &mut |progress| {
        calls += 1;
        assert!(progress.weights_done <= progress.weights);
        if calls == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(unwrap_pack_error(stopped), PackError::Cancelled));
    assert_eq!((calls, path.exists()), (3, false));
}

/// A tensor of a model in f32.
struct Tensor {
    name: String,
    dims: Vec<u64>,
    weights: Vec<f32>,
}

/// A model of which some tensors were changed.
fn malformed(change: impl FnOnce(&mut Vec<Tensor>)) -> Source {
    let model = SyntheticModel::tiny(Architecture::Llama).to_model_file().unwrap();
    let gguf = model.gguf().unwrap();
    let floats = |bytes: &[u8]| {
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|&float| f32::from_le_bytes(float))
            .collect()
    };
    let tensors = gguf.tensors().iter().map(|tensor| Tensor {
        name: tensor.name.to_owned(),
        dims: tensor.dims().to_vec(),
        weights: floats(gguf.data(tensor)),
    });
    let mut tensors: Vec<_> = tensors.collect();
    change(&mut tensors);
    let mut writer = Writer::new();
    writer.copy_metadata(&gguf, |_| true).unwrap();
    for tensor in &mut tensors {
        tensor
            .weights
            .resize(tensor.dims.iter().product::<u64>() as usize, 0.25);
        writer.declare(&tensor.name, &tensor.dims, GgmlType::F32).unwrap();
    }
    let mut out = writer.write_header(Vec::new()).unwrap();
    for tensor in &tensors {
        let bytes: Vec<u8> = tensor.weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        out.write(&tensor.name, &bytes).unwrap();
    }
    Source::from_model_file(ModelFile::from_bytes(out.finish().unwrap()).unwrap())
}

/// Matrices that multiply the same inputs and disagree about how many there are, and everything else that does not fit.
#[test]
fn malformed_models_are_refused_before_the_pass() {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    let refused = |change: &dyn Fn(&mut Vec<Tensor>)| {
        let error = write(&malformed(change), &calibrated(Format::Q8), &path);
        assert!(!path.exists());
        match error {
            Err(Error::Model(error)) => error,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("a malformed model was packed"),
        }
    };
    // The good model has 64 channels, 32 of keys, 160 inside its feed-forward layers.
    for (name, shapes) in [
        ("blk.0.attn_k.weight", [&[32, 32][..], &[128, 32], &[64, 64], &[64]]),
        (
            "blk.1.ffn_up.weight",
            [&[160, 64], &[96, 160], &[64, 192], &[64, 160, 2]],
        ),
        (
            "blk.0.ffn_down.weight",
            [&[64, 160], &[192, 64], &[160, 32], &[160, 64, 2]],
        ),
        ("output.weight", [&[32, 421], &[64, 420], &[64, 422], &[421, 64]]),
        ("blk.1.attn_norm.weight", [&[63], &[65], &[64, 2], &[32]]),
    ] {
        for dims in shapes {
            let error = refused(&|tensors| {
                let tensor = tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
                tensor.dims = dims.to_vec();
            });
            assert!(
                matches!(&error, ModelError::Shape { name: named, .. } if named == name),
                "{error}"
            );
        }
    }
    for name in ["token_embd.weight", "blk.1.attn_v.weight", "output_norm.weight"] {
        let error = refused(&|tensors| tensors.retain(|tensor| tensor.name != name));
        assert!(
            matches!(&error, ModelError::MissingTensor { name: named } if named == name),
            "{error}"
        );
    }
    let with = |name: &str, dims: &[u64]| {
        refused(&|tensors| {
            let (name, dims, weights) = (name.to_owned(), dims.to_vec(), Vec::new());
            tensors.push(Tensor { name, dims, weights });
        })
    };
    assert!(matches!(
        with("blk.2.attn_q.weight", &[64, 64]),
        ModelError::UnusedTensor { .. }
    ));
    assert!(matches!(with("rope_freqs.weight", &[9]), ModelError::Shape { .. }));
    assert!(matches!(
        with("blk.0.attn_q.bias", &[64]),
        ModelError::MissingTensor { .. }
    ));
}

/// Weights that are no numbers are found on the way, wherever they are.
#[test]
fn damaged_weights_are_refused_in_the_pass() {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    for name in [
        "blk.0.attn_q.weight",
        "blk.1.ffn_norm.weight",
        "output.weight",
        "token_embd.weight",
    ] {
        for weight in [f32::NAN, f32::INFINITY] {
            let source = malformed(|tensors| {
                let tensor = tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
                tensor.weights.fill(weight);
            });
            let error = unwrap_pack_error(write(&source, &calibrated(Format::Q8), &path));
            let is_named = matches!(
                error,
                PackError::NotFinite { .. } | PackError::Calibration(CalibrationError::Inputs { .. })
            );
            assert!(is_named, "{name} of {weight}: {error}");
            assert!(!path.exists());
        }
    }
}
