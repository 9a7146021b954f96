//! How fast memory can be read here: the ceiling of decoding, which reads every weight once for a token.

use std::hint::black_box;
use std::time::Instant;

use halfpi_kernels::Parallel;

/// Larger than any cache that a machine for this has.
const BUFFER_BYTES: usize = 256 << 20;
const PASSES: usize = 3;

/// A large buffer and a plain loop that sums it.
pub struct ReadLoop {
    buffer: Vec<u64>,
}

impl ReadLoop {
    pub fn new() -> Self {
        // Written to, because untouched pages are all the same zero page, which stays in the cache.
        ReadLoop {
            buffer: (0..BUFFER_BYTES as u64 / 8).collect(),
        }
    }

    /// Bytes per second, shared by the threads; the best of some passes.
    pub fn bytes_per_second(&self, parallel: &dyn Parallel) -> f64 {
        let part = self.buffer.len().div_ceil(parallel.threads() * 8);
        let parts: Vec<&[u64]> = self.buffer.chunks(part).collect();
        let seconds = (0..PASSES).map(|_| {
            let start = Instant::now();
            parallel.run(parts.len(), &|part, _| {
                black_box(sum(parts[part]));
            });
            start.elapsed().as_secs_f64()
        });
        BUFFER_BYTES as f64 / seconds.fold(f64::INFINITY, f64::min)
    }
}

/// With as many sums as it takes for additions not to wait for each other.
fn sum(numbers: &[u64]) -> u64 {
    let mut sums = [0u64; 16];
    for chunk in numbers.chunks_exact(16) {
        for (sum, number) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*number);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read() {
        let numbers: Vec<u64> = (0..1600).collect();
        assert_eq!(sum(&numbers), 1599 * 1600 / 2);
    }
}
