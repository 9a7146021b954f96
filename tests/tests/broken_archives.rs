//! Whatever is in an archive, unpacking it gives the file or an error: no panic, no memory beyond some blocks.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use halfpi::Error;
use halfpi::archive::{ArchiveError, Unpacker};
use halfpi_tests::alloc::{CountingAllocator, largest_allocation, peak_bytes_during};
use halfpi_tests::archive::{Case, archived, cases, corpus_directory, unpack};
use halfpi_tests::corpus::Corpus;
use halfpi_tests::gguf;
use sha2::{Digest, Sha256};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The cases, whose files are written anew before the first use if that is asked for.
static CASES: LazyLock<(Vec<Case>, Corpus)> = LazyLock::new(|| {
    let cases = cases();
    let file = |case: &Case| (format!("{}.hpar", case.name), case.bytes.clone());
    let corpus = Corpus::new(corpus_directory(), cases.iter().map(file));
    (cases, corpus)
});

fn refusal(archive: &[u8]) -> Option<ArchiveError> {
    match unpack(archive) {
        Ok(_) => None,
        Err(Error::Archive(error)) => Some(error),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn corpus_is_what_the_generator_makes() {
    let (cases, corpus) = &*CASES;
    for case in cases {
        assert!(
            case.bytes.len() < 2048,
            "{} is larger than a corpus file should be",
            case.name
        );
    }
    corpus.assert_committed("HALFPI_BLESS=1 writes them anew");
}

#[test]
fn every_broken_archive_gets_its_error() {
    for case in CASES.0.iter() {
        assert_eq!(refusal(&case.bytes), case.error, "{}", case.name);
    }
}

#[test]
fn messages_are_short_and_printable() {
    for error in CASES.0.iter().filter_map(|case| case.error.as_ref()) {
        let message = error.to_string();
        assert!(
            (20..400).contains(&message.len()) && !message.contains(char::is_control),
            "{message:?}"
        );
    }
}

/// Archives in which every coding occurs.
fn good_archives() -> impl Iterator<Item = &'static Case> {
    CASES.0.iter().filter(|case| case.error.is_none())
}

/// However small its blocks are: they must not be able to keep a listener busy.
#[test]
fn progress_is_reported_by_the_mib() {
    let file = vec![7; (2 << 20) + 5];
    let crc = crc32fast::hash(&[b"t", &file[..]].concat());
    let mut archive = [&b"HPAR\x01\0\0\0"[..], &(file.len() as u64).to_le_bytes(), b"\x01\x01t"].concat();
    archive.extend((file.len() as u64).to_le_bytes());
    for byte in &file {
        // A block of one byte in a lane of one byte, as it is.
        archive.extend([1, 0, 0, 0, 7, 0, 0, 0, 1, 0, 1, 0, 0, 0, *byte]);
    }
    archive.extend(crc.to_le_bytes());
    archive.push(0);
    archive.extend(Sha256::digest(&file));
    let mut seen = Vec::new();
    let unpacker = Unpacker::new(&archive[..]).unwrap().threads(1);
    let unpacked = unpacker.write(std::io::sink(), &mut |progress| {
        seen.push(progress.bytes_done);
        ControlFlow::Continue(())
    });
    assert_eq!(unpacked.unwrap().file_bytes, file.len() as u64);
    assert_eq!(seen, [1 << 20, 2 << 20, file.len() as u64]);
}

#[test]
fn every_truncation_is_an_error() {
    for case in good_archives() {
        for len in 0..case.bytes.len() {
            let offset = len as u64;
            assert_eq!(
                refusal(&case.bytes[..len]),
                Some(ArchiveError::Truncated { offset }),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    for case in good_archives() {
        let mut archive = case.bytes.clone();
        for bit in 0..archive.len() * 8 {
            archive[bit / 8] ^= 1 << (bit % 8);
            assert!(refusal(&archive).is_some(), "{}: bit {bit} is not noticed", case.name);
            archive[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn no_extreme_number_panics() {
    let archive = archived(&gguf::small_file(3));
    for at in 0..archive.len() {
        for number in [
            0,
            1,
            0xff,
            0xffff,
            1 << 20,
            1 << 31,
            u64::from(u32::MAX),
            1 << 63,
            u64::MAX,
        ] {
            for width in [1, 2, 4, 8] {
                let mut changed = archive.clone();
                let end = (at + width).min(archive.len());
                changed[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
                assert!(changed == archive || refusal(&changed).is_some());
            }
        }
    }
}

/// Neither lengths that are only claimed nor bytes that cost nothing reserve more than a few blocks.
#[test]
fn memory_is_bounded_by_blocks() {
    for case in CASES.0.iter() {
        let peak = peak_bytes_during(|| drop(unpack(&case.bytes)));
        assert!(peak < 8 << 20, "{}: {peak} bytes of memory", case.name);
    }
    assert!(
        largest_allocation() <= 2 << 20,
        "{} bytes at once",
        largest_allocation()
    );
}
