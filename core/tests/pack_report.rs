//! What packing says about the weights, and when it refuses to write them.

mod pack_common;

use std::ops::ControlFlow;
use std::path::Path;

use halfpi::gguf::{GgmlType, ModelFile, Writer};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pack::{
    Format, Options, PackError, PackReport, Scales, Source, Survey, TensorReport, WeightHistogram, pack, pack_matrix,
};
use halfpi::transformer::Architecture;
use halfpi_kernels::format::{Codes, Matrix, Packed, ScaleGroup};
use pack_common::{Directory, unwrap_pack_error};

fn surveyed(format: Format) -> Options {
    Options {
        survey: true,
        threads: 2,
        ..Options::new(format)
    }
}

fn pack_to(path: &Path, source: &Source, options: &Options) -> halfpi::Result<PackReport> {
    pack(source, options, path, &mut |_| ControlFlow::Continue(()))
}

/// A file with one matrix `x.weight`.
fn matrix(rows: usize, cols: usize, weights: &[f32]) -> Source {
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    writer
        .declare("x.weight", &[cols as u64, rows as u64], GgmlType::F32)
        .unwrap();
    let mut tensors = writer.write_header(Vec::new()).unwrap();
    let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    tensors.write("x.weight", &bytes).unwrap();
    Source::from_model_file(ModelFile::from_bytes(tensors.finish().unwrap()).unwrap())
}

fn random(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state = state * 48271 % 2_147_483_647;
        state as f32 / 2_147_483_647.0 - 0.5
    };
    // Nearly Gaussian.
    (0..count).map(|_| 0.01 * (0..6).map(|_| next()).sum::<f32>()).collect()
}

/// In each row one weight a thousand times as large as it would be.
fn with_outliers(rows: usize, cols: usize) -> Vec<f32> {
    let scaled = |(i, weight)| if i % cols == 7 { weight * 1e3 } else { weight };
    random(rows * cols).into_iter().enumerate().map(scaled).collect()
}

fn weights_per_code(codes: Codes) -> f64 {
    match codes {
        Codes::PhasePair { .. } => 4.0,
        Codes::PhaseAxis { .. } => 2.0,
        _ => 1.0,
    }
}

/// The formats with codes that any real matrix can have.
fn coded_formats() -> impl Iterator<Item = Format> {
    Format::all().filter(
        |&format| match pack_matrix(&random(32 * 32), (32, 32), format, Scales::Row, 1) {
            Ok(_) => true,
            Err(PackError::NoCodes { .. }) => {
                println!("{format}: not for real matrices");
                false
            }
            Err(error) => panic!("{format}: {error}"),
        },
    )
}

fn survey(tensor: &TensorReport) -> &Survey {
    tensor.survey.as_ref().unwrap()
}

#[test]
fn the_survey_describes_weights_and_file() {
    let (rows, cols) = (1237, 160);
    let weights = random(rows * cols);
    let directory = Directory::new();
    let path = directory.path().join("x.gguf");
    for format in coded_formats() {
        let report = pack_to(&path, &matrix(rows, cols, &weights), &surveyed(format)).unwrap();
        let survey = survey(&report.tensors[0]);

        let histogram = &survey.weights;
        let squares: f64 = weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
        assert!((histogram.rms / (squares / weights.len() as f64).sqrt() - 1.0).abs() < 1e-12);
        assert_eq!(histogram.min, weights.iter().copied().fold(0.0, f32::min));
        assert_eq!(histogram.max, weights.iter().copied().fold(0.0, f32::max));
        let within = |low: f64, high: f64| {
            let inside = |w: &&f32| (low * histogram.rms..high * histogram.rms).contains(&f64::from(**w));
            weights.iter().filter(inside).count() as f64
        };
        let width = 2.0 * WeightHistogram::REACH / WeightHistogram::BINS as f64;
        for (bin, &count) in histogram.bins.iter().enumerate() {
            let low = -WeightHistogram::REACH + bin as f64 * width;
            let exact = within(low, low + width);
            assert!(
                (count - exact).abs() <= 20.0 + 0.03 * exact,
                "bin {bin}: {count}, not {exact}"
            );
        }

        // Codes, as the file has them.
        let file = ModelFile::open(&path).unwrap();
        let gguf = file.gguf().unwrap();
        let packed = Packed::from_file_bytes(gguf.data(&gguf.tensors()[0])).unwrap();
        let mut counts = vec![0u64; packed.codes().count() as usize];
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            counts[usize::from(packed.code(row, col).unwrap())] += 1;
        }
        let mut found: Vec<u64> = survey.codes.iter().map(|code| code.count).collect();
        assert!(survey.codes.is_sorted_by_key(|code| code.value));
        counts.retain(|&count| count > 0);
        found.retain(|&count| count > 0);
        counts.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, counts, "{format}");
        let entropy: f64 = counts
            .iter()
            .map(|&count| count as f64 / weights.len() as f64)
            .map(|p| -p * p.log2())
            .sum();
        let entropy = entropy / weights_per_code(packed.codes());
        assert!((survey.entropy_bits.unwrap() - entropy).abs() < 1e-9);
        assert_eq!(survey.code_bits, Some(f64::from(packed.codes().bits_per_weight())));
        let saved = (survey.code_bits.unwrap() - entropy) * weights.len() as f64 / 8.0;
        let expected = report.file_bytes as f64 - saved;
        assert!((report.entropy_coded_bytes.unwrap() as f64 - expected).abs() < 2.0);

        // The sample: its loss is that of the same rows in the file.
        let sample = (1 << 14) / cols;
        assert_eq!(survey.sample_rows, sample);
        let (mut signal, mut error) = (0.0, 0.0);
        let mut back = vec![0.0; cols];
        for row in (0..sample).map(|i| (2 * i + 1) * rows / (2 * sample)) {
            Matrix::Packed(packed).dequantize_row(row, &mut back).unwrap();
            for (&weight, &back) in weights[row * cols..].iter().zip(&back) {
                signal += f64::from(weight).powi(2);
                error += (f64::from(weight) - f64::from(back)).powi(2);
            }
        }
        assert!((survey.sample_nmse / (error / signal) - 1.0).abs() < 1e-9);
        // The format itself is among the alternatives, and loses the same there.
        let same = survey.alternatives.iter().find(|other| match format {
            Format::Q8 => other.name == "int8",
            format => other.name == format.name(),
        });
        if let Some(same) = same {
            let nmse = same.searched_nmse.or(same.absmax_nmse).unwrap();
            assert!((nmse / survey.sample_nmse - 1.0).abs() < 1e-9, "{format}: {same:?}");
        }
        assert_eq!(survey.alternatives.len(), 8);
    }
}

#[test]
fn threads_change_nothing() {
    let source = Source::from_model_file(SyntheticModel::tiny(Architecture::Qwen2).to_model_file().unwrap());
    let directory = Directory::new();
    let path = directory.path().join("x.gguf");
    let report = |threads| {
        let options = Options {
            threads,
            ..surveyed(Format::Phi4)
        };
        pack_to(&path, &source, &options).unwrap()
    };
    let (one, many) = (report(1), report(5));
    for (one, many) in one.tensors.iter().zip(&many.tensors) {
        assert_eq!(one.survey.is_some(), one.shape.len() > 1, "{}", one.name);
        // Squares are summed in parts, whose number shows in the last bits.
        if let (Some(one), Some(many)) = (&one.survey, &many.survey) {
            assert_eq!((&one.codes, &one.alternatives), (&many.codes, &many.alternatives));
            assert!((one.weights.rms / many.weights.rms - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn every_way_of_storing_is_surveyed() {
    for storage in ["f32", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q8", "phi4"] {
        let model = SyntheticModel::tiny(Architecture::Llama).with_storage(Storage::by_name(storage).unwrap());
        let source = Source::from_model_file(model.to_model_file().unwrap());
        let directory = Directory::new();
        let path = directory.path().join("x.gguf");
        let report = pack_to(&path, &source, &surveyed(Format::Lossless)).unwrap();
        let bits = match storage {
            "f32" | "bf16" => None,
            "q8_0" | "q8" => Some(8.0),
            _ => Some(4.0),
        };
        for tensor in report.tensors.iter().filter(|tensor| tensor.shape.len() > 1) {
            let survey = survey(tensor);
            assert_eq!(survey.code_bits, bits, "{storage}");
            assert_eq!(
                survey.codes.iter().map(|code| code.count).sum::<u64>(),
                bits.map_or(0, |_| tensor.weights)
            );
            assert_eq!(survey.sample_nmse, 0.0, "{storage} {}", tensor.name);
            let counted = survey.weights.bins.iter().sum::<f64>() + survey.weights.outside;
            assert!((counted - tensor.weights as f64).abs() < 1e-3);
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json["tensors"][0]["entropy_bits"].is_number(),
            bits.is_some(),
            "{storage}"
        );
        assert_eq!(json["tensors"][0]["alternatives"].as_array().unwrap().len(), 8);
    }
}

#[test]
fn nothing_is_gathered_unasked() {
    let source = Source::from_model_file(SyntheticModel::tiny(Architecture::Llama).to_model_file().unwrap());
    let directory = Directory::new();
    let report = pack_to(&directory.path().join("x.gguf"), &source, &Options::new(Format::Phi4)).unwrap();
    assert!(report.tensors.iter().all(|tensor| tensor.survey.is_none()));
    assert_eq!(report.entropy_coded_bytes, None);
}

#[test]
fn a_scale_that_is_wrong_is_refused() {
    let refuse = |source: &Source, format, group: ScaleGroup| {
        let directory = Directory::new();
        let path = directory.path().join("x.gguf");
        let options = Options {
            scales: Some(group.into()),
            ..Options::new(format)
        };
        let error = unwrap_pack_error(pack_to(&path, source, &options));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let options = Options {
            allow_loss: true,
            ..options
        };
        let report = pack_to(&path, source, &options).unwrap();
        match error {
            PackError::Loss { name, nmse, limit, .. } => {
                assert_eq!((name.as_str(), nmse), ("x.weight", report.nmse));
                (nmse, limit)
            }
            error => panic!("{error}"),
        }
    };
    let g32 = ScaleGroup::Columns(32);
    // Too small for the scale, which is an f16: every weight becomes 0.
    let tiny: Vec<f32> = random(64 * 32).iter().map(|weight| weight * 1e-8).collect();
    for (format, limit) in [(Format::Q8, 0.01), (Format::F16, 0.01), (Format::Phi4Additive, 0.27)] {
        assert_eq!(refuse(&matrix(32, 64, &tiny), format, g32), (1.0, limit), "{format}");
    }
    // Too large for it: every weight is cut off.
    let huge: Vec<f32> = random(64 * 32).iter().map(|weight| weight * 1e12).collect();
    let (nmse, _) = refuse(&matrix(32, 64, &huge), Format::Phi4, g32);
    assert!(nmse > 0.9, "{nmse}");
    // One scale for a row with a weight a thousand times as large as the others: the ladder has no level near 0.
    let (nmse, _) = refuse(&matrix(32, 512, &with_outliers(32, 512)), Format::Phi4, ScaleGroup::Row);
    assert!((0.3..0.5).contains(&nmse), "{nmse}");
}

#[test]
fn outliers_and_long_tails_are_not_mistaken_for_a_wrong_scale() {
    let (rows, cols) = (64, 512);
    let gaussian = random(rows * cols);
    // The kurtosis of a Laplace distribution.
    let long_tails: Vec<f32> = gaussian.iter().map(|weight| weight * weight.abs().sqrt()).collect();
    let (outliers, zeros) = (with_outliers(rows, cols), vec![0.0; rows * cols]);
    let directory = Directory::new();
    let path = directory.path().join("x.gguf");
    for format in coded_formats() {
        let lost = |weights: &[f32], scales: Scales| {
            let scales = Some(scales);
            let options = Options {
                scales,
                ..Options::new(format)
            };
            let report = pack_to(&path, &matrix(rows, cols, weights), &options);
            let nmse = report.unwrap_or_else(|error| panic!("{scales:?}: {error}")).nmse;
            println!("{format} {scales:?}: {nmse:.5}");
        };
        let by_group = if format == Format::TernaryDense {
            Scales::Row
        } else {
            Scales::Group(32)
        };
        for scales in [by_group, Scales::Row] {
            lost(&gaussian, scales);
            lost(&long_tails, scales);
            lost(&zeros, scales);
        }
        // One magnitude for all of a group cannot hold an outlier: that loss is told.
        if !matches!(format, Format::PhaseT1 | Format::PhaseAxis) {
            lost(&outliers, by_group);
        }
    }
}

#[test]
fn the_file_type_is_named_where_there_is_a_name() {
    let source = Source::from_model_file(SyntheticModel::tiny(Architecture::Llama).to_model_file().unwrap());
    let directory = Directory::new();
    let path = directory.path().join("x.gguf");
    for (format, file_type) in [
        (Format::F32, Some(0)),
        (Format::F16, Some(1)),
        (Format::Bf16, Some(32)),
        (Format::Q8, None),
        (Format::Lossless, None),
    ] {
        pack_to(&path, &source, &Options::new(format)).unwrap();
        let file = ModelFile::open(&path).unwrap();
        assert_eq!(
            file.gguf().unwrap().u32("general.file_type").ok(),
            file_type,
            "{format}"
        );
    }
}
