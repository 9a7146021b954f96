//! Weights that training has left on a grid, and the ways to choose scales.

mod pack_common;

use std::ops::ControlFlow;

use halfpi::gguf::{GgmlType, ModelFile, Writer};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pack::{Blueprint, Format, Method, Options, PackError, Scales, Source, TensorReport, pack, pack_matrix_by};
use halfpi::transformer::Architecture;
use halfpi_kernels::format::{Codes, Float, Matrix, Packed, ScaleGroup, tables};
use pack_common::weights::{Density, random, uniform};
use pack_common::{Directory, unwrap_pack_error};

/// A file with one matrix of `rows` rows.
fn source(weights: &[f32], rows: usize) -> Source {
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    let cols = weights.len() / rows;
    writer
        .declare("x.weight", &[cols as u64, rows as u64], GgmlType::F32)
        .unwrap();
    let mut tensors = writer.write_header(Vec::new()).unwrap();
    let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    tensors.write("x.weight", &bytes).unwrap();
    Source::from_model_file(ModelFile::from_bytes(tensors.finish().unwrap()).unwrap())
}

struct Stored {
    report: TensorReport,
    weights: Vec<f32>,
    codes: Codes,
    group: ScaleGroup,
    has_f32_scales: bool,
}

fn packed(source: &Source, options: &Options) -> halfpi::Result<Stored> {
    let directory = Directory::new();
    let path = directory.path().join("packed.gguf");
    let report = pack(source, options, &path, &mut |_| ControlFlow::Continue(()))?;
    let file = ModelFile::open(&path).unwrap();
    let gguf = file.gguf().unwrap();
    let packed = Packed::from_file_bytes(gguf.data(gguf.tensor("x.weight").unwrap())).unwrap();
    let mut weights = vec![0.0; packed.rows() * packed.cols()];
    for (row, out) in weights.chunks_exact_mut(packed.cols()).enumerate() {
        Matrix::Packed(packed).dequantize_row(row, out).unwrap();
    }
    Ok(Stored {
        report: report.tensors.into_iter().next().unwrap(),
        weights,
        codes: packed.codes(),
        group: packed.layout().scale_group(),
        has_f32_scales: packed.layout().has_f32_scales(),
    })
}

/// Weights of these levels, with a scale for each group of `group` weights.
fn trained(levels: &[f32], group: usize, count: usize, scale: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut next = uniform(group as u64);
    let mut level = || levels[(next() * levels.len() as f64) as usize];
    (0..count).map(|i| scale(i / group) * level()).collect()
}

/// Scales that are no f16, and scales that are.
fn fine(i: usize) -> f32 {
    0.037 + i as f32 * 1e-4
}

fn coarse(i: usize) -> f32 {
    (1 + i % 7) as f32 / 64.0
}

#[test]
fn trained_weights_keep_their_scales_to_the_bit() {
    let (rows, cols) = (37, 768);
    let ternary: &[f32] = &[-1.0, 0.0, 1.0];
    let int2: &[f32] = &[-2.0, -1.0, 0.0, 1.0];
    let odd: &[f32] = &[-3.0, -1.0, 1.0, 3.0];
    let two_bit = Codes::Codebook2;
    for (format, levels, codes) in [
        (Format::Ternary, ternary, two_bit(tables::TERNARY)),
        (Format::TernaryDense, ternary, Codes::Trits),
        (Format::Halfpi2, int2, two_bit(tables::INT2)),
        (Format::Halfpi2, odd, two_bit(tables::ODD2)),
    ] {
        for (group, expected) in [
            (rows * cols, ScaleGroup::Row),
            (cols, ScaleGroup::Row),
            (256, ScaleGroup::Columns(256)),
            (64, ScaleGroup::Columns(64)),
            (32, ScaleGroup::Columns(32)),
        ] {
            if codes == Codes::Trits && expected != ScaleGroup::Row {
                continue;
            }
            for (scale, has_f32_scales) in [(fine as fn(usize) -> f32, true), (coarse, false)] {
                let weights = trained(levels, group, rows * cols, scale);
                let stored = packed(&source(&weights, rows), &Options::new(format)).unwrap();
                let what = format!("{format}, groups of {group}");
                assert_eq!(stored.weights, weights, "{what}");
                assert_eq!(stored.report.sqnr_db, None, "{what}");
                assert_eq!(stored.report.note.as_deref(), Some("scales as trained"), "{what}");
                assert_eq!((stored.codes, stored.group), (codes, expected), "{what}");
                assert_eq!(stored.has_f32_scales, has_f32_scales, "{what}");
            }
        }
    }
}

/// One weight beside the grid, in the last row, and nothing is as trained any more.
#[test]
fn almost_is_not_trained() {
    let (rows, cols) = (20, 64);
    let mut weights = trained(&[-1.0, 0.0, 1.0], cols, rows * cols, coarse);
    weights[rows * cols - 1] = 0.3;
    let stored = packed(&source(&weights, rows), &Options::new(Format::Ternary)).unwrap();
    assert_eq!(stored.report.note, None);
    assert_eq!((stored.group, stored.has_f32_scales), (ScaleGroup::Row, false));
    assert!(stored.report.sqnr_db.is_some());
}

/// Scales that are asked for are given, whatever training had.
#[test]
fn asking_for_scales_counts() {
    let weights = trained(&[-1.0, 0.0, 1.0], 64, 16 * 64, coarse);
    let options = Options {
        scales: Some(Scales::Group(32)),
        ..Options::new(Format::Ternary)
    };
    let stored = packed(&source(&weights, 16), &options).unwrap();
    assert_eq!(stored.group, ScaleGroup::Columns(32));
    assert_eq!(stored.weights, weights);
}

#[test]
fn absmean_is_what_bitnet_trains_with() {
    let (rows, cols) = (24, 160);
    let weights = random(Density::Gauss, rows * cols, 3);
    let options = Options {
        method: Method::AbsMean,
        ..Options::new(Format::Ternary)
    };
    let stored = packed(&source(&weights, rows), &options).unwrap();
    let mean = weights.iter().map(|weight| f64::from(weight.abs())).sum::<f64>() / weights.len() as f64;
    let mean = mean as f32;
    let expected: Vec<f32> = weights
        .iter()
        .map(|weight| mean * (weight / mean).round_ties_even().clamp(-1.0, 1.0))
        .collect();
    assert!(stored.has_f32_scales);
    assert_eq!(stored.weights, expected);
}

#[test]
fn sparsity_is_what_was_asked_for() {
    let (rows, cols) = (8, 512);
    let weights = random(Density::Laplace, rows * cols, 4);
    for share in [0.0, 0.25, 0.6, 0.9] {
        let method = Method::Sparsity(share);
        for format in [Format::Ternary, Format::TernaryDense] {
            let (bytes, _) = pack_matrix_by(&weights, (rows, cols), format, Scales::Row, method, 2).unwrap();
            let packed = Packed::from_file_bytes(&bytes).unwrap();
            let mut row = vec![0.0; cols];
            for i in 0..rows {
                Matrix::Packed(packed).dequantize_row(i, &mut row).unwrap();
                let zeros = row.iter().filter(|weight| **weight == 0.0).count();
                assert_eq!(zeros, (share * cols as f32).round() as usize, "{format} {share}");
            }
        }
    }
}

/// Least squares lose least; BitNet's scale is too small for weights that were not trained with it.
#[test]
fn methods_lose_as_much_as_theory_says() {
    let shape = (64, 4096);
    let weights = random(Density::Gauss, shape.0 * shape.1, 5);
    let sqnr = |format, method| {
        let (_, lost) = pack_matrix_by(&weights, shape, format, Scales::Row, method, 2).unwrap();
        lost.sqnr_db().unwrap()
    };
    for (format, method, expected) in [
        (Format::Ternary, Method::LeastSquares, 7.21),
        (Format::Ternary, Method::AbsMean, 5.80),
        // Below 0.6 deviations: nearly where least squares cut.
        (Format::Ternary, Method::Sparsity(0.4515), 7.2),
        // No zeros: a sign, 1 - 2/π of the power lost.
        (Format::Ternary, Method::Sparsity(0.0), 4.40),
    ] {
        let found = sqnr(format, method);
        println!("{format} {method}: {found:.2} dB");
        assert!((found - expected).abs() < 0.05, "{format} {method}: {found:.2} dB");
    }
    for format in [Format::Q6, Format::Halfpi4, Format::Halfpi2] {
        assert!(
            sqnr(format, Method::Largest) < sqnr(format, Method::LeastSquares),
            "{format}"
        );
    }
}

#[test]
fn methods_for_other_formats_are_refused() {
    let weights = random(Density::Gauss, 32 * 32, 6);
    for (format, method) in [
        (Format::Q8, Method::AbsMean),
        (Format::Phi4, Method::Largest),
        (Format::PhaseT2, Method::Sparsity(0.5)),
    ] {
        let options = Options {
            method,
            ..Options::new(format)
        };
        let error = unwrap_pack_error(packed(&source(&weights, 32), &options).map(drop));
        assert!(
            matches!(error, PackError::Method { method: m, format: f } if (m, f) == (method, format)),
            "{error}"
        );
        let error = pack_matrix_by(&weights, (32, 32), format, Scales::Row, method, 1).unwrap_err();
        assert!(matches!(error, PackError::Method { .. }), "{error}");
    }
}

/// Any f16 scales: their mantissas have all bits.
fn f16_scale(i: usize) -> f32 {
    half::f16::from_f32(0.013 + 0.0007 * (i * 31 % 97) as f32).to_f32()
}

fn exactly(format: Format) -> Options {
    Options {
        must_be_exact: true,
        ..Options::new(format)
    }
}

/// Random codes and scales, read as floats: packing them again finds codes that give the same floats, in every format.
#[test]
fn what_a_format_can_say_it_says_exactly() {
    for format in Format::all() {
        let Some(storage) = Storage::of(format) else { continue };
        let architecture = match format {
            Format::PhaseComplex => Architecture::IFairy,
            _ => Architecture::Llama,
        };
        let model = SyntheticModel::tiny(architecture).with_storage(storage);
        let packed = Source::from_model_file(model.to_model_file().unwrap());
        let blueprint = Blueprint::of(&packed).unwrap();
        let shapes = packed.shapes().unwrap();
        let floats = blueprint.to_model_file(Float::F32, &shapes, |tensor| packed.read(&tensor.name));
        let floats = Source::from_model_file(floats.unwrap());
        let directory = Directory::new();
        let path = directory.path().join("packed.gguf");
        let head = if storage.is_complex() { Format::Q8 } else { format };
        let options = Options {
            head,
            ..exactly(format)
        };
        let report = pack(&floats, &options, &path, &mut |_| ControlFlow::Continue(()));
        for tensor in report.unwrap_or_else(|error| panic!("{format}: {error}")).tensors {
            assert_eq!(tensor.sqnr_db, None, "{format}: {}", tensor.name);
        }
        let again = Source::open(&path).unwrap();
        for shape in &shapes {
            let [stored, weights] = [&again, &packed].map(|source| source.read(&shape.name).unwrap());
            assert!(stored == weights, "{format}: {}", shape.name);
        }
    }
}

/// Weights of few magnitudes are levels of several scales, of which f16 may hold one only; and the largest integer need
/// not occur.
#[test]
fn few_levels_are_kept_too() {
    let (rows, cols) = (37, 256);
    for (format, levels, group) in [
        (Format::Phi4, &[21.0, -21.0][..], 32),
        (Format::Phi4, &[13.0, -13.0, 34.0], 64),
        (Format::Phi5, &[23.0, -23.0], 32),
        (Format::Phi4Additive, &[9.0], 32),
        (Format::Halfpi4, &[7.0, -7.0], 32),
        (Format::Halfpi4, &[7.0, 0.0, -5.0], cols),
        (Format::Q6, &[31.0, 29.0, -27.0], cols),
        (Format::Halfpi8, &[100.0, -99.0, 3.0, 0.0], cols),
        (Format::Q8, &[97.0, -1.0, 0.0], 128),
        (Format::Halfpi2, &[-2.0, 0.0], 32),
    ] {
        let codes = format.codes().unwrap();
        let table: Vec<f32> = match codes {
            Codes::Codebook4(table) => table.map(f32::from).to_vec(),
            Codes::Codebook5(table) => table.map(f32::from).to_vec(),
            _ => levels.to_vec(),
        };
        // Tables have other levels than the ladder: the nearest do.
        let levels: Vec<f32> = levels
            .iter()
            .map(|level| {
                let nearest = table
                    .iter()
                    .min_by(|a, b| (*a - level).abs().total_cmp(&(*b - level).abs()));
                *nearest.unwrap()
            })
            .collect();
        let weights = trained(&levels, group, rows * cols, f16_scale);
        let stored = packed(&source(&weights, rows), &exactly(format)).unwrap();
        assert!(stored.weights == weights, "{format}, groups of {group}");
        assert_eq!(stored.report.note.as_deref(), Some("scales as trained"), "{format}");
    }
}

#[test]
fn a_weight_beside_the_grid_is_refused_by_name() {
    let (rows, cols) = (37, 64);
    for format in [
        Format::Ternary,
        Format::Phi4,
        Format::Halfpi8,
        Format::PhaseT2,
        Format::F16,
    ] {
        let mut weights = vec![0.25; rows * cols];
        if format != Format::F16 {
            weights = trained(&[1.0, -1.0], cols, rows * cols, f16_scale);
        }
        if format == Format::PhaseT2 {
            weights.fill(0.0);
        }
        let (row, column) = (33, 7);
        weights[row * cols + column] = 0.123_456_7;
        weights[row * cols + column + 1] = 0.000_123;
        let error = unwrap_pack_error(packed(&source(&weights, rows), &exactly(format)).map(drop));
        match error {
            PackError::Changed {
                name,
                row: r,
                weight,
                stored,
                ..
            } => {
                assert_eq!(name, "x.weight");
                assert!(weight != stored, "{format}");
                // A matrix with weights beside the grid has no scales of its training any more.
                assert!(r <= row, "{format}: row {r}");
            }
            error => panic!("{format}: {error}"),
        }
    }
    // Rows that no group divides are kept as f16.
    let error = unwrap_pack_error(packed(&source(&vec![0.1; 33 * 4], 4), &exactly(Format::Q8)).map(drop));
    assert!(matches!(error, PackError::Changed { row: 0, column: 0, .. }), "{error}");
}
