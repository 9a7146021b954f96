//! How fast each backend is on one thread: `cargo bench -p halfpi-kernels [-- BACKEND|FORMAT…]`.
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

/// A packed format and how the activations that meet it are quantized.
type Format = (&'static str, Codes, ScaleGroup, Quantization);

/// Those of models trained with their weights, with a scale a row, and those of models trained in floats.
fn formats() -> Vec<Format> {
    let rows = [
        ("ternary", Codes::Codebook2(tables::TERNARY)),
        ("ternary-dense", Codes::Trits),
        ("phase-t1", Codes::PhasePair { stages: 1 }),
        ("phase-t2", Codes::PhasePair { stages: 2 }),
        ("phase-axis", Codes::PhaseAxis { magnitudes: false }),
    ];
    let groups = [
        ("phase-magnitude", Codes::PhaseAxis { magnitudes: true }),
        ("phi4", Codes::Codebook4(tables::PHI)),
        ("phi5", Codes::Codebook5(core::array::from_fn(|i| 7 * i as i8 - 100))),
        ("q4_0", Codes::Codebook4(tables::Q4_0)),
        ("q6", Codes::Int6),
        ("q8", Codes::Int8),
    ];
    let rows = rows.map(|(name, codes)| (name, codes, ScaleGroup::Row, Quantization::Row));
    let groups = groups.map(|(name, codes)| (name, codes, ScaleGroup::Columns(32), Quantization::Group));
    let complex = (
        "phase-complex",
        Codes::PhaseComplex,
        ScaleGroup::Row,
        Quantization::Halves,
    );
    rows.into_iter().chain([complex]).chain(groups).collect()
}

fn products(clock: &Clock, backends: &[Backend], wanted: &dyn Fn(&str) -> bool) {
    let pool = bytes(POOL_BYTES);
    let x = floats(POSITIONS * COLS);
    let mut out = vec![0.0; POSITIONS * ROWS];
    let groups = x.len() / 32;
    let (mut codes, mut scales) = (vec![0; x.len()], vec![0.0; groups]);
    let (mut sums, mut running_sums) = (vec![0.0; groups], vec![0; groups]);
    let mut run = |backend: Backend, quantization, weights: &[Matrix<'_>], positions: usize| {
        let floats = &x[..positions * COLS];
        let mut rows = Int8RowsMut {
            codes: &mut codes,
            scales: &mut scales,
            sums: &mut sums,
            running_sums: &mut running_sums,
        };
        let int8 = rows.quantize(backend, quantization, floats, COLS).unwrap();
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
    let mut kinds: Vec<(&str, Quantization, Vec<Matrix<'_>>)> = Vec::new();
    for (name, codes, scales, quantization) in formats() {
        let layout = Layout::new(ROWS, COLS, codes, scales, false).unwrap();
        let copies = pool.chunks_exact(layout.bytes().next_multiple_of(64));
        let views = copies.map(|copy| Packed::new(layout, &copy[..layout.bytes()]).unwrap());
        kinds.push((name, quantization, views.map(Matrix::Packed).collect()));
    }
    for (name, float) in [("f16", Float::F16), ("f32", Float::F32)] {
        let copies = pool.chunks_exact(ROWS * COLS * float.bytes());
        let views = copies.map(|copy| Dense::new(ROWS, COLS, float, copy).unwrap());
        kinds.push((name, Quantization::Group, views.map(Matrix::Dense).collect()));
    }
    kinds.retain(|(name, ..)| wanted(name));
    for (name, quantization, weights) in &kinds {
        let read = (weights.len() * weights[0].bytes()) as f64 / 1e9;
        show(&format!("{name}, 1 position"), backends, read, "GB/s", |backend| {
            run(backend, *quantization, weights, 1)
        });
    }
    for (name, quantization, weights) in &kinds {
        let work = (ROWS * COLS * POSITIONS) as f64 / 1e9;
        let name = format!("{name}, {POSITIONS} positions");
        show(&name, backends, work, "GMAC/s", |backend| {
            run(backend, *quantization, &weights[..1], POSITIONS)
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
    let (names, others): (Vec<_>, Vec<_>) = named.into_iter().partition(|name| Backend::from_name(name).is_some());
    let chosen = |backend: &Backend| names.is_empty() || names.iter().any(|name| name == backend.name());
    let backends: Vec<Backend> = Backend::available().filter(chosen).collect();
    let wanted = |name: &str| others.is_empty() || others.iter().any(|other| other == name);
    let kinds = formats().into_iter().map(|(name, ..)| name);
    let kinds: Vec<&str> = kinds.chain(["f16", "f32", "attention"]).collect();
    if let Some(unknown) = others.iter().find(|name| !kinds.contains(&name.as_str())) {
        let backends = Backend::available().map(Backend::name).collect::<Vec<_>>();
        eprintln!("{unknown}: the backends are {backends:?}, the formats {kinds:?}");
        std::process::exit(2);
    }
    let clock = Clock { start: Instant::now() };
    println!("{ROWS} x {COLS}, one thread, medians of {ROUNDS} rounds");
    products(&clock, &backends, &wanted);
    if wanted("attention") {
        attentions(&clock, &backends);
    }
}
