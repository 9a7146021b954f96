//! Every format: what it loses against theory, and that nothing is lost after that.

mod pack_common;

use std::ops::ControlFlow;

use halfpi::gguf::{Gguf, ModelFile};
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Distortion, Format, Options, Scales, Source, pack, pack_matrix};
use halfpi::transformer::Architecture;
use halfpi_kernels::format::{Matrix, Packed, tables};
use pack_common::Directory;
use pack_common::weights::{Density, random};

/// The formats whose codes fit any real matrix.
fn coded() -> impl Iterator<Item = Format> {
    Format::all().filter(|&format| format.codes().is_some() && format != Format::PhaseComplex)
}

/// What the bytes of a packed tensor give back.
fn unpack(bytes: &[u8]) -> Vec<f32> {
    let packed = Packed::from_file_bytes(bytes).unwrap();
    let mut weights = vec![0.0; packed.rows() * packed.cols()];
    for (row, out) in weights.chunks_exact_mut(packed.cols()).enumerate() {
        Matrix::Packed(packed).dequantize_row(row, out).unwrap();
    }
    weights
}

/// The signal-to-noise ratio that the levels have for weights of a density, at their best scale: by integration.
fn theory(density: Density, levels: &[f64]) -> f64 {
    let steps = 20_000;
    let reach = 14.0;
    let points: Vec<(f64, f64)> = (0..steps)
        .map(|i| (2.0 * (f64::from(i) + 0.5) / f64::from(steps) - 1.0) * reach)
        .map(|x| (x, density.at(x) * 2.0 * reach / f64::from(steps)))
        .collect();
    let top = levels.iter().fold(0.0, |top: f64, level| top.max(level.abs()));
    let error = |scale: f64| -> f64 {
        let nearest = |x: f64| {
            let distance = levels.iter().map(|level| (x - scale * level).abs());
            distance.fold(f64::INFINITY, f64::min)
        };
        points.iter().map(|&(x, weight)| weight * nearest(x).powi(2)).sum()
    };
    // The standard deviation is 1: the largest level lies between half of it and 8 times it.
    let least = (0..140)
        .map(|i| error(0.5 * 1.02f64.powi(i) / top))
        .fold(f64::INFINITY, f64::min);
    -10.0 * least.log10()
}

/// The mean square of the largest magnitude of some weights: ∫ 2x P(one is above x) dx.
fn largest_square(density: Density, count: usize) -> f64 {
    let (mut below, mut sum, step) = (0.0, 0.0, 1e-4);
    for i in 0..200_000 {
        let x = (f64::from(i) + 0.5) * step;
        below += 2.0 * density.at(x) * step;
        sum += 2.0 * x * (1.0 - below.min(1.0).powi(count as i32)) * step;
    }
    sum
}

fn levels(format: Format) -> Vec<f64> {
    let table = |table: &[i8]| table.iter().map(|&level| f64::from(level)).collect();
    let integers = |low: i8, high: i8| (low..=high).map(f64::from).collect();
    match format {
        Format::Q6 => integers(-31, 31),
        Format::Phi5 => table(&tables::PHI5),
        Format::Phi5Additive => table(&tables::PHI5_ADDITIVE),
        Format::Phi4 => table(&tables::PHI),
        Format::Phi4Additive => table(&tables::PHI_ADDITIVE),
        Format::Ternary | Format::TernaryDense => integers(-1, 1),
        Format::Halfpi2 => integers(-2, 1),
        Format::Halfpi4 => integers(-8, 7),
        // Turned by 45°, the parts of a complex number on an axis are two of equal magnitude.
        Format::PhaseT1 | Format::PhaseAxis => vec![-1.0, 1.0],
        Format::PhaseT2 => table(&tables::ODD2),
        _ => panic!("{format} has no levels of its own"),
    }
}

/// With a scale a row, long rows lose what an integral over the density says, within what chance does to 2^18 weights and
/// what a row's own scale gains over one for all.
#[test]
fn every_format_loses_what_theory_says() {
    let (rows, cols) = (32, 8192);
    for format in coded() {
        for density in [Density::Gauss, Density::Laplace] {
            let weights = random(density, rows * cols, 5);
            let (_, lost) = pack_matrix(&weights, (rows, cols), format, Scales::Row, 2).unwrap();
            let found = lost.sqnr_db().unwrap();
            let (expected, tolerance) = match (format, density) {
                // The error is a twelfth of the step's square, and the largest weight has 127 steps.
                (Format::Q8 | Format::Halfpi8, _) => {
                    let step = largest_square(density, cols) / 127.0 / 127.0;
                    (-10.0 * (step / 12.0).log10(), 0.3)
                }
                // The smaller of two is lost: 1/2 - 1/π of the power of Gaussian weights, a quarter and a bit of
                // Laplacian ones.
                (Format::PhaseMagnitude, Density::Gauss) => (7.40, 0.05),
                (Format::PhaseMagnitude, Density::Laplace) => (9.05, 0.08),
                // Coordinates of blocks, sums of four Laplacian weights, are nearer to Gaussian ones.
                (Format::PhaseT1, Density::Laplace) => (3.97, 0.1),
                (Format::PhaseT2, Density::Laplace) => (8.5, 0.1),
                (Format::PhaseAxis, Density::Laplace) => (3.59, 0.05),
                _ => (theory(density, &levels(format)), 0.12),
            };
            println!("{format} {density:?}: {found:.2} dB, in theory {expected:.2}");
            assert!(
                (found - expected).abs() < tolerance,
                "{format} {density:?}: {found:.2} dB, not {expected:.2}"
            );
        }
    }
}

fn distortion(weights: &[f32], stored: &[f32]) -> Distortion {
    let square = |v: f64| v * v;
    let pairs = weights.iter().zip(stored);
    Distortion {
        signal: weights.iter().map(|&w| square(w.into())).sum(),
        error: pairs.map(|(&w, &s)| square(f64::from(w) - f64::from(s))).sum(),
    }
}

/// Random shapes and groups: what is reported is what the bytes give back, and packing that again changes nothing, to
/// the bit.
#[test]
fn packing_what_was_packed_changes_nothing() {
    let mut next = pack_common::weights::uniform(8);
    let mut below = |n: usize| (next() * n as f64) as usize;
    for format in coded() {
        for round in 0..24 {
            // Parts of tiles, and pairs of tiles of which one is missing.
            let (rows, cols) = (1 + below(70), 32 * (1 + below(9)));
            let scales = ["row", "tensor", "32", "64", "128", "256"][round % 6]
                .parse::<Scales>()
                .unwrap();
            let density = [Density::Gauss, Density::Laplace][below(2)];
            let weights = random(density, rows * cols, round as u64);
            let what = format!("{format}, {rows} x {cols}, {scales}");

            let (bytes, lost) = pack_matrix(&weights, (rows, cols), format, scales, 2).unwrap();
            let stored = unpack(&bytes);
            let found = distortion(&weights, &stored);
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a;
            assert!(
                close(found.error, lost.error) && close(found.signal, lost.signal),
                "{what}"
            );

            let (again, lost) = pack_matrix(&stored, (rows, cols), format, scales, 3).unwrap();
            assert_eq!(lost.sqnr_db(), None, "{what}: {lost:?}");
            assert_eq!(unpack(&again), stored, "{what}");
            assert!(again == bytes, "{what}: the same weights in other bytes");
        }
    }
}

fn tensors<'a>(gguf: &Gguf<'a>) -> Vec<(&'a str, Vec<f32>)> {
    let packed = gguf.tensors().iter().filter_map(|tensor| {
        let data = gguf.data(tensor);
        data.starts_with(b"HPIP").then(|| (tensor.name, unpack(data)))
    });
    packed.collect()
}

/// Through files: a packed model holds what `pack_matrix` makes of its matrices, and one unpacked to f32 and packed again
/// is the same file.
#[test]
fn files_are_packed_as_matrices_are() {
    let model = SyntheticModel::tiny(Architecture::Llama);
    for format in coded() {
        let directory = Directory::new();
        let pack_to = |name: &str, source: &Source, format: Format| {
            let path = directory.path().join(name);
            let options = Options {
                head: format,
                threads: 2,
                ..Options::new(format)
            };
            pack(source, &options, &path, &mut |_| ControlFlow::Continue(())).unwrap();
            path
        };
        let source = Source::from_model_file(model.to_model_file().unwrap());
        let packed = pack_to("packed.gguf", &source, format);
        let file = ModelFile::open(&packed).unwrap();
        let original = model.to_model_file().unwrap();
        let (packed_gguf, original) = (file.gguf().unwrap(), original.gguf().unwrap());
        let found = tensors(&packed_gguf);
        assert_eq!(found.len(), 16, "{format}");
        for (name, stored) in found {
            let tensor = original.tensor(name).unwrap();
            let floats = original.data(tensor).as_chunks::<4>().0;
            let weights: Vec<f32> = floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let shape = (tensor.rows() as usize, tensor.columns() as usize);
            let (bytes, _) = pack_matrix(&weights, shape, format, format.scales(), 1).unwrap();
            assert_eq!(stored, unpack(&bytes), "{format} {name}");
        }

        let unpacked = pack_to("unpacked.gguf", &Source::open(&packed).unwrap(), Format::F32);
        let again = pack_to("again.gguf", &Source::open(&unpacked).unwrap(), format);
        assert!(
            std::fs::read(&packed).unwrap() == std::fs::read(&again).unwrap(),
            "{format}"
        );
    }
}
