use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::Random;

const VOCABULARY: usize = 50;
const LENGTH: usize = 6;

fn origin(top: usize) -> Origin {
    Origin {
        teacher: [1; 32],
        tokenizer: [2; 32],
        vocab_size: VOCABULARY as u32,
        length: LENGTH as u32,
        top: top as u32,
        temperature: 2.0,
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("halfpi-cache-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn tokens(sequence: usize) -> Vec<i32> {
    (0..LENGTH).map(|place| (sequence * 7 + place) as i32).collect()
}

fn logits(sequence: usize) -> Vec<f32> {
    let mut random = Random::new(sequence as u64);
    (0..LENGTH * VOCABULARY)
        .map(|_| 20.0 * random.uniform() - 10.0)
        .collect()
}

fn fill(folder: &Path, origin: Origin, sequences: std::ops::Range<usize>, piece_bytes: u64) {
    let mut writer = CacheWriter::open(folder, origin, 0, piece_bytes).unwrap();
    for sequence in sequences {
        writer.add(&tokens(sequence), &logits(sequence)).unwrap();
    }
    writer.finish().unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn predictions_come_back_in_pieces_of_a_limited_size() {
    let folder = folder("pieces");
    let (origin, limit) = (origin(5), 1200);
    fill(&folder, origin, 0..10, limit);
    // Goes on, and makes nothing twice.
    fill(&folder, origin, 5..13, limit);
    let lengths: Vec<u64> = files(&folder)
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .collect();
    assert!(
        lengths.len() > 2 && lengths.iter().all(|&length| length <= limit),
        "{lengths:?}"
    );
    let record = origin.record_bytes().unwrap();
    assert_eq!(
        lengths.iter().sum::<u64>(),
        128 * lengths.len() as u64 + 13 * (32 + record)
    );

    let cache = Cache::open(&folder).unwrap();
    assert_eq!((cache.sequences(), *cache.origin()), (13, origin));
    for sequence in 0..13 {
        let found = cache.read(&tokens(sequence)).unwrap();
        for (place, row) in logits(sequence).chunks(VOCABULARY).enumerate() {
            let mut order: Vec<usize> = (0..VOCABULARY).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            let sum: f32 = row.iter().map(|logit| (logit / 2.0).exp()).sum();
            for (nth, &token) in order[..5].iter().enumerate() {
                let at = place * 5 + nth;
                assert_eq!(found.tokens[at], token as i32);
                let log = row[token] / 2.0 - sum.ln();
                assert!(
                    (found.logs[at] - log).abs() < 2e-3 + 1e-3 * log.abs(),
                    "{} {log}",
                    found.logs[at]
                );
            }
            let rest: f32 = order[5..].iter().map(|&token| (row[token] / 2.0).exp() / sum).sum();
            assert!(
                (found.rest[place].exp() - rest).abs() < 1e-3,
                "{} {rest}",
                found.rest[place].exp()
            );
        }
    }
    let error = cache.read(&tokens(99)).unwrap_err();
    assert!(
        matches!(error, TrainError::Cache(CacheError::Missing { .. })),
        "{error}"
    );
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_of_something_else_is_refused() {
    let folder = folder("other");
    fill(&folder, origin(5), 0..2, 1 << 20);
    let others = [
        Origin { length: 7, ..origin(5) },
        Origin {
            vocab_size: 51,
            ..origin(5)
        },
        Origin {
            temperature: 1.0,
            ..origin(5)
        },
        Origin {
            tokenizer: [3; 32],
            ..origin(5)
        },
        Origin {
            teacher: [3; 32],
            ..origin(5)
        },
        origin(6),
    ];
    for other in others {
        let error = CacheWriter::open(&folder, other, 0, 1 << 20).map(drop).unwrap_err();
        assert!(matches!(error, TrainError::Cache(CacheError::Other { .. })), "{error}");
    }
    let cache = Cache::open(&folder).unwrap();
    // Students need not know the teacher, nor how much is kept.
    cache
        .check(&Origin {
            teacher: [0; 32],
            ..origin(1)
        })
        .unwrap();
    assert!(
        cache
            .check(&others[0])
            .unwrap_err()
            .to_string()
            .contains("length: 6, and not 7")
    );

    let mut writer = CacheWriter::open(&folder, origin(5), 0, 1 << 20).unwrap();
    let error = writer.add(&tokens(5), &[f32::NAN; LENGTH * VOCABULARY]).unwrap_err();
    assert!(matches!(error, TrainError::Cache(CacheError::NotFinite)), "{error}");
    let error = CacheWriter::open(&folder, origin(5), 0, 200).map(drop).unwrap_err();
    assert!(
        matches!(error, TrainError::Cache(CacheError::TooLarge { .. })),
        "{error}"
    );
    fs::remove_dir_all(folder).unwrap();
}

/// Opens a directory and reads all sequences.
fn read_all(folder: &Path, sequences: usize) -> Result<()> {
    let cache = Cache::open(folder)?;
    (0..sequences).try_for_each(|sequence| cache.read(&tokens(sequence)).map(drop))
}

#[test]
fn damaged_pieces_are_refused_wherever_they_are_damaged() {
    let folder = folder("damaged");
    fill(&folder, origin(3), 0..3, 1 << 20);
    let path = files(&folder).remove(0);
    let whole = fs::read(&path).unwrap();
    read_all(&folder, 3).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = read_all(&folder, 3).unwrap_err();
        assert!(
            matches!(error, TrainError::Cache(CacheError::Damaged { .. })),
            "{error}"
        );
    };
    for length in (0..whole.len()).step_by(13) {
        refused(&whole[..length]);
    }
    refused(&[&whole[..], &[0]].concat());
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        refused(&bytes);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn pieces_that_claim_much_take_no_memory() {
    let folder = folder("claims");
    fill(&folder, origin(3), 0..1, 1 << 20);
    let path = files(&folder).remove(0);
    let whole = fs::read(&path).unwrap();
    // Vocabulary, length, top, temperature, records: with the right checksum, as only an attacker writes them.
    for (place, values) in [
        (104, &[0, 2, u32::MAX][..]),
        (108, &[0, 5, 7, u32::MAX]),
        (112, &[0, 2, 4, 51, u32::MAX]),
        (
            116,
            &[0, f32::NAN.to_bits(), f32::INFINITY.to_bits(), (-1f32).to_bits()],
        ),
        (120, &[0, 2, u32::MAX]),
    ] {
        for value in values {
            let mut bytes = whole.clone();
            bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
            let checksum = sum(&bytes[40..160]);
            bytes[8..40].copy_from_slice(&checksum);
            fs::write(&path, &bytes).unwrap();
            let error = read_all(&folder, 1).unwrap_err();
            assert!(
                matches!(error, TrainError::Cache(CacheError::Damaged { .. })),
                "{error}"
            );
        }
    }
    // Tokens that are none, and logarithms that are none, with all checksums right.
    for (place, value) in [
        (160 + 4 * 6, 50u16),
        (160 + 4 * 6 + 36, 0x7e00),
        (160 + 4 * 6 + 36, 0x3c00),
        (162, 0x7fc0),
    ] {
        let mut bytes = whole.clone();
        bytes[place..place + 2].copy_from_slice(&value.to_le_bytes());
        let checksum = sum(&bytes[160..]);
        bytes[144..160].copy_from_slice(&checksum[..16]);
        let checksum = sum(&bytes[40..160]);
        bytes[8..40].copy_from_slice(&checksum);
        fs::write(&path, &bytes).unwrap();
        let error = read_all(&folder, 1).unwrap_err().to_string();
        assert!(error.contains("no teacher predicts"), "{error}");
    }
    fs::remove_dir_all(folder).unwrap();
}

fn sum(bytes: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).into()
}
