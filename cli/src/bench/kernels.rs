//! `halfpi bench kernels`: every backend's matrix products on fixed shapes.

use std::time::Instant;

use halfpi::pool::Pool;
use halfpi_kernels::format::{Codes, Dense, Float, Layout, Matrix, Packed, ScaleGroup, tables};
use halfpi_kernels::ops::{Activations, Int8RowsMut, Product, Quantization, matmul};
use halfpi_kernels::{Backend, Parallel};
use serde::Serialize;

use super::bandwidth::ReadLoop;
use crate::output::{Outcome, print, print_json, table};
use crate::progress;

/// Rows and columns: feed-forward of SmolLM2-135M, attention and feed-forward of BitNet-2B4T.
const SHAPES: [(usize, usize); 3] = [(1536, 576), (2560, 2560), (6912, 2560)];
/// Positions: decoding and prefill.
const COLUMNS: [usize; 2] = [1, 64];
/// Weights that a cold measurement goes through: more than caches hold.
const POOL_BYTES: usize = 256 << 20;
/// Columns that share a scale, in weights and activations.
const GROUP: usize = 32;
/// The best of this many rounds counts, each of at least this many seconds.
const ROUNDS: usize = 3;
const ROUND_SECONDS: f64 = 0.03;

/// Time the matrix products of every backend
///
/// Cold products read a matrix that is not in the cache, as decoding does; hot ones read the same one again and again.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  halfpi bench kernels --backend scalar --json")]
pub struct Args {
    /// Only this backend [default: all that run here]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Only matrices of this shape [default: those of SmolLM2-135M and BitNet-2B4T]
    #[arg(long, value_name = "ROWSxCOLUMNS", value_parser = parse_shape)]
    shape: Option<(usize, usize)>,
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

/// How matrices are stored, by the names of `halfpi pack` and GGUF.
#[derive(Clone, Copy)]
enum Storage {
    Packed { codes: Codes, minima: bool },
    Dense(Float),
}

const FORMATS: [(&str, Storage); 5] = [
    (
        "q8",
        Storage::Packed {
            codes: Codes::Int8,
            minima: false,
        },
    ),
    (
        "phi4",
        Storage::Packed {
            codes: Codes::Codebook4(tables::PHI),
            minima: false,
        },
    ),
    (
        "q4_1",
        Storage::Packed {
            codes: Codes::Codebook4(tables::Q4_1),
            minima: true,
        },
    ),
    ("f16", Storage::Dense(Float::F16)),
    ("f32", Storage::Dense(Float::F32)),
];

fn parse_shape(text: &str) -> Result<(usize, usize), String> {
    let shape = text
        .split_once('x')
        .and_then(|(rows, cols)| Some((rows.parse().ok()?, cols.parse().ok()?)));
    match shape {
        Some((rows @ 1..=65536, cols @ 1..=65536)) if cols % GROUP == 0 && rows * cols * 4 <= POOL_BYTES => {
            Ok((rows, cols))
        }
        _ => Err(format!(
            "must be like 2560x2560, columns a multiple of {GROUP}, at most 64 M weights"
        )),
    }
}

pub fn run(args: &Args) -> Outcome {
    let shapes = args.shape.map_or(SHAPES.to_vec(), |shape| vec![shape]);
    let backends: Vec<Backend> = match &args.backend {
        Some(name) => vec![Backend::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Backend::available().map(Backend::name).collect();
            format!("backend {name:?} does not run here; these do: {}", names.join(", "))
        })?],
        None => Backend::available().collect(),
    };
    let threads = Pool::new(args.threads.into());
    let bandwidth = ReadLoop::new()?.bytes_per_second(&threads);
    let pool = pattern(POOL_BYTES);
    let bar = progress::bar(
        (SHAPES.len() * FORMATS.len() * COLUMNS.len() * backends.len()) as u64,
        "kernels",
    );
    let mut measurements = Vec::new();
    for (rows, cols) in shapes {
        for (format, storage) in FORMATS {
            let matrices = matrices(&pool, rows, cols, storage)?;
            for columns_n in COLUMNS {
                let mut input = Input::new(rows, cols, columns_n);
                for &backend in &backends {
                    for (cache, matrices) in [("cold", &matrices[..]), ("hot", &matrices[..1])] {
                        let seconds = input.seconds(backend, &threads, matrices)?;
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
                            bandwidth_fraction: size / seconds / bandwidth,
                        });
                    }
                    bar.inc(1);
                }
            }
        }
    }
    bar.finish_and_clear();
    if args.json {
        print_json(&measurements)
    } else {
        print(&text(&measurements, bandwidth))
    }
}

/// Bytes without a pattern, of which any two or four make a float of ordinary size.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 & 0x83 | 0x38
    };
    (0..length).map(|_| next()).collect()
}

/// As many matrices as the pool holds.
fn matrices(pool: &[u8], rows: usize, cols: usize, storage: Storage) -> Outcome<Vec<Matrix<'_>>> {
    match storage {
        Storage::Packed { codes, minima } => {
            let layout = Layout::new(rows, cols, codes, ScaleGroup::Columns(GROUP), minima)?;
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
        Input {
            cols,
            floats: pattern(length)
                .into_iter()
                .map(|byte| f32::from(byte) / 64.0 - 1.0)
                .collect(),
            codes: vec![0; length],
            scales: vec![0.0; groups],
            sums: vec![0.0; groups],
            running_sums: vec![0; groups],
            out: vec![0.0; rows * positions],
        }
    }

    /// Seconds for one product, going through `matrices` in turn.
    fn seconds(&mut self, backend: Backend, threads: &dyn Parallel, matrices: &[Matrix<'_>]) -> Outcome<f64> {
        let mut rows = Int8RowsMut {
            codes: &mut self.codes,
            scales: &mut self.scales,
            sums: &mut self.sums,
            running_sums: &mut self.running_sums,
        };
        let int8 = rows.quantize(backend, Quantization::Group, &self.floats, self.cols)?;
        let x = Activations {
            floats: &self.floats,
            int8: Some(int8),
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
