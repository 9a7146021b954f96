//! Packing complex models: PhaseQuant, the authors' checkpoints, and ways there and back.

mod pack_checkpoint;
mod pack_common;

use std::f64::consts::FRAC_PI_2;
use std::ops::ControlFlow;

use halfpi::gguf::{Gguf, ModelFile};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pack::{Format, Options, PackError, PackReport, Source, pack};
use halfpi::transformer::Architecture;
use halfpi_kernels::format::{Codes, Packed};
use pack_checkpoint::{Checkpoint, Dtype};
use pack_common::{Directory, difference, logits, unwrap_pack_error};

fn options(format: Format, keep: &[&str]) -> Options {
    Options {
        keep: keep.iter().map(|keep| keep.parse().unwrap()).collect(),
        threads: 2,
        ..Options::new(format)
    }
}

fn packed(source: &Source, options: &Options) -> halfpi::Result<(PackReport, ModelFile)> {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    let report = pack(source, options, &path, &mut |_| ControlFlow::Continue(()))?;
    Ok((report, ModelFile::from_bytes(std::fs::read(path).unwrap()).unwrap()))
}

fn import(checkpoint: &Checkpoint, options: &Options) -> ModelFile {
    let directory = Directory::new();
    checkpoint.write(directory.path(), Dtype::F32, 1);
    packed(&Source::open(directory.path()).unwrap(), options).unwrap().1
}

fn floats(gguf: &Gguf<'_>, name: &str) -> Vec<f32> {
    let data = gguf.data(gguf.tensor(name).unwrap());
    let floats = data.chunks_exact(4);
    floats.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// A matrix of powers of i.
fn phases<'a>(gguf: &Gguf<'a>, name: &str) -> Packed<'a> {
    let packed = Packed::from_file_bytes(gguf.data(gguf.tensor(name).unwrap())).unwrap();
    assert_eq!(packed.codes(), Codes::PhaseComplex);
    packed
}

/// Packs a file that is a model of powers of i already, its real matrices as they are.
const KEEP_REAL: [&str; 2] = ["token_embd.weight=f32", "output.weight=f32"];

/// Which quarter of the plane a number lies in, 0 from -45 to 45 degrees, by its angle.
fn quarter(re: f32, im: f32) -> usize {
    (f64::from(im).atan2(f64::from(re)) / FRAC_PI_2).round().rem_euclid(4.0) as usize
}

/// PhaseQuant, as the paper says it, of all weights of a matrix.
fn phase_quant(re: &[f32], im: &[f32]) -> Vec<[f64; 2]> {
    let scale = |axis: usize, part: &[f32]| {
        let quarters = re.iter().zip(im).map(|(&re, &im)| quarter(re, im));
        let of_axis = part.iter().zip(quarters).filter(|(_, quarter)| quarter % 2 == axis);
        let magnitudes: Vec<f64> = of_axis.map(|(&weight, _)| f64::from(weight.abs())).collect();
        magnitudes.iter().sum::<f64>() / magnitudes.len() as f64
    };
    let (s, t) = (scale(0, re), scale(1, im));
    let numbers = re.iter().zip(im);
    numbers
        .map(|(&re, &im)| [[s, 0.0], [0.0, t], [-s, 0.0], [0.0, -t]][quarter(re, im)])
        .collect()
}

#[test]
fn the_weights_of_checkpoints_become_powers_of_i() {
    let checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::IFairy));
    let file = import(&checkpoint, &options(Format::F32, &[]));
    let gguf = file.gguf().unwrap();
    assert_eq!(gguf.u32("ifairy.embedding_length").unwrap(), 32);
    for (to, from) in [("ffn_down", "mlp.down_proj"), ("attn_q", "self_attn.q_proj")] {
        let part = |part: &str| &checkpoint.tensors[&format!("layer.1.{from}.weight_{part}")].1;
        let expected = phase_quant(part("real"), part("imag"));
        let found = floats(&gguf, &format!("blk.1.{to}.weight"));
        let (re, im) = found.split_at(found.len() / 2);
        for ((&re, &im), expected) in re.iter().zip(im).zip(&expected) {
            let error = (f64::from(re) - expected[0]).abs() + (f64::from(im) - expected[1]).abs();
            assert!(error < 1e-6, "{to}: {re} {im}, not {expected:?}");
        }
    }
    // The rows of the embedding keep their floats, real parts first, and so do norms.
    for (to, from) in [
        ("token_embd.weight", "token_embeddings_PART.weight"),
        ("output_norm.weight", "final_norm.weight_PART"),
    ] {
        let found = &floats(&gguf, to)[..64];
        let part = |part: &str| &checkpoint.tensors[&from.replace("PART", part)].1[..32];
        assert_eq!((&found[..32], &found[32..]), (part("real"), part("imag")), "{to}");
    }
}

/// What training had as powers of i loses nothing: in codes, and in the logits.
#[test]
fn packing_powers_of_i_loses_nothing() {
    let checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::IFairy));
    let floats = import(&checkpoint, &options(Format::F32, &[]));
    let source = Source::from_model_file(import(&checkpoint, &options(Format::F32, &[])));
    for file in [
        import(&checkpoint, &options(Format::PhaseComplex, &KEEP_REAL)),
        packed(&source, &options(Format::PhaseComplex, &KEEP_REAL)).unwrap().1,
    ] {
        let gguf = file.gguf().unwrap();
        let down = phases(&gguf, "blk.1.ffn_down.weight");
        // The real form of 32 x 96 complex weights.
        assert_eq!((down.rows(), down.cols()), (64, 192));
        let difference = difference(&logits(import(&checkpoint, &options(Format::F32, &[]))), &logits(file));
        assert!(difference < 1e-4, "{difference}");
    }
    assert!(logits(floats).iter().all(|logit| logit.is_finite()));
}

/// Floats that were not trained for it: each row has the scales of its own weights.
#[test]
fn every_row_has_its_scales() {
    let model = SyntheticModel::tiny(Architecture::IFairy);
    let file = model.to_model_file().unwrap();
    let (report, packed_file) = packed(
        &Source::from_model_file(model.to_model_file().unwrap()),
        &options(Format::PhaseComplex, &[]),
    )
    .unwrap();
    let (gguf, packed_gguf) = (file.gguf().unwrap(), packed_file.gguf().unwrap());
    let weights = floats(&gguf, "blk.0.attn_k.weight");
    let found = phases(&packed_gguf, "blk.0.attn_k.weight");
    let (re, im) = weights.split_at(weights.len() / 2);
    let cols = 32;
    for (row, (re, im)) in re.chunks(cols).zip(im.chunks(cols)).enumerate() {
        let mut real_form = vec![0.0; 2 * cols];
        halfpi_kernels::format::Matrix::Packed(found)
            .dequantize_row(row, &mut real_form)
            .unwrap();
        for (col, expected) in phase_quant(re, im).into_iter().enumerate() {
            let found = [real_form[col], real_form[cols + col]].map(f64::from);
            assert!(
                (0..2).all(|i| (found[i] - expected[i]).abs() < 1e-6),
                "{row} {col}: {found:?}, not {expected:?}"
            );
        }
    }
    let tensor = |name: &str| report.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    let key = tensor("blk.0.attn_k.weight");
    assert_eq!(
        (key.to.as_str(), key.shape.as_slice()),
        ("phase-complex", &[32, 32][..])
    );
    // Spread evenly over a square, the larger part of a number is 2/3 on average, and |w|² is: what its mean does not
    // explain is 1 - (2/3)² / (2/3).
    assert!((key.nmse - 1.0 / 3.0).abs() < 0.03, "{}", key.nmse);
    // What is real has 8 bits, and the report says why.
    let head = tensor("output.weight");
    assert_eq!(head.to, "q6");
    assert_eq!(tensor("blk.0.attn_sub_norm.weight").to, "f32");
}

/// A packed file can be packed again: as it is, as floats, and from those to the same codes.
#[test]
fn there_and_back() {
    let model = SyntheticModel::tiny(Architecture::IFairy).with_storage(Storage::by_name("phase-complex").unwrap());
    let bytes = model.to_bytes().unwrap();
    let source = || Source::from_model_file(ModelFile::from_bytes(&bytes).unwrap());
    let expected = logits(model.to_model_file().unwrap());
    let (_, same) = packed(&source(), &options(Format::Lossless, &[])).unwrap();
    assert!(logits(same) == expected);

    // Embeddings of 8 bits are floats without loss.
    let (_, dense) = packed(&source(), &options(Format::F32, &[])).unwrap();
    let name = "blk.0.ffn_up.weight";
    assert_eq!(dense.gguf().unwrap().tensor(name).unwrap().dims(), [32, 192]);
    let dense_bytes = dense.bytes().to_vec();
    let error = difference(&logits(dense), &expected);
    assert!(error < 1e-4, "{error}");
    let dense = Source::from_model_file(ModelFile::from_bytes(&dense_bytes).unwrap());
    let (_, again) = packed(&dense, &options(Format::PhaseComplex, &KEEP_REAL)).unwrap();
    let (before, after) = (ModelFile::from_bytes(&bytes).unwrap(), again.gguf().unwrap());
    let (before, after) = (
        phases(&before.gguf().unwrap(), name).code(5, 7),
        phases(&after, name).code(5, 7),
    );
    let (before, after) = (before.unwrap(), after.unwrap());
    // A scale may be negative in a random model: then the code turns by half, and the weight stays.
    assert_eq!(before % 2, after % 2);
    let error = difference(&logits(again), &expected);
    assert!(error < 1e-4, "{error}");
}

#[test]
fn every_format_holds_complex_weights() {
    let model = SyntheticModel::tiny(Architecture::IFairy);
    for format in [Format::Q8, Format::Phi4Additive, Format::F16] {
        let source = Source::from_model_file(model.to_model_file().unwrap());
        let (_, file) = packed(&source, &options(format, &["blk.0.*=phase-complex"])).unwrap();
        assert!(logits(file).iter().all(|logit| logit.is_finite()), "{format}");
    }
}

#[test]
fn surveys_see_both_parts() {
    let source = Source::from_model_file(SyntheticModel::tiny(Architecture::IFairy).to_model_file().unwrap());
    let options = Options {
        survey: true,
        ..options(Format::PhaseComplex, &[])
    };
    let (report, _) = packed(&source, &options).unwrap();
    let tensor = report
        .tensors
        .iter()
        .find(|tensor| tensor.name == "blk.1.ffn_up.weight")
        .unwrap();
    let survey = tensor.survey.as_ref().unwrap();
    // All rows are sampled.
    assert_eq!(survey.sample_rows, 192);
    assert!(
        (survey.sample_nmse - tensor.nmse).abs() < 1e-9,
        "{} {}",
        survey.sample_nmse,
        tensor.nmse
    );
}

#[test]
fn what_is_real_or_incomplete_is_refused() {
    let llama = Source::from_model_file(SyntheticModel::tiny(Architecture::Llama).to_model_file().unwrap());
    let error = unwrap_pack_error(packed(&llama, &options(Format::PhaseComplex, &[])));
    assert!(
        matches!(&error, PackError::NotComplex { name } if name == "blk.0.attn_q.weight"),
        "{error}"
    );

    let checkpoint = Checkpoint::new(&SyntheticModel::tiny(Architecture::IFairy));
    let refused = |checkpoint: &Checkpoint| {
        let directory = Directory::new();
        checkpoint.write(directory.path(), Dtype::F32, 1);
        let source = Source::open(directory.path());
        unwrap_pack_error(source.and_then(|source| packed(&source, &options(Format::F32, &[]))))
    };
    for name in [
        "layer.0.mlp.up_proj.weight_imag",
        "layer.1.pre_layernorm.weight_real",
        "token_embeddings_imag.weight",
    ] {
        let mut broken = checkpoint.clone();
        broken.tensors.remove(name);
        assert!(matches!(refused(&broken), PackError::MissingTensor { name: missing, .. } if missing == name));
        let mut broken = checkpoint.clone();
        broken.tensors.get_mut(name).unwrap().1[3] = f32::NAN;
        let error = refused(&broken);
        assert!(matches!(error, PackError::NotFinite { .. }), "{name}: {error}");
    }
    let mut tied = checkpoint.clone();
    tied.config["tie_word_embeddings"] = true.into();
    let error = refused(&tied);
    assert!(
        matches!(
            error,
            PackError::Unsupported {
                key: "tie_word_embeddings",
                ..
            }
        ),
        "{error}"
    );
    let mut more = checkpoint.clone();
    more.tensors
        .insert("layer.0.self_attn.q_proj.bias_real".into(), (vec![32], vec![0.0; 32]));
    assert!(matches!(refused(&more), PackError::UnusedTensor { .. }));
}
