//! `halfpi bench kernels`: every backend's matrix products on fixed shapes.

use std::time::Instant;

use halfpi::pool::Pool;
use halfpi_kernels::format::{Codes, Dense, Float, Layout, Matrix, Packed, ScaleGroup, tables};
use halfpi_kernels::ops::{Activations, Int8RowsMut, Product, Quantization, matmul};
use halfpi_kernels::{Backend, Parallel};
use serde::Serialize;

use super::bandwidth::{ReadLoop, large_pages};
use crate::output::{Outcome, print, print_json, table};
use crate::progress;

/// Columns that share a scale, in weights and activations.
const GROUP: usize = 32;
/// Positions: decoding and prefill.
const COLUMNS: [usize; 2] = [1, 64];
/// Bytes that a cold measurement goes through: more than caches hold.
const POOL_BYTES: usize = 256 << 20;
/// The best of this many rounds counts, each of at least this many seconds.
const ROUNDS: usize = 5;
const ROUND_SECONDS: f64 = 0.03;
/// What takes longer is measured once.
const SLOW_SECONDS: f64 = 0.3;

/// Time the matrix products of every backend
///
/// Cold products read a matrix that is not in the cache, as decoding does; hot ones read the same one again and again.
/// The bandwidth is the best that a plain loop reached during the run.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  halfpi bench kernels --format ternary --format ternary-dense --backend avx2")]
pub struct Args {
    /// Only this format (can be given several times) [default: all]
    #[arg(long, value_name = "NAME", value_parser = FORMATS.map(|(name, _)| name))]
    format: Vec<String>,
    /// Only this backend (can be given several times) [default: all that run here]
    #[arg(long, value_name = "NAME")]
    backend: Vec<String>,
    /// Matrices of this shape; the default is the feed-forward of BitNet-2B4T
    #[arg(long, value_name = "ROWSxCOLUMNS", value_parser = parse_shape, default_value = "6912x2560")]
    shape: (usize, usize),
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Measurement {
    kernel: &'static str,
    format: &'static str,
    backend: &'static str,
    rows: usize,
    cols: usize,
    columns_n: usize,
    cache: &'static str,
    bits_per_weight: f64,
    nanoseconds: f64,
    /// Weights times positions.
    weights_per_second: f64,
    bytes_per_second: f64,
    bandwidth_fraction: f64,
}

/// How a matrix is stored, and how the activations that meet it are quantized.
#[derive(Clone, Copy)]
enum Storage {
    Packed {
        codes: Codes,
        scales: ScaleGroup,
        minima: bool,
        activations: Quantization,
    },
    Dense(Float),
}

/// For models trained in floats: a scale for every group of weights and of activations.
const fn grouped(codes: Codes) -> Storage {
    Storage::Packed {
        codes,
        scales: ScaleGroup::Columns(GROUP),
        minima: false,
        activations: Quantization::Group,
    }
}

/// For models trained with these weights: a scale for every row of weights and of activations.
const fn by_row(codes: Codes) -> Storage {
    Storage::Packed {
        codes,
        scales: ScaleGroup::Row,
        minima: false,
        activations: Quantization::Row,
    }
}

/// √φ: 16 magnitudes of either sign. (Which ones does not matter for speed.)
const LEVELS: [i8; 32] = {
    let mut levels = [0; 32];
    let mut i = 0;
    while i < 16 {
        levels[i] = 8 * i as i8 + 7;
        levels[i + 16] = -levels[i];
        i += 1;
    }
    levels
};

/// By the names of `halfpi pack` and GGUF. `-row` has one scale a row instead of one a group.
const FORMATS: [(&str, Storage); 18] = [
    ("ternary", by_row(Codes::Codebook2(tables::TERNARY))),
    ("ternary-dense", by_row(Codes::Trits)),
    ("ternary-g32", grouped(Codes::Codebook2(tables::TERNARY))),
    ("phase-t1", by_row(Codes::PhasePair { stages: 1 })),
    ("phase-t2", by_row(Codes::PhasePair { stages: 2 })),
    ("phase-axis", by_row(Codes::PhaseAxis { magnitudes: false })),
    ("phase-magnitude", grouped(Codes::PhaseAxis { magnitudes: true })),
    (
        "phase-complex",
        Storage::Packed {
            codes: Codes::PhaseComplex,
            scales: ScaleGroup::Row,
            minima: false,
            activations: Quantization::Halves,
        },
    ),
    ("phi4", grouped(Codes::Codebook4(tables::PHI))),
    ("phi4-row", by_row(Codes::Codebook4(tables::PHI))),
    ("phi5", grouped(Codes::Codebook5(LEVELS))),
    (
        "q4_1",
        Storage::Packed {
            codes: Codes::Codebook4(tables::Q4_1),
            scales: ScaleGroup::Columns(GROUP),
            minima: true,
            activations: Quantization::Group,
        },
    ),
    ("q6", grouped(Codes::Int6)),
    ("q6-row", by_row(Codes::Int6)),
    ("q8", grouped(Codes::Int8)),
    ("q8-row", by_row(Codes::Int8)),
    ("f16", Storage::Dense(Float::F16)),
    ("f32", Storage::Dense(Float::F32)),
];

fn parse_shape(text: &str) -> Result<(usize, usize), String> {
    let shape = text
        .split_once('x')
        .and_then(|(rows, cols)| Some((rows.parse().ok()?, cols.parse().ok()?)));
    match shape {
        Some((rows @ 1..=65536, cols @ 1..=65536))
            if rows % 2 == 0 && cols % (2 * GROUP) == 0 && rows * cols * 4 <= POOL_BYTES =>
        {
            Ok((rows, cols))
        }
        _ => Err(format!(
            "must be like 6912x2560: rows even, columns a multiple of {}, at most 64 M weights",
            2 * GROUP
        )),
    }
}

fn backend(name: &str) -> Outcome<Backend> {
    Ok(Backend::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Backend::available().map(Backend::name).collect();
        format!("backend {name:?} does not run here; these do: {}", names.join(", "))
    })?)
}

pub fn run(args: &Args) -> Outcome {
    let (rows, cols) = args.shape;
    let backends: Vec<Backend> = if args.backend.is_empty() {
        Backend::available().collect()
    } else {
        args.backend.iter().map(|name| backend(name)).collect::<Outcome<_>>()?
    };
    let wanted = |name: &str| args.format.is_empty() || args.format.iter().any(|wanted| wanted == name);
    let formats: Vec<_> = FORMATS.into_iter().filter(|(name, _)| wanted(name)).collect();
    let threads = Pool::new(args.threads.into());
    let read_loop = ReadLoop::new()?;
    let mut bandwidth: f64 = 0.0;
    let mut pool = large_pages(POOL_BYTES)?;
    fill(&mut pool);
    let bar = progress::bar((formats.len() * COLUMNS.len() * backends.len()) as u64, "kernels");
    let mut measurements = Vec::new();
    for (format, storage) in formats {
        let matrices = matrices(&pool, rows, cols, storage)?;
        for columns_n in COLUMNS {
            let mut input = Input::new(rows, cols, columns_n);
            for &backend in &backends {
                bandwidth = read_loop.bytes_per_second(&threads).max(bandwidth);
                for (cache, matrices) in [("cold", &matrices[..]), ("hot", &matrices[..1])] {
                    let seconds = input.seconds(backend, &threads, storage, matrices)?;
                    let (weights, size) = ((rows * cols) as f64, matrices[0].bytes() as f64);
                    measurements.push(Measurement {
                        kernel: if columns_n == 1 { "matvec" } else { "matmul" },
                        format,
                        backend: backend.name(),
                        rows,
                        cols,
                        columns_n,
                        cache,
                        bits_per_weight: size * 8.0 / weights,
                        nanoseconds: seconds * 1e9,
                        weights_per_second: weights * columns_n as f64 / seconds,
                        bytes_per_second: size / seconds,
                        bandwidth_fraction: 0.0,
                    });
                }
                bar.inc(1);
            }
        }
    }
    for measurement in &mut measurements {
        measurement.bandwidth_fraction = measurement.bytes_per_second / bandwidth;
    }
    bar.finish_and_clear();
    if args.json {
        print_json(&measurements)
    } else {
        print(&text(&measurements, bandwidth))
    }
}

/// Bytes without a pattern, of which any two or four make a float of ordinary size.
fn fill(bytes: &mut [u8]) {
    let mut state = 1u32;
    for byte in bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8 & 0x83 | 0x38;
    }
}

/// As many matrices as the pool holds.
fn matrices(pool: &[u8], rows: usize, cols: usize, storage: Storage) -> Outcome<Vec<Matrix<'_>>> {
    match storage {
        Storage::Packed {
            codes, scales, minima, ..
        } => {
            let layout = Layout::new(rows, cols, codes, scales, minima)?;
            // Each begins at a cache line, as in a file.
            let copies = pool.chunks_exact(layout.bytes().next_multiple_of(64));
            copies
                .map(|data| Ok(Matrix::Packed(Packed::new(layout, &data[..layout.bytes()])?)))
                .collect()
        }
        Storage::Dense(float) => {
            let copies = pool.chunks_exact(rows * cols * float.bytes());
            copies
                .map(|data| Ok(Matrix::Dense(Dense::new(rows, cols, float, data)?)))
                .collect()
        }
    }
}

/// Activations of some positions, and room for what the product makes of them.
struct Input {
    cols: usize,
    floats: Vec<f32>,
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<f32>,
    running_sums: Vec<i32>,
    out: Vec<f32>,
}

impl Input {
    fn new(rows: usize, cols: usize, positions: usize) -> Self {
        let length = cols * positions;
        let groups = length / GROUP;
        let mut bytes = vec![0; length];
        fill(&mut bytes);
        Input {
            cols,
            floats: bytes.into_iter().map(|byte| f32::from(byte) / 64.0 - 1.0).collect(),
            codes: vec![0; length],
            scales: vec![0.0; groups],
            sums: vec![0.0; groups],
            running_sums: vec![0; groups],
            out: vec![0.0; rows * positions],
        }
    }

    /// Seconds for one product, going through `matrices` in turn.
    fn seconds(
        &mut self,
        backend: Backend,
        threads: &dyn Parallel,
        storage: Storage,
        matrices: &[Matrix<'_>],
    ) -> Outcome<f64> {
        let mut rows = Int8RowsMut {
            codes: &mut self.codes,
            scales: &mut self.scales,
            sums: &mut self.sums,
            running_sums: &mut self.running_sums,
        };
        let int8 = match storage {
            Storage::Packed { activations, .. } => {
                Some(rows.quantize(backend, activations, &self.floats, self.cols)?)
            }
            Storage::Dense(_) => None,
        };
        let x = Activations {
            floats: &self.floats,
            int8,
        };
        let mut next = matrices.iter().cycle();
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let mut products = 0;
            while products == 0 || start.elapsed().as_secs_f64() < ROUND_SECONDS {
                let Some(weight) = next.next() else { break };
                matmul(
                    backend,
                    threads,
                    &x,
                    &mut [Product {
                        weight,
                        out: &mut self.out,
                    }],
                )?;
                products += 1;
            }
            best = best.min(start.elapsed().as_secs_f64() / f64::from(products.max(1)));
            if best > SLOW_SECONDS {
                break;
            }
        }
        Ok(best)
    }
}

fn text(measurements: &[Measurement], bandwidth: f64) -> String {
    let mut rows = vec![
        [
            "kernel",
            "format",
            "backend",
            "cache",
            "shape",
            "positions",
            "us",
            "Gweights/s",
            "GB/s",
            "of memory",
        ]
        .map(String::from)
        .to_vec(),
    ];
    rows.extend(measurements.iter().map(|m| {
        vec![
            m.kernel.into(),
            m.format.into(),
            m.backend.into(),
            m.cache.into(),
            format!("{}x{}", m.rows, m.cols),
            m.columns_n.to_string(),
            format!("{:.1}", m.nanoseconds / 1e3),
            format!("{:.2}", m.weights_per_second / 1e9),
            format!("{:.2}", m.bytes_per_second / 1e9),
            format!("{:.0}%", m.bandwidth_fraction * 100.0),
        ]
    }));
    format!("read bandwidth {:.1} GB/s\n{}", bandwidth / 1e9, table(&rows, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_layout() -> Outcome {
        let bytes = vec![0; 1 << 20];
        for (name, storage) in FORMATS {
            let (rows, cols) = parse_shape("34x192")?;
            assert!(!matrices(&bytes, rows, cols, storage)?.is_empty(), "{name}");
        }
        Ok(())
    }
}
