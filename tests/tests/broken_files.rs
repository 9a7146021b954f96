//! Whatever is in a file, reading it gives a value or an error: no panic, no memory beyond what the file justifies.

use std::sync::LazyLock;

use halfpi::Error;
use halfpi::gguf::{Gguf, GgufError, ModelFile};
use halfpi_tests::alloc::{CountingAllocator, peak_bytes_during};
use halfpi_tests::corpus::Corpus;
use halfpi_tests::gguf::{Case, cases, corpus_directory, rewrite, small_file, walk};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The cases, whose files are written anew before the first use if that is asked for.
static CASES: LazyLock<(Vec<Case>, Corpus)> = LazyLock::new(|| {
    let cases = cases();
    let file = |case: &Case| (format!("{}.gguf", case.name), case.bytes.clone());
    let corpus = Corpus::new(corpus_directory(), cases.iter().map(file));
    (cases, corpus)
});

/// Parses, reads everything if that succeeds, and hands the error over if it does not.
fn read(bytes: &[u8]) -> Result<u64, GgufError> {
    Gguf::parse(bytes).map(|gguf| walk(&gguf))
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
fn every_broken_file_gets_its_error() {
    for case in CASES.0.iter() {
        let path = corpus_directory().join(case.name).with_extension("gguf");
        let found = match ModelFile::open(&path).and_then(|model| model.gguf().map(|gguf| walk(&gguf))) {
            Ok(_) => None,
            Err(Error::ModelFile { path: named, source }) if named == path => match *source {
                Error::Gguf(error) => Some(error),
                other => panic!("{}: {other:?}", case.name),
            },
            Err(other) => panic!("{}: {other:?} does not name the file", case.name),
        };
        assert_eq!(found, case.error, "{}", case.name);
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

/// Twice, because the first time the alignment changes.
#[test]
fn good_files_survive_rewriting() {
    for case in CASES.0.iter().filter(|case| case.error.is_none()) {
        let once = rewrite(&Gguf::parse(&case.bytes).unwrap());
        assert_eq!(rewrite(&Gguf::parse(&once).unwrap()), once, "{}", case.name);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let file = small_file(3);
    read(&file).unwrap();
    for len in 0..file.len() {
        read(&file[..len]).expect_err(&format!("cut to {len} of {} bytes", file.len()));
    }
}

#[test]
fn no_flipped_bit_panics() {
    let mut file = small_file(3);
    let mut errors = 0;
    for at in 0..file.len() * 8 {
        file[at / 8] ^= 1 << (at % 8);
        errors += usize::from(read(&file).is_err());
        file[at / 8] ^= 1 << (at % 8);
    }
    assert!(errors > 1000, "only {errors} flips were noticed");
}

#[test]
fn no_extreme_number_panics() {
    let file = small_file(3);
    let mut extremes = vec![0, 1, 2, 31, 32, u64::MAX];
    extremes.extend(
        [8u32, 16, 31, 32, 60, 61, 62, 63]
            .iter()
            .flat_map(|&bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]),
    );
    for at in 0..file.len() {
        for number in &extremes {
            for width in [4, 8] {
                let mut changed = file.clone();
                let end = (at + width).min(file.len());
                changed[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
                let _ = read(&changed);
            }
        }
    }
}

/// Counts and lengths that only a larger file could hold must not reserve memory for it.
#[test]
fn memory_is_bounded_by_the_file() {
    let parse_peak = |bytes: &[u8]| peak_bytes_during(|| drop(Gguf::parse(bytes)));
    for case in CASES.0.iter() {
        let peak = parse_peak(&case.bytes);
        assert!(
            peak <= 16 * case.bytes.len() + 1024,
            "{}: {peak} bytes of memory",
            case.name
        );
    }

    // A header that claims as many entries as a megabyte can hold, and then has none that are good.
    let mut hostile = small_file(3);
    hostile.truncate(24);
    hostile.resize(1 << 20, 0xff);
    hostile[8..16].copy_from_slice(&(1u64 << 15).wrapping_sub(1).to_le_bytes());
    hostile[16..24].copy_from_slice(&(1u64 << 16).to_le_bytes());
    let peak = parse_peak(&hostile);
    assert!(peak < 1024, "{peak} bytes of memory for nothing");

    // As many of the smallest entries as possible: what is there may cost memory, but within reason.
    let entries: u32 = 70_000;
    let mut small_entries = [
        b"GGUF\x03\0\0\0".as_slice(),
        &0u64.to_le_bytes(),
        &u64::from(entries).to_le_bytes(),
    ]
    .concat();
    for key in 0..entries {
        small_entries.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        small_entries.extend(format!("{key:06x}").bytes());
        small_entries.extend([0, 0, 0, 0, 1]);
    }
    read(&small_entries).unwrap();
    let peak = parse_peak(&small_entries);
    assert!(
        peak <= 16 * small_entries.len(),
        "{peak} bytes of memory for {}",
        small_entries.len()
    );
}
