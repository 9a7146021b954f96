//! How fast each backend is on one thread: `cargo bench -p halfpi-kernels [-- BACKEND…]`.
//!
//! Products with one position read each matrix of a pool larger than any cache once, so they show how near the memory
//! they come. Products with 64 positions show the arithmetic. Every round runs all backends one after the other, and
//! the medians over the rounds are shown, so that a busy machine slows all alike.

use halfpi_kernels::format::{Codes, Dense, Float, Layout, Matrix, Packed, ScaleGroup, tables};
use halfpi_kernels::ops::{
    Activations, Attention, Int8RowsMut, KvElement, KvLayer, KvLayout, Product, Quantization, attention, matmul,
    scores_len,
};
use halfpi_kernels::{Backend, Serial};
use std::time::{Duration, Instant};

const ROWS: usize = 6912;
const COLS: usize = 2560;
const POSITIONS: usize = 64;
const POOL_BYTES: usize = 400 << 20;
const ROUNDS: usize = 7;

/// The processor time of this thread, where Linux tells it, else the time of day.
struct Clock {
    start: Instant,
}

impl Clock {
    fn now(&self) -> Duration {
        let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let running = schedule.and_then(|line| line.split(' ').next()?.parse().ok());
        running.map_or_else(|| self.start.elapsed(), Duration::from_nanos)
    }

    /// What `work` takes, repeated for long enough that the clock's steps of some milliseconds do not matter.
    fn seconds(&self, mut work: impl FnMut()) -> f64 {
        let before = self.now();
        let mut repetitions = 0.0;
        loop {
            work();
            repetitions += 1.0;
            let spent = (self.now() - before).as_secs_f64();
            if spent > 0.04 {
                return spent / repetitions;
            }
        }
    }
}

/// Shows the median over the rounds of `work / seconds`, for each backend.
fn show(name: &str, backends: &[Backend], work: f64, unit: &str, mut seconds: impl FnMut(Backend) -> f64) {
    let mut rates = vec![Vec::new(); backends.len()];
    for _ in 0..ROUNDS {
        for (backend, rates) in backends.iter().zip(&mut rates) {
            rates.push(work / seconds(*backend));
        }
    }
    print!("{name:<32}");
    for (backend, rates) in backends.iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        print!("{:>14} {:>7.1}", backend.name(), rates[ROUNDS / 2]);
    }
    println!("  {unit}");
}

/// Bytes without a pattern, of which any two or four make a float of ordinary size.
fn bytes(n: usize) -> Vec<u8> {
    let mut state = 1u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x83 | 0x38
        })
        .collect()
}

fn floats(n: usize) -> Vec<f32> {
    bytes(n).into_iter().map(|byte| f32::from(byte) / 64.0 - 1.0).collect()
}

fn products(clock: &Clock, backends: &[Backend]) {
    let layout = |codes, minima| Layout::new(ROWS, COLS, codes, ScaleGroup::Columns(32), minima).unwrap();
    let packed = [
        ("8 bits", layout(Codes::Int8, false)),
        ("4 bits", layout(Codes::Codebook4(tables::Q4_0), false)),
        ("4 bits and minima", layout(Codes::Codebook4(tables::Q4_1), true)),
    ];
    let pool = bytes(POOL_BYTES);
    let x = floats(POSITIONS * COLS);
    let mut out = vec![0.0; POSITIONS * ROWS];
    let groups = x.len() / 32;
    let (mut codes, mut scales) = (vec![0; x.len()], vec![0.0; groups]);
    let (mut sums, mut running_sums) = (vec![0.0; groups], vec![0; groups]);
    let mut run = |backend: Backend, weights: &[Matrix<'_>], positions: usize| {
        let floats = &x[..positions * COLS];
        let mut rows = Int8RowsMut {
            codes: &mut codes,
            scales: &mut scales,
            sums: &mut sums,
            running_sums: &mut running_sums,
        };
        let int8 = rows.quantize(backend, Quantization::Group, floats, COLS).unwrap();
        let x = Activations {
            floats,
            int8: Some(int8),
        };
        clock.seconds(|| {
            for weight in weights {
                let out = &mut out[..positions * ROWS];
                matmul(backend, &Serial, &x, &mut [Product { weight, out }]).unwrap();
            }
        })
    };
    let mut kinds: Vec<(&str, Vec<Matrix<'_>>)> = Vec::new();
    for (name, layout) in packed {
        let copies = pool.chunks_exact(layout.bytes());
        kinds.push((
            name,
            copies
                .map(|data| Matrix::Packed(Packed::new(layout, data).unwrap()))
                .collect(),
        ));
    }
    for (name, float) in [("f16", Float::F16), ("f32", Float::F32)] {
        let copies = pool.chunks_exact(ROWS * COLS * float.bytes());
        kinds.push((
            name,
            copies
                .map(|data| Matrix::Dense(Dense::new(ROWS, COLS, float, data).unwrap()))
                .collect(),
        ));
    }
    for (name, weights) in &kinds {
        let read = (weights.len() * weights[0].bytes()) as f64 / 1e9;
        show(&format!("{name}, 1 position"), backends, read, "GB/s", |backend| {
            run(backend, weights, 1)
        });
    }
    for (name, weights) in &kinds {
        let work = (ROWS * COLS * POSITIONS) as f64 / 1e9;
        let name = format!("{name}, {POSITIONS} positions");
        show(&name, backends, work, "GMAC/s", |backend| {
            run(backend, &weights[..1], POSITIONS)
        });
    }
}

fn attentions(clock: &Clock, backends: &[Backend]) {
    let (heads, kv_heads, head_dim, context) = (20, 5, 128, 1024);
    for element in [KvElement::F16, KvElement::Int8] {
        let layout = KvLayout::new(kv_heads, head_dim, context, element).unwrap();
        let mut data = vec![0; layout.bytes()];
        let mut cache = KvLayer::new(layout, &mut data).unwrap();
        let keys = floats(context * kv_heads * head_dim);
        cache.store(backends[0], 0, &keys, &keys).unwrap();
        let q = floats(POSITIONS * heads * head_dim);
        let (mut out, mut scores) = (q.clone(), vec![0.0; scores_len(&layout, 1)]);
        for positions in [1, POSITIONS] {
            // Scores and sums.
            let work = (2 * positions * heads * head_dim * context) as f64 / 1e9;
            let name = format!("attention, {element:?}, {positions} positions");
            show(&name, backends, work, "GMAC/s", |backend| {
                clock.seconds(|| {
                    let call = Attention {
                        heads,
                        first: context - positions,
                        scale: 0.1,
                        q: &q[..positions * heads * head_dim],
                        scores: &mut scores,
                        out: &mut out[..positions * heads * head_dim],
                    };
                    attention(backend, &Serial, &mut cache, call).unwrap();
                })
            });
        }
    }
}

fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |backend: &Backend| named.is_empty() || named.iter().any(|name| name == backend.name());
    let backends: Vec<Backend> = Backend::available().filter(wanted).collect();
    if backends.is_empty() {
        eprintln!(
            "no such backend here; there are {:?}",
            Backend::available().collect::<Vec<_>>()
        );
        std::process::exit(2);
    }
    let clock = Clock { start: Instant::now() };
    println!("{ROWS} x {COLS}, one thread, medians of {ROUNDS} rounds");
    products(&clock, &backends);
    attentions(&clock, &backends);
}
