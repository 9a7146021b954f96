//! Packing with error feedback.

mod pack_common;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use halfpi::gguf::ModelFile;
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
