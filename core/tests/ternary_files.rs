//! Files of ternary models as others write them: llama.cpp's TQ1_0 and TQ2_0, with and without a scale beside each matrix,
//! and bitnet.cpp's I2_S in both orders. All hold one model, so all must answer alike.

mod pack_common;

use std::ops::ControlFlow;

use half::f16;
use halfpi::engine::{Engine, EngineOptions, TernaryResidence};
use halfpi::gguf::{GgmlType, ModelFile, Value, Writer};
use halfpi::model::{LoadOptions, LoadedModel, ModelError};
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Format, Options, PackReport, Source, pack};
use halfpi::transformer::{Architecture, Config, Model};
use halfpi::{Error, gguf::Gguf};
use halfpi_kernels::Serial;
use halfpi_kernels::format::stock::I2sOrder;
use halfpi_kernels::format::{Codes, Matrix};
use pack_common::{Directory, TOKENS, difference, loaded_logits, logits};

/// How a file holds its ternary matrices.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    F32,
    /// -1, 0, 1 as halves, and the scale beside them.
    F16Scaled,
    Tq1_0,
    Tq2_0,
    /// Blocks whose scales are 1, and the scale beside them.
    Tq1_0Scaled,
    Tq2_0Scaled,
    I2s(I2sOrder),
}

const X86: Kind = Kind::I2s(I2sOrder::X86);
const ARM: Kind = Kind::I2s(I2sOrder::Arm);

/// A model of random ternary weights under the names and keys that bitnet.cpp's converter writes for BitNet b1.58 2B4T:
/// an F16 embedding that is the head too, and norms in f32.
fn file(kind: Kind) -> ModelFile {
    ModelFile::from_bytes(bytes(kind, |_| {})).unwrap()
}

fn bytes(kind: Kind, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let config = Config {
        architecture: Architecture::BitNet,
        block_count: 2,
        embedding_length: 256,
        feed_forward_length: 512,
        head_count: 4,
        head_count_kv: 2,
        head_dim: 64,
        vocab_size: 421,
        context_length: 512,
        layer_norm_rms_epsilon: 1e-5,
        rope_freq_base: 500_000.0,
        rope_scale: 1.0,
        rope_dimension_count: 64,
    };
    let model = SyntheticModel::new(config, true).to_model_file().unwrap();
    let gguf = model.gguf().unwrap();
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata() {
        match key.strip_prefix("bitnet.") {
            // Their files do not have it.
            Some("hidden_activation") => {}
            Some(key) => drop(writer.set(&format!("bitnet-b1.58.{key}"), *value).unwrap()),
            // The writer's own.
            None if key == "general.alignment" => {}
            None if key == "general.architecture" => drop(writer.set(key, "bitnet-b1.58").unwrap()),
            None => drop(writer.set(key, *value).unwrap()),
        }
    }
    let mut data: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, dims: &[u64], ty, bytes| {
        writer.declare(name, dims, ty).unwrap();
        data.push((name.to_owned(), bytes));
    };
    for tensor in gguf.tensors() {
        let floats = gguf.data(tensor).chunks_exact(4);
        let floats: Vec<f32> = floats.map(|f| f32::from_le_bytes(f.try_into().unwrap())).collect();
        let as_halves = |floats: &[f32]| -> Vec<u8> {
            let halves = floats.iter().flat_map(|&f| f16::from_f32(f).to_le_bytes());
            halves.collect()
        };
        if tensor.n_dims() == 1 {
            add(tensor.name, tensor.dims(), GgmlType::F32, gguf.data(tensor).to_vec());
            continue;
        }
        if tensor.name == "token_embd.weight" {
            add(tensor.name, tensor.dims(), GgmlType::F16, as_halves(&floats));
            continue;
        }
        let deviation = (floats.iter().map(|f| f * f).sum::<f32>() / floats.len() as f32).sqrt();
        let trits: Vec<i8> = floats
            .iter()
            .map(|f| (f / deviation * 1.2).round().clamp(-1.0, 1.0) as i8)
            .collect();
        // A scale that a half holds, so that all files are exact.
        let scale = f16::from_f32(deviation * 1.3);
        let scaled = matches!(kind, Kind::F16Scaled | Kind::Tq1_0Scaled | Kind::Tq2_0Scaled);
        let block_scale = if scaled { f16::ONE } else { scale };
        let (ty, mut bytes) = match kind {
            Kind::F32 => {
                let floats = trits.iter().map(|&t| f32::from(t) * scale.to_f32());
                (GgmlType::F32, floats.flat_map(f32::to_le_bytes).collect())
            }
            Kind::F16Scaled => {
                let floats: Vec<f32> = trits.iter().map(|&t| f32::from(t)).collect();
                (GgmlType::F16, as_halves(&floats))
            }
            Kind::Tq1_0 | Kind::Tq1_0Scaled => (GgmlType::TQ1_0, tq1_0(&trits, block_scale)),
            Kind::Tq2_0 | Kind::Tq2_0Scaled => (GgmlType::TQ2_0, tq2_0(&trits, block_scale)),
            Kind::I2s(order) => (GgmlType::I2_S, i2_s(&trits, scale.to_f32(), order)),
        };
        change(&mut bytes);
        add(tensor.name, tensor.dims(), ty, bytes);
        if scaled {
            let name = tensor.name.replace(".weight", ".scale");
            add(&name, &[1], GgmlType::F32, scale.to_f32().to_le_bytes().to_vec());
        }
    }
    let mut out = writer.write_header(Vec::new()).unwrap();
    for (name, bytes) in data {
        out.write(&name, &bytes).unwrap();
    }
    out.finish().unwrap()
}

/// What `quantize_row_tq1_0_ref` of ggml-quants.c does with ternary weights.
fn tq1_0(trits: &[i8], scale: f16) -> Vec<u8> {
    let encode = |trits: &mut dyn Iterator<Item = i8>| {
        let digits: Vec<u32> = trits.map(|t| (t + 1) as u32).collect();
        let number = digits.iter().fold(0, |number, digit| number * 3 + digit);
        let number = if digits.len() == 4 { number * 3 } else { number };
        (number * 256).div_ceil(243) as u8
    };
    let blocks = trits.chunks_exact(256).flat_map(|block| {
        let mut bytes = Vec::new();
        for (first, step, count) in [(0, 32, 5), (160, 16, 5), (240, 4, 4)] {
            for i in 0..step {
                bytes.push(encode(&mut (0..count).map(|n| block[first + n * step + i])));
            }
        }
        bytes.extend(scale.to_le_bytes());
        bytes
    });
    blocks.collect()
}

/// What `quantize_row_tq2_0_ref` of ggml-quants.c does.
fn tq2_0(trits: &[i8], scale: f16) -> Vec<u8> {
    let blocks = trits.chunks_exact(256).flat_map(|block| {
        let byte = |half: &[i8], i: usize| (0..4).fold(0, |byte, n| byte | ((half[n * 32 + i] + 1) as u8) << (2 * n));
        let halves = block
            .chunks_exact(128)
            .flat_map(|half| (0..32).map(move |i| byte(half, i)));
        halves.chain(scale.to_le_bytes()).collect::<Vec<u8>>()
    });
    blocks.collect()
}

/// What `quantize_i2_s` of bitnet.cpp's ggml-bitnet-mad.cpp does on each machine.
fn i2_s(trits: &[i8], scale: f32, order: I2sOrder) -> Vec<u8> {
    let block = match order {
        I2sOrder::X86 => 128,
        I2sOrder::Arm => 64,
    };
    let mut bytes = vec![0; trits.len() / 4];
    for (i, trit) in trits.iter().enumerate() {
        let (group, position) = (i % block / (block / 4), i % (block / 4));
        bytes[i / block * (block / 4) + position] |= ((trit + 1) as u8) << (6 - 2 * group);
    }
    bytes.extend(scale.to_le_bytes());
    // Nothing is said about the other 28 bytes.
    bytes.extend([0xa5; 28]);
    bytes
}

fn load(kind: Kind) -> LoadedModel {
    let options = LoadOptions {
        i2s_order: match kind {
            Kind::I2s(order) => order,
            _ => I2sOrder::default(),
        },
        ..LoadOptions::default()
    };
    LoadedModel::with_options(file(kind), options, &Serial).unwrap()
}

fn pack_file(file: ModelFile, order: I2sOrder, options: &Options) -> (PackReport, ModelFile, Directory) {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    let source = Source::from_model_file(file).with_i2s_order(order);
    let report = pack(&source, options, &path, &mut |_| ControlFlow::Continue(())).unwrap();
    (report, ModelFile::open(path).unwrap(), directory)
}

fn order(kind: Kind) -> I2sOrder {
    if kind == ARM { I2sOrder::Arm } else { I2sOrder::X86 }
}

/// The weights of all block matrices.
fn weights(model: &Model<'_>) -> Vec<f32> {
    let matrices = model.layers.iter().flat_map(|layer| {
        let attention = [layer.attn_q, layer.attn_k, layer.attn_v, layer.attn_output];
        attention
            .into_iter()
            .chain([layer.ffn_gate, layer.ffn_up, layer.ffn_down])
    });
    let mut all = Vec::new();
    for matrix in matrices {
        for row in 0..matrix.rows() {
            let start = all.len();
            all.resize(start + matrix.cols(), f32::NAN);
            matrix.dequantize_row(row, &mut all[start..]).unwrap();
        }
    }
    all
}

const LOADABLE: [Kind; 6] = [Kind::Tq1_0, Kind::Tq2_0, Kind::Tq1_0Scaled, Kind::Tq2_0Scaled, X86, ARM];

#[test]
fn all_files_have_the_same_weights_to_the_bit() {
    let expected = load(Kind::F32);
    let (expected_weights, expected_logits) = (weights(&expected.model()), loaded_logits(&expected, &TOKENS));
    for kind in LOADABLE {
        let model = load(kind);
        assert!(weights(&model.model()) == expected_weights, "{kind:?}");
        let Matrix::Packed(packed) = model.model().layers[0].ffn_up else {
            panic!("{kind:?} is not packed");
        };
        assert!(matches!(packed.codes(), Codes::Codebook2(_)), "{kind:?}");
        assert!(model.arena_bytes() > 0, "{kind:?}");
        let error = difference(&expected_logits, &loaded_logits(&model, &TOKENS));
        // Sums are added in another order.
        assert!(error < 1e-4, "{kind:?}: {error}");
    }
}

/// The two orders are different files of the same size: only the option tells them apart.
#[test]
fn the_wrong_order_gives_other_weights() {
    let right = weights(&load(X86).model());
    let wrong = LoadedModel::new(file(ARM), &Serial).unwrap();
    let differing = right
        .iter()
        .zip(weights(&wrong.model()))
        .filter(|(a, b)| *a != b)
        .count();
    assert!(differing > right.len() / 4, "{differing}");
}

#[test]
fn lossless_and_ternary_files_are_the_same_to_the_bit() {
    for kind in LOADABLE {
        let expected = loaded_logits(&load(kind), &TOKENS);
        for format in [Format::Lossless, Format::Ternary] {
            let mut options = Options::new(format);
            options.head = Format::Lossless;
            let (report, packed, _directory) = pack_file(file(kind), order(kind), &options);
            assert_eq!((report.sqnr_db, report.nmse), (None, 0.0), "{kind:?} {format}");
            assert!(
                !packed
                    .gguf()
                    .unwrap()
                    .tensors()
                    .iter()
                    .any(|t| t.name.ends_with(".scale"))
            );
            assert!(logits(packed) == expected, "{kind:?} {format}");
        }
    }
}

/// The usual way: ternary matrices as they are, the F16 head, which is most of such a file, in 6 bits.
#[test]
fn ternary_packs_the_head_and_nothing_else_with_loss() {
    for kind in [Kind::Tq2_0Scaled, X86, Kind::F16Scaled] {
        for format in [Format::Ternary, Format::TernaryDense] {
            let (report, packed, _directory) = pack_file(file(kind), order(kind), &Options::new(format));
            for tensor in report.tensors.iter().filter(|tensor| tensor.shape.len() == 2) {
                let is_head = tensor.name == "token_embd.weight";
                assert_eq!(tensor.to, if is_head { "q6" } else { format.name() }, "{kind:?}");
                assert_eq!(tensor.sqnr_db.is_some(), is_head, "{kind:?} {format} {}", tensor.name);
            }
            let model = LoadedModel::new(packed, &Serial).unwrap();
            assert!(
                weights(&model.model()) == weights(&load(Kind::F32).model()),
                "{kind:?} {format}"
            );
        }
    }
}

#[test]
fn dense_weights_run_where_they_are_or_expanded() {
    let (_, _, directory) = pack_file(file(X86), I2sOrder::X86, &Options::new(Format::TernaryDense));
    let open = || ModelFile::open(directory.path().join("packed.gguf")).unwrap();
    let load = |expand_trits| {
        let options = LoadOptions {
            expand_trits,
            ..LoadOptions::default()
        };
        LoadedModel::with_options(open(), options, &Serial).unwrap()
    };
    let (dense, expanded) = (load(false), load(true));
    assert_eq!(dense.arena_bytes(), 0);
    assert!(expanded.arena_bytes() > 0 && expanded.bytes_per_token() > dense.bytes_per_token());
    assert!(weights(&dense.model()) == weights(&expanded.model()));
    let error = difference(&loaded_logits(&dense, &TOKENS), &loaded_logits(&expanded, &TOKENS));
    assert!(error < 1e-5, "{error}");

    for (ternary, is_expanded) in [(TernaryResidence::Dense, false), (TernaryResidence::Expanded, true)] {
        let options = EngineOptions {
            threads: Some(2),
            ternary,
            ..EngineOptions::default()
        };
        let engine = Engine::load(open(), options).unwrap();
        assert_eq!(engine.model().arena_bytes() > 0, is_expanded);
        assert!(weights(&engine.model().model()) == weights(&dense.model()));
    }
}

#[test]
fn engines_take_the_order() {
    let options = EngineOptions {
        threads: Some(2),
        i2s_order: I2sOrder::Arm,
        ..EngineOptions::default()
    };
    let engine = Engine::load(file(ARM), options).unwrap();
    assert!(weights(&engine.model().model()) == weights(&load(X86).model()));
}

fn refusal(file: ModelFile) -> ModelError {
    match LoadedModel::new(file, &Serial) {
        Err(Error::Model(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn scales_that_are_none_are_refused() {
    for scale in [f32::NAN, f32::INFINITY, 0.0] {
        let file = ModelFile::from_bytes(bytes(X86, |bytes| {
            let at = bytes.len() - 32;
            bytes[at..at + 4].copy_from_slice(&scale.to_le_bytes());
        }))
        .unwrap();
        assert!(matches!(refusal(file), ModelError::Scale { .. }));
    }
}

/// Of all blocks, the last one has a scale that is no number: neither loads, nor passes a format that copies scales.
#[test]
fn scales_of_blocks_are_looked_at() {
    for kind in [Kind::Tq1_0, Kind::Tq2_0, Kind::Tq2_0Scaled] {
        let file = || {
            let damaged = bytes(kind, |bytes| {
                let at = bytes.len() - 2;
                bytes[at..].copy_from_slice(&f16::NAN.to_le_bytes());
            });
            ModelFile::from_bytes(damaged).unwrap()
        };
        assert!(matches!(refusal(file()), ModelError::Scale { .. }), "{kind:?}");
        let directory = Directory::new();
        let path = directory.path().join("packed.gguf");
        for format in [Format::Lossless, Format::Ternary] {
            let source = Source::from_model_file(file());
            let packed = pack(
                &source,
                &Options::new(format),
                &path,
                &mut |_| ControlFlow::Continue(()),
            );
            let error = packed.expect_err("a scale that is no number").to_string();
            assert!(error.contains("blk.0.") && error.contains("NaN"), "{error}");
            assert!(!path.exists());
        }
    }
}

#[test]
fn floats_with_a_scale_beside_them_are_to_be_packed_first() {
    let error = refusal(file(Kind::F16Scaled));
    assert!(matches!(error, ModelError::Scaled { ty: GgmlType::F16, .. }));
    assert!(error.to_string().contains("halfpi pack"), "{error}");
}

/// Scales of other shapes and values than one number.
#[test]
fn odd_scales_are_refused() {
    // One block of each matrix with a scale of 2.
    let model = bytes(Kind::Tq2_0Scaled, |bytes| {
        let at = bytes.len() - 2;
        bytes[at..].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
    });
    let model = ModelFile::from_bytes(model).unwrap();
    let gguf = model.gguf().unwrap();
    let with = |dims: &[u64], values: &[f32]| {
        let rewrite = |gguf: &Gguf<'_>| {
            let mut writer = Writer::new();
            writer.copy_metadata(gguf, |_| true).unwrap();
            let is_odd = |name: &str| name == "blk.1.ffn_up.scale";
            for tensor in gguf.tensors() {
                let dims = if is_odd(tensor.name) { dims } else { tensor.dims() };
                writer.declare(tensor.name, dims, tensor.ty).unwrap();
            }
            let mut out = writer.write_header(Vec::new()).unwrap();
            for tensor in gguf.tensors() {
                let odd: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                let data = if is_odd(tensor.name) { &odd } else { gguf.data(tensor) };
                out.write(tensor.name, data).unwrap();
            }
            out.finish().unwrap()
        };
        refusal(ModelFile::from_bytes(rewrite(&gguf)).unwrap())
    };
    assert!(matches!(with(&[2], &[1.0, 1.0]), ModelError::Shape { .. }));
    assert!(matches!(with(&[1, 1], &[1.0]), ModelError::Shape { .. }));
    // With 0 the whole matrix would be.
    for scale in [f32::INFINITY, f32::NAN, 0.0, -0.0] {
        let error = with(&[1], &[scale]);
        assert!(
            matches!(&error, ModelError::Scale { name, .. } if name == "blk.1.ffn_up.scale"),
            "{error}"
        );
    }
    // Each is a number, their product is none.
    let error = with(&[1], &[f32::MAX]);
    assert!(
        matches!(&error, ModelError::Scale { name, value: f32::INFINITY | f32::NEG_INFINITY } if name == "blk.1.ffn_up.weight"),
        "{error}"
    );
    assert_eq!(
        gguf.get("general.architecture").and_then(Value::as_str),
        Some("bitnet-b1.58")
    );
}
