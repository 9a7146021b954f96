//! How fast memory can be read: what decoding cannot outrun.

use std::hint::black_box;
use std::io;
use std::time::Instant;

use memmap2::MmapMut;

/// Larger than any cache.
const BYTES: usize = 256 << 20;
const ROUNDS: usize = 5;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes read in a second by `threads` threads that add up a large buffer: the best of some rounds.
///
/// A cache that holds part of a model lets decoding seem faster than this.
pub fn read_bandwidth(threads: usize) -> io::Result<f64> {
    let mut buffer = MmapMut::map_anon(BYTES)?;
    // As the weights have it.
    #[cfg(target_os = "linux")]
    let _ = buffer.advise(memmap2::Advice::HugePage);
    buffer.fill(1);
    let part = (BYTES / LINE).div_ceil(threads) * LINE;
    let round = || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in buffer.chunks(part) {
                scope.spawn(move || black_box(sum(black_box(part))));
            }
        });
        BYTES as f64 / start.elapsed().as_secs_f64()
    };
    Ok((0..ROUNDS).map(|_| round()).fold(0.0, f64::max))
}

/// The sum of all words, in as many parts as it takes for additions not to wait for each other.
fn sum(bytes: &[u8]) -> u64 {
    let mut sums = [[0u64; LINE / 8]; 4];
    for lines in bytes.chunks_exact(LINE * 4) {
        for (sums, line) in sums.iter_mut().zip(lines.chunks_exact(LINE)) {
            for (sum, word) in sums.iter_mut().zip(line.chunks_exact(8)) {
                *sum = sum.wrapping_add(u64::from_le_bytes(word.try_into().unwrap_or_default()));
            }
        }
    }
    sums.into_iter().flatten().fold(0, u64::wrapping_add)
}
