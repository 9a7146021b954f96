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
/// Two whole runs of lines, so that no part has a rest.
const PART_ALIGN: usize = LINE * 2;
const PASSES: usize = 3;

/// A large buffer and a plain loop that reads it.
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

/// The sum of one word of each line, which memory brings whole: reading every word would measure the instructions that
/// this is compiled to. Two halves at a time, because one stream alone does not keep memory busy everywhere.
fn sum(bytes: &[u8]) -> u64 {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let word = |line: &[u8]| line.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    let mut sums = [0u64; 2];
    for (a, b) in first.chunks_exact(LINE).zip(second.chunks_exact(LINE)) {
        sums[0] = sums[0].wrapping_add(word(a));
        sums[1] = sums[1].wrapping_add(word(b));
    }
    sums[0].wrapping_add(sums[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let lines = PART_ALIGN as u64 / LINE as u64 * 5;
        let bytes: Vec<u8> = (0..lines)
            .flat_map(|line| [[1 << line; LINE / 8].map(u64::to_le_bytes)])
            .flatten()
            .flatten()
            .collect();
        assert_eq!(sum(&bytes), (1 << lines) - 1);
    }
}
