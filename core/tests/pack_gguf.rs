//! Packing GGUF files.

mod pack_common;

use std::ops::ControlFlow;

use halfpi::Error;
use halfpi::gguf::{GgmlType, Gguf, ModelFile, Writer};
use halfpi::model::ModelError;
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pack::{Format, Options, PackError, PackReport, Scales, Source, pack};
use halfpi::transformer::Architecture;
use halfpi_kernels::format::{HEADER_BYTES, Packed};
use pack_common::{Directory, difference, logits, unwrap_pack_error};

fn tiny(storage: &str) -> SyntheticModel {
    SyntheticModel::tiny(Architecture::Llama).with_storage(Storage::by_name(storage).unwrap())
}

fn source(model: &SyntheticModel) -> Source {
    Source::from_model_file(model.to_model_file().unwrap())
}

/// Packs into a file of a directory of its own.
fn packed(source: &Source, options: &Options) -> halfpi::Result<(PackReport, ModelFile, Directory)> {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    let report = pack(source, options, &path, &mut |_| ControlFlow::Continue(()))?;
    assert_eq!(report.file_bytes, path.metadata().unwrap().len());
    Ok((report, ModelFile::open(path).unwrap(), directory))
}

fn options(format: Format, keep: &[&str]) -> Options {
    Options {
        keep: keep.iter().map(|keep| keep.parse().unwrap()).collect(),
        threads: 2,
        ..Options::new(format)
    }
}

fn matrix<'a>(gguf: &Gguf<'a>, name: &str) -> Packed<'a> {
    Packed::from_file_bytes(gguf.data(gguf.tensor(name).unwrap())).unwrap()
}

#[test]
fn lossless_files_give_the_same_logits_to_the_bit() {
    for storage in ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q8", "phi4"] {
        let model = tiny(storage);
        let (report, file, _directory) = packed(&source(&model), &options(Format::Lossless, &[])).unwrap();
        assert_eq!(report.sqnr_db, None, "{storage}");
        assert_eq!(report.nmse, 0.0);
        let expected = logits(model.to_model_file().unwrap());
        assert!(logits(file) == expected, "{storage}");
    }
}

/// What is stored as it is has its scales looked through all the same.
#[test]
fn lossless_does_not_copy_scales_that_are_not_numbers() {
    let name = "blk.1.attn_k.weight";
    for (storage, from_end) in [("q4_1", 18), ("q8_0", 34), ("phi4", 2)] {
        let model = tiny(storage).to_model_file().unwrap();
        let gguf = model.gguf().unwrap();
        let mut bytes = model.bytes().to_vec();
        let tensor = gguf.tensor(name).unwrap();
        let at = (tensor.offset + tensor.bytes) as usize - from_end;
        bytes[at..at + 2].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
        let source = Source::from_model_file(ModelFile::from_bytes(bytes).unwrap());
        match packed(&source, &options(Format::Lossless, &[])) {
            Err(Error::Model(ModelError::Scale { name: named, value })) => {
                assert_eq!((named.as_str(), value), (name, f32::INFINITY), "{storage}");
            }
            Err(error) => panic!("{storage}: {error}"),
            Ok(_) => panic!("{storage}: copied"),
        }
    }
}

#[test]
fn packed_files_run_and_stay_close() {
    for architecture in Architecture::ALL {
        let model = SyntheticModel::tiny(architecture);
        let expected = logits(model.to_model_file().unwrap());
        for (format, bits, tolerance) in [
            (Format::Q8, 8.5, 0.1),
            (Format::F16, 16.0, 0.02),
            (Format::Phi4Additive, 4.5, 1.5),
        ] {
            let (report, file, _directory) = packed(&source(&model), &options(format, &[])).unwrap();
            let error = difference(&expected, &logits(file));
            // iFairy's gate jumps: a small change can open or close one.
            let tolerance = if architecture.is_complex() {
                5.0 * tolerance
            } else {
                tolerance
            };
            assert!(error > 0.0 && error < tolerance, "{architecture:?} {format}: {error}");
            // Tiles that are part empty, headers and vectors add something to small matrices.
            assert!(
                (bits..bits + 3.0).contains(&report.bits_per_weight),
                "{}",
                report.bits_per_weight
            );
        }
    }
}

#[test]
fn the_report_describes_the_file() {
    let model = tiny("q4_0");
    let keep = ["token_embd.weight=q8", "blk.0.*=f16", "blk.1.attn_*=lossless"];
    let (report, file, _directory) = packed(&source(&model), &options(Format::Phi4, &keep)).unwrap();
    let gguf = file.gguf().unwrap();
    let names: Vec<&str> = gguf.tensors().iter().map(|tensor| tensor.name).collect();
    assert_eq!(
        report.tensors.iter().map(|tensor| &tensor.name).collect::<Vec<_>>(),
        names
    );
    let weights: u64 = report.tensors.iter().map(|tensor| tensor.weights).sum();
    assert_eq!((report.weights, weights), (model.parameters(), model.parameters()));

    let tensor = |name: &str| report.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    let embedding = tensor("token_embd.weight");
    assert_eq!((embedding.from.as_str(), embedding.to.as_str()), ("Q4_0", "q8"));
    assert_eq!(embedding.shape, [64, 421]);
    // The integers of Q4_0 are ones of 8 bits too.
    assert_eq!(embedding.sqnr_db, None);
    assert_eq!(embedding.bytes, gguf.tensor("token_embd.weight").unwrap().bytes);
    assert_eq!(embedding.bits_per_weight, embedding.bytes as f64 * 8.0 / (64.0 * 421.0));
    assert_eq!(tensor("blk.0.attn_q.weight").to, "f16");
    assert_eq!(gguf.tensor("blk.0.attn_q.weight").unwrap().ty, GgmlType::F16);
    assert_eq!(tensor("blk.1.attn_q.weight").to, "lossless");
    assert_eq!(tensor("blk.1.attn_q.weight").sqnr_db, None);
    assert_eq!(tensor("blk.1.ffn_up.weight").to, "phi4");
    assert!((10.0..30.0).contains(&tensor("blk.1.ffn_up.weight").sqnr_db.unwrap()));
    // A pattern reaches no vector.
    assert_eq!(tensor("blk.0.attn_norm.weight").to, "f32");
    assert_eq!(gguf.tensor("blk.0.attn_norm.weight").unwrap().ty, GgmlType::F32);

    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["tensors"][0]["name"], "token_embd.weight");
    assert!(json["tensors"][0]["sqnr_db"].is_null());
    let lossy = names.iter().position(|name| *name == "blk.1.ffn_up.weight").unwrap();
    assert!(json["tensors"][lossy]["sqnr_db"].is_number());
}

#[test]
fn metadata_is_copied_and_the_layout_named() {
    let model = tiny("f32");
    let (_, file, _directory) = packed(&source(&model), &options(Format::Q8, &[])).unwrap();
    let (before, after) = (model.to_model_file().unwrap(), file);
    let (before, after) = (before.gguf().unwrap(), after.gguf().unwrap());
    for (key, value) in before.metadata() {
        assert_eq!(after.get(key), Some(value), "{key}");
    }
    assert_eq!(after.u32("halfpi.layout_version").unwrap(), 1);
    assert_eq!(after.str("halfpi.format").unwrap(), "q8");
    assert_eq!(after.u32("general.alignment").unwrap(), 64);
    assert_eq!(after.metadata().len(), before.metadata().len() + 2);
    let tensor = after.tensor("output.weight").unwrap();
    assert_eq!((tensor.ty, tensor.n_dims()), (GgmlType::I8, 1));
    assert!(tensor.offset.is_multiple_of(64));
    let packed = matrix(&after, "output.weight");
    assert_eq!((packed.rows(), packed.cols()), (421, 64));
    assert_eq!(tensor.bytes as usize, HEADER_BYTES + packed.bytes());
}

#[test]
fn a_packed_file_can_be_packed_again() {
    let model = tiny("f32");
    let (_, file, _first) = packed(&source(&model), &options(Format::Q8, &[])).unwrap();
    let q8_logits = logits(ModelFile::from_bytes(file.bytes()).unwrap());
    let (report, file, _second) = packed(&Source::from_model_file(file), &options(Format::F32, &[])).unwrap();
    assert_eq!(report.tensors[0].from, "packed");
    assert_eq!(report.sqnr_db, None);
    assert_eq!(file.gguf().unwrap().str("halfpi.format").unwrap(), "f32");
    // The same weights, multiplied in another order.
    assert!(difference(&logits(file), &q8_logits) < 1e-4);
}

#[test]
fn groups_shrink_where_the_columns_do_not_divide() {
    // Rows of 64 and 160.
    let scales = |scales| Options {
        scales: Some(scales),
        ..options(Format::Phi4, &[])
    };
    let (report, file, _directory) = packed(&source(&tiny("f32")), &scales(Scales::Group(128))).unwrap();
    let gguf = file.gguf().unwrap();
    assert_eq!(matrix(&gguf, "blk.0.attn_q.weight").layout().scale_groups(), 1);
    assert_eq!(matrix(&gguf, "blk.0.ffn_down.weight").layout().scale_groups(), 5);
    let note = |name: &str| {
        report
            .tensors
            .iter()
            .find(|tensor| tensor.name == name)
            .unwrap()
            .note
            .clone()
    };
    assert_eq!(
        note("blk.0.ffn_down.weight").unwrap(),
        "groups of 32: 160 columns are not a multiple of 128"
    );

    let (report, file, _directory) = packed(&source(&tiny("f32")), &scales(Scales::Row)).unwrap();
    assert_eq!(
        matrix(&file.gguf().unwrap(), "blk.0.ffn_down.weight")
            .layout()
            .scale_groups(),
        1
    );
    assert!(report.tensors.iter().all(|tensor| tensor.note.is_none()));
}

/// A file with one tensor of these dimensions.
fn one_tensor(dims: &[u64], ty: GgmlType, data: &[u8]) -> Source {
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    writer.declare("x.weight", dims, ty).unwrap();
    let mut tensors = writer.write_header(Vec::new()).unwrap();
    tensors.write("x.weight", data).unwrap();
    Source::from_model_file(ModelFile::from_bytes(tensors.finish().unwrap()).unwrap())
}

#[test]
fn what_has_no_tiles_is_kept_as_f16() {
    let floats: Vec<u8> = (0..33 * 4).flat_map(|i| (i as f32).to_le_bytes()).collect();
    for (dims, note) in [
        (&[33, 4][..], "33 columns are not a multiple of 32"),
        (&[11, 3, 4], "3 dimensions: only matrices are packed"),
    ] {
        let (report, file, _directory) =
            packed(&one_tensor(dims, GgmlType::F32, &floats), &options(Format::Q8, &[])).unwrap();
        let tensor = &report.tensors[0];
        assert_eq!((tensor.to.as_str(), tensor.note.as_deref()), ("f16", Some(note)));
        assert_eq!(tensor.sqnr_db, None);
        let gguf = file.gguf().unwrap();
        assert_eq!((gguf.tensors()[0].ty, gguf.tensors()[0].dims()), (GgmlType::F16, dims));
    }
}

#[test]
fn every_block_type_becomes_the_floats_of_the_reference() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/dequantize.json");
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
    let bytes = |value: &serde_json::Value| -> Vec<u8> {
        let hex = value.as_str().unwrap();
        (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    };
    let golden = golden.as_object().unwrap();
    assert_eq!(golden.len(), 14);
    for (name, case) in golden {
        let ty = *GgmlType::ALL.iter().find(|ty| ty.name() == name).unwrap();
        let source = one_tensor(&[256, 2], ty, &bytes(&case["blocks"]));
        let (report, file, _directory) = packed(&source, &options(Format::F32, &[])).unwrap();
        assert_eq!(report.tensors[0].from, *name);
        let gguf = file.gguf().unwrap();
        assert_eq!(gguf.data(&gguf.tensors()[0]), bytes(&case["floats"]), "{name}");
    }
}

#[test]
fn what_cannot_be_packed_is_refused_and_leaves_no_file() {
    let refuse = |source: &Source, options: &Options| {
        let directory = Directory::new();
        let result = pack(source, options, &directory.path().join("x.gguf"), &mut |_| {
            ControlFlow::Continue(())
        });
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        unwrap_pack_error(result)
    };
    let error = refuse(
        &one_tensor(&[256, 1], GgmlType::IQ2_XS, &[0; 74]),
        &options(Format::Q8, &[]),
    );
    assert!(
        matches!(&error, PackError::Type { name, ty: GgmlType::IQ2_XS } if name == "x.weight"),
        "{error}"
    );
    let error = refuse(
        &one_tensor(&[256, 1], GgmlType::Q6_K, &[0; 210]),
        &options(Format::Lossless, &[]),
    );
    assert!(
        matches!(error, PackError::NotLossless { ty: GgmlType::Q6_K, .. }),
        "{error}"
    );

    let mut floats = vec![0; 64 * 32 * 4];
    floats[40 * 32 * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    for format in [Format::Phi4, Format::F16, Format::F32] {
        let error = refuse(&one_tensor(&[32, 64], GgmlType::F32, &floats), &options(format, &[]));
        assert!(matches!(error, PackError::NotFinite { row: 40, .. }), "{error}");
    }
    floats[40 * 32 * 4..][..4].copy_from_slice(&1e6f32.to_le_bytes());
    let error = refuse(
        &one_tensor(&[32, 64], GgmlType::F32, &floats),
        &options(Format::F16, &[]),
    );
    assert!(
        matches!(
            error,
            PackError::Overflow {
                row: 40,
                weight: 1e6,
                ..
            }
        ),
        "{error}"
    );

    // A packed tensor with a header that promises more than there is.
    let mut header = [0; 128];
    header[..7].copy_from_slice(b"HPIP\x01\x00\x08");
    header[8..16].copy_from_slice(&[0, 0, 1, 0, 32, 0, 0, 0]);
    let error = refuse(&one_tensor(&[128], GgmlType::I8, &header), &options(Format::Q8, &[]));
    assert!(matches!(error, PackError::Format { .. }), "{error}");
    // I8 that is not packed.
    let error = refuse(&one_tensor(&[128], GgmlType::I8, &[1; 128]), &options(Format::Q8, &[]));
    assert!(matches!(error, PackError::Type { ty: GgmlType::I8, .. }), "{error}");
}

#[test]
fn progress_counts_all_weights_and_can_stop() {
    let (source, weights) = (source(&tiny("f32")), tiny("f32").parameters());
    let directory = Directory::new();
    let path = directory.path().join("x.gguf");
    let mut seen = Vec::new();
    let report = pack(&source, &options(Format::Q8, &[]), &path, &mut |progress| {
        seen.push((progress.index, progress.weights_done));
        assert_eq!(progress.weights, weights, "{}", progress.tensor);
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&(report.tensors.len() - 1, report.weights)));

    // The old file stays if the new one is stopped.
    let old = std::fs::read(&path).unwrap();
    let mut calls = 0;
    let stopped = pack(&source, &options(Format::Phi4, &[]), &path, &mut |_| {
        calls += 1;
        if calls == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(unwrap_pack_error(stopped), PackError::Cancelled));
    assert_eq!(calls, 3);
    assert_eq!(std::fs::read(&path).unwrap(), old);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn sources_that_are_no_models_are_refused_with_their_path() {
    let directory = Directory::new();
    let open = |path: &std::path::Path| Source::open(path).err().unwrap().to_string();
    assert!(open(&directory.path().join("none.gguf")).contains("none.gguf"));
    assert!(open(directory.path()).contains("config.json"));
    let text = directory.path().join("text.gguf");
    std::fs::write(&text, "hello").unwrap();
    assert!(open(&text).contains("text.gguf"));
}
