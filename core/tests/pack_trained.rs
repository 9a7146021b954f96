//! Weights that training has left on a grid, and the ways to choose scales.

mod pack_common;

use std::ops::ControlFlow;

use halfpi::gguf::{GgmlType, ModelFile, Writer};
use halfpi::pack::{Format, Method, Options, PackError, Scales, Source, TensorReport, pack, pack_matrix_by};
use halfpi_kernels::format::{Codes, Matrix, Packed, ScaleGroup, tables};
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
