//! Bits that flipped and bytes that went astray, anywhere in a file.

use crate::changed::model;
use crate::{assert_readable, generate, load};
use halfpi::gguf::Gguf;
use halfpi::transformer::Architecture;
use halfpi_tests::alloc::largest_allocation;
use std::time::{Duration, Instant};

/// Damaged files of each model.
const ROUNDS: usize = 1500;

/// Splitmix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Damages some places, mostly in the header, where it hurts.
fn damage(file: &mut [u8], header: usize, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let within = if random.below(4) == 0 { file.len() } else { header };
        let at = random.below(within);
        match random.below(4) {
            0 | 1 => file[at] ^= 1 << random.below(8),
            2 => file[at] = random.next() as u8,
            _ => {
                let end = file.len().min(at + 1 + random.below(8));
                file[at..end].fill([0, 1, 0x7f, 0x80, 0xff][random.below(5)]);
            }
        }
    }
}

#[test]
fn damaged_files_are_refused_or_run() {
    let (mut refused, mut failed, mut ran) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    for (i, architecture) in Architecture::ALL.into_iter().enumerate() {
        let format = ["q4_1", "f16", "q8_0", "phi4", "phase-complex"][i];
        let good = model(architecture, format).bytes();
        let header = Gguf::parse(&good).unwrap().tensors()[0].offset as usize;
        let mut random = Random(i as u64);
        for round in 0..ROUNDS {
            let mut file = good.clone();
            damage(&mut file, header, &mut random);
            let start = Instant::now();
            match load(&file) {
                Err(error) => {
                    assert_readable(&error);
                    refused += 1;
                }
                Ok(engine) => match generate(&engine) {
                    Err(error) => {
                        assert_readable(&error);
                        failed += 1;
                    }
                    Ok(_) => ran += 1,
                },
            }
            slowest = slowest.max(start.elapsed());
            assert!(
                slowest < Duration::from_secs(120),
                "{} {format}, round {round}",
                architecture.name()
            );
        }
    }
    println!("{refused} refused, {failed} loaded and failed, {ran} ran; the slowest took {slowest:?}");
    assert!(
        refused > 500 && ran > 500,
        "{refused} refused, {failed} failed, {ran} ran"
    );
    // All tests of this file run in this process, each with a few models of some 100 KB.
    let largest = largest_allocation();
    assert!(largest < 1 << 20, "{largest} bytes allocated at once");
    if let Some(peak) = peak_memory() {
        // Much of it is the emulator's, if there is one.
        assert!(peak < 2 << 30, "{peak} bytes of memory");
    }
}

/// The most memory that this process has had, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
