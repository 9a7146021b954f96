//! How fast memory can be read here: what decoding, which reads every weight for every token, cannot outrun.

use std::hint::black_box;
use std::io;
use std::time::Instant;

use halfpi_kernels::Parallel;
use memmap2::MmapMut;

/// Larger than any cache that a machine for this has.
const BUFFER_BYTES: usize = 256 << 20;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Whole groups of lines, so that no part has a rest.
const PART_ALIGN: usize = LINE * 4;
const PASSES: usize = 3;

/// A large buffer and a plain loop that sums it.
pub struct ReadLoop {
    buffer: MmapMut,
}

/// Memory of large pages where the system has them, as weights are in.
pub fn large_pages(bytes: usize) -> io::Result<MmapMut> {
    let buffer = MmapMut::map_anon(bytes)?;
    #[cfg(target_os = "linux")]
    let _ = buffer.advise(memmap2::Advice::HugePage);
    Ok(buffer)
}

impl ReadLoop {
    pub fn new() -> io::Result<Self> {
        let mut buffer = large_pages(BUFFER_BYTES)?;
        // Untouched pages are all the same zero page, which stays in the cache.
        buffer.fill(1);
        Ok(ReadLoop { buffer })
    }

    /// Bytes per second, shared by the threads; the best of some passes. A cache that holds part of a model lets
    /// decoding seem faster than this.
    pub fn bytes_per_second(&self, parallel: &dyn Parallel) -> f64 {
        let part = BUFFER_BYTES
            .div_ceil(parallel.threads() * 8)
            .next_multiple_of(PART_ALIGN);
        let parts: Vec<&[u8]> = self.buffer.chunks(part).collect();
        let seconds = (0..PASSES).map(|_| {
            let start = Instant::now();
            parallel.run(parts.len(), &|part, _| {
                black_box(sum(black_box(parts[part])));
            });
            start.elapsed().as_secs_f64()
        });
        BUFFER_BYTES as f64 / seconds.fold(f64::INFINITY, f64::min)
    }
}

/// The sum of all words, in as many parts as it takes for additions not to wait for each other.
fn sum(bytes: &[u8]) -> u64 {
    let mut sums = [[0u64; LINE / 8]; PART_ALIGN / LINE];
    for lines in bytes.chunks_exact(PART_ALIGN) {
        for (sums, line) in sums.iter_mut().zip(lines.chunks_exact(LINE)) {
            for (sum, word) in sums.iter_mut().zip(line.chunks_exact(8)) {
                *sum = sum.wrapping_add(u64::from_le_bytes(word.try_into().unwrap_or_default()));
            }
        }
    }
    sums.into_iter().flatten().fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read() {
        let bytes: Vec<u8> = (0..PART_ALIGN as u64 * 5 / 8).flat_map(u64::to_le_bytes).collect();
        let words = bytes.len() as u64 / 8;
        assert_eq!(sum(&bytes), (words - 1) * words / 2);
    }
}
