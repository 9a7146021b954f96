//! Each kernel of each backend on fixed shapes, on one thread.

use std::time::Instant;

use halfpi_kernels::format::{Codes, Dense, Float, GROUP, Layout, Matrix, Packed, ScaleGroup, tables};
use halfpi_kernels::ops::{Activations, Int8RowsMut, Product, Quantization, matmul};
use halfpi_kernels::{Backend, Serial};
use serde::Serialize;

use super::bandwidth::read_bandwidth;
use super::median;
use crate::output::{Outcome, print, print_json, table};
use crate::progress;

/// The gate of a BitNet 2B4T.
const ROWS: usize = 6912;
const COLS: usize = 2560;
/// Positions of a prefill product.
const COLUMNS_N: usize = 64;
/// Cold matrices come from a pool larger than any cache.
const POOL_BYTES: usize = 192 << 20;
const ROUNDS: usize = 5;
/// A round lasts at least this long, in seconds.
const ROUND_SECONDS: f64 = 0.03;

/// Time each kernel of each backend, with weights in memory (cold) and in the cache (hot)
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    kernel: &'static str,
    format: &'static str,
    backend: &'static str,
    cache: &'static str,
    rows: usize,
    cols: usize,
    columns_n: usize,
    bits_per_weight: f64,
    /// Of one product.
    nanoseconds: f64,
    /// Weights times columns_n.
    weights_per_second: f64,
    /// Of weights, read once a product.
    bytes_per_second: f64,
    bandwidth_fraction: f64,
}

enum Format {
    Packed(Codes, bool),
    Dense(Float),
}

const FORMATS: [(&str, Format); 6] = [
    ("q8_0", Format::Packed(Codes::Int8, false)),
    ("q4_0", Format::Packed(Codes::Codebook4(tables::Q4_0), false)),
    ("q4_1", Format::Packed(Codes::Codebook4(tables::Q4_1), true)),
    ("phi4", Format::Packed(Codes::Codebook4(tables::PHI), false)),
    ("f16", Format::Dense(Float::F16)),
    ("f32", Format::Dense(Float::F32)),
];

impl Format {
    fn matrix<'a>(&self, rows: usize, data: &'a [u8]) -> Outcome<Matrix<'a>> {
        Ok(match *self {
            Format::Packed(codes, minima) => {
                let layout = Layout::new(rows, COLS, codes, ScaleGroup::Columns(GROUP), minima)?;
                Matrix::Packed(Packed::new(layout, &data[..layout.bytes()])?)
            }
            Format::Dense(float) => Matrix::Dense(Dense::new(rows, COLS, float, &data[..rows * COLS * float.bytes()])?),
        })
    }
}

/// Int8 activations of [`COLUMNS_N`] positions.
struct Quantized {
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<f32>,
    offsets: Vec<i32>,
}

impl Quantized {
    fn new() -> Self {
        let groups = COLUMNS_N * COLS / GROUP;
        Quantized {
            codes: vec![0; COLUMNS_N * COLS],
            scales: vec![0.0; groups],
            sums: vec![0.0; groups],
            offsets: vec![0; groups],
        }
    }

    fn rows(&mut self) -> Int8RowsMut<'_> {
        let Quantized { codes, scales, sums, offsets } = self;
        Int8RowsMut { codes, scales, sums, offsets }
    }
}

pub fn run(args: &Args) -> Outcome {
    let bandwidth = read_bandwidth(1)?;
    // Half-precision numbers around 0.01 whichever way the bytes are read; what they are does not change the time.
    let pool: Vec<u8> = (0..POOL_BYTES).map(|i| if i % 2 == 0 { (i / 2 % 251) as u8 } else { 0x21 }).collect();
    let x: Vec<f32> = (0..COLUMNS_N * COLS).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    let backends: Vec<Backend> = Backend::available().collect();
    let bar = progress::bar((FORMATS.len() * backends.len() * 4) as u64, "kernels");
    let mut report = Vec::new();
    for (format, layout) in &FORMATS {
        for &backend in &backends {
            for columns_n in [1, COLUMNS_N] {
                // A sixteenth of the rows stays in a second-level cache.
                for (cache, rows) in [("cold", ROWS), ("hot", ROWS / 16)] {
                    let seconds = time(backend, layout, rows, columns_n, &pool, &x, cache == "cold")?;
                    let matrix = layout.matrix(rows, &pool)?;
                    let weights = (rows * COLS) as f64;
                    let bytes_per_second = matrix.bytes() as f64 / seconds;
                    report.push(Row {
                        kernel: if columns_n == 1 { "matvec" } else { "matmul" },
                        format,
                        backend: backend.name(),
                        cache,
                        rows,
                        cols: COLS,
                        columns_n,
                        bits_per_weight: matrix.bytes() as f64 * 8.0 / weights,
                        nanoseconds: seconds * 1e9,
                        weights_per_second: weights * columns_n as f64 / seconds,
                        bytes_per_second,
                        bandwidth_fraction: bytes_per_second / bandwidth,
                    });
                    bar.inc(1);
                }
            }
        }
    }
    bar.finish_and_clear();
    if args.json { print_json(&report) } else { print(&text(&report, bandwidth)) }
}

/// Seconds of one product, the median of some rounds.
fn time(
    backend: Backend,
    format: &Format,
    rows: usize,
    columns_n: usize,
    pool: &[u8],
    x: &[f32],
    cold: bool,
) -> Outcome<f64> {
    let x = &x[..columns_n * COLS];
    let mut quantized = Quantized::new();
    let mut quantized = quantized.rows();
    let int8 = match format {
        Format::Packed(..) => Some(quantized.quantize(backend, Quantization::Group, x, COLS)?),
        Format::Dense(_) => None,
    };
    let bytes = format.matrix(rows, pool)?.bytes();
    let matrices = pool.chunks_exact(bytes).take(if cold { usize::MAX } else { 1 });
    let matrices: Vec<Matrix<'_>> = matrices.map(|data| format.matrix(rows, data)).collect::<Outcome<_>>()?;
    let mut out = vec![0.0; rows * columns_n];
    let mut next = matrices.iter().cycle();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let mut products = 0;
        while start.elapsed().as_secs_f64() < ROUND_SECONDS {
            let Some(weight) = next.next() else { break };
            let activations = Activations { floats: x, int8 };
            matmul(backend, &Serial, &activations, &mut [Product { weight, out: &mut out }])?;
            products += 1;
        }
        rounds.push(start.elapsed().as_secs_f64() / f64::from(products.max(1)));
        // The slow ones need no median.
        if rounds[0] > ROUND_SECONDS * 3.0 {
            break;
        }
    }
    Ok(median(rounds))
}

fn text(report: &[Row], bandwidth: f64) -> String {
    let heads = ["kernel", "format", "backend", "cache", "bits/weight", "µs", "Gweights/s", "GB/s", "of bandwidth"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    for row in report {
        rows.push(vec![
            row.kernel.into(),
            row.format.into(),
            row.backend.into(),
            row.cache.into(),
            format!("{:.2}", row.bits_per_weight),
            format!("{:.1}", row.nanoseconds / 1e3),
            format!("{:.1}", row.weights_per_second / 1e9),
            format!("{:.1}", row.bytes_per_second / 1e9),
            format!("{:.0}%", row.bandwidth_fraction * 100.0),
        ]);
    }
    format!(
        "{ROWS} x {COLS} (hot: {} x {COLS}), {COLUMNS_N} positions in matmul, one thread, {:.1} GB/s read bandwidth\n{}",
        ROWS / 16,
        bandwidth / 1e9,
        table(&rows, 4)
    )
}
