//! How fast memory can be read: what decoding cannot outrun.

use std::hint::black_box;
use std::time::Instant;

/// Larger than any cache.
const BYTES: usize = 256 << 20;
const ROUNDS: usize = 5;

/// Bytes read in a second by `threads` threads that add up a large buffer: the best of some rounds.
pub fn read_bandwidth(threads: usize) -> f64 {
    let buffer: Vec<u64> = (0..(BYTES / 8) as u64).collect();
    let part = buffer.len().div_ceil(threads);
    let round = || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in buffer.chunks(part) {
                scope.spawn(move || black_box(sum(black_box(part))));
            }
        });
        BYTES as f64 / start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(|_| round()).fold(0.0, f64::max)
}

/// The sum, in as many parts as it takes for additions not to wait for each other.
fn sum(values: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    for values in values.chunks_exact(sums.len()) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum = sum.wrapping_add(value);
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}
