//! Archives restore what they were made of, bit for bit, or leave everything as it was.

mod pack_common;

use std::fs;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use halfpi::Error;
use halfpi::archive::{self, ArchiveError, Archived, Progress, Unpacked, Unpacker};
use halfpi::gguf::{GgmlType, ModelFile, Writer};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::transformer::Architecture;
use pack_common::Directory;

fn go_on(_: Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn archived(model: &ModelFile, threads: usize) -> (Archived, Vec<u8>) {
    let mut bytes = Vec::new();
    let archived = archive::write(model, &mut bytes, threads, &mut go_on).unwrap();
    assert_eq!(archived.archive_bytes, bytes.len() as u64);
    (archived, bytes)
}

fn restored(archive: impl Read, threads: usize) -> halfpi::Result<(Unpacked, Vec<u8>)> {
    let mut bytes = Vec::new();
    let archive = Unpacker::new(archive)?.threads(threads);
    let unpacked = archive.write(&mut bytes, &mut go_on)?;
    Ok((unpacked, bytes))
}

fn refusal<T: std::fmt::Debug>(result: halfpi::Result<T>) -> ArchiveError {
    match result {
        Err(Error::Archive(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn assert_round_trip(model: &ModelFile, what: &str) {
    let (archived, archive) = archived(model, 2);
    let (unpacked, bytes) = restored(&archive[..], 2).unwrap();
    assert!(bytes == model.bytes(), "{what}");
    assert_eq!(unpacked.sha256, archived.sha256, "{what}");
    assert_eq!(
        (unpacked.file_bytes, unpacked.archive_bytes),
        (archived.file_bytes, archived.archive_bytes),
        "{what}"
    );
}

fn tiny(storage: &str) -> ModelFile {
    // Native complex codes need a model of complex numbers.
    let architecture = match storage {
        "phase-complex" => Architecture::IFairy,
        _ => Architecture::Llama,
    };
    let mut model = SyntheticModel::tiny(architecture).with_storage(Storage::by_name(storage).unwrap());
    if ["tq1_0", "tq2_0", "i2_s"].contains(&storage) {
        // Their blocks are up to 256 wide.
        (model.config.embedding_length, model.config.feed_forward_length) = (256, 256);
        model.config.head_dim = 64;
    }
    model.to_model_file().unwrap()
}

/// Tensors of several blocks: floats around 1, and the same byte over and over.
fn large() -> ModelFile {
    let floats: Vec<u8> = (0..1_500_000u32)
        .flat_map(|i| (0x3c00u16 + (i.wrapping_mul(2_654_435_761) >> 22) as u16).to_le_bytes())
        .collect();
    let mut writer = Writer::new();
    writer.declare("floats", &[1_500_000], GgmlType::F16).unwrap();
    writer.declare("zeros", &[5_000_001], GgmlType::I8).unwrap();
    let mut tensors = writer.write_header(Vec::new()).unwrap();
    tensors.write("floats", &floats).unwrap();
    tensors.write("zeros", &vec![0; 5_000_001]).unwrap();
    ModelFile::from_bytes(tensors.finish().unwrap()).unwrap()
}

#[test]
fn models_of_every_storage_round_trip() {
    for storage in Storage::names() {
        assert_round_trip(&tiny(storage), storage);
    }
    for architecture in Architecture::ALL {
        let model = SyntheticModel::tiny(architecture).to_model_file().unwrap();
        assert_round_trip(&model, architecture.name());
    }
}

#[test]
fn the_demo_model_round_trips() {
    let Some(path) = std::env::var_os("HALFPI_TEST_MODEL") else {
        println!("skipped: HALFPI_TEST_MODEL is not set");
        return;
    };
    let model = ModelFile::open(path).unwrap();
    assert_round_trip(&model, "HALFPI_TEST_MODEL");
    let (archived, _) = archived(&model, 2);
    assert!(archived.archive_bytes * 100 < archived.file_bytes * 92, "{archived:?}");
}

#[test]
fn an_archive_does_not_depend_on_the_threads() {
    let model = large();
    let (first, archive) = archived(&model, 1);
    // The floats have 10 bits that say something; the zeros say nothing.
    assert!(first.archive_bytes < 1_500_000 * 10 / 8 * 101 / 100, "{first:?}");
    for threads in [0, 2, 7] {
        assert!(archived(&model, threads).1 == archive, "{threads} threads");
        assert!(
            restored(&archive[..], threads).unwrap().1 == model.bytes(),
            "{threads} threads"
        );
    }
}

/// As slow networks deliver: a byte at a time, with interruptions.
struct Dribble<'a>(&'a [u8], bool);

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let len = out.len().min(1);
        self.0.read(&mut out[..len])
    }
}

#[test]
fn an_archive_may_arrive_in_any_pieces() {
    let model = tiny("phi4");
    let (_, archive) = archived(&model, 1);
    assert!(restored(Dribble(&archive, false), 1).unwrap().1 == model.bytes());
}

#[test]
fn progress_counts_up_to_the_whole_file() {
    let model = large();
    let mut seen: Vec<(String, u64)> = Vec::new();
    let mut note = |progress: Progress<'_>| {
        assert_eq!(progress.bytes, model.bytes().len() as u64);
        seen.push((progress.part.to_owned(), progress.bytes_done));
        ControlFlow::Continue(())
    };
    let mut archive = Vec::new();
    archive::write(&model, &mut archive, 2, &mut note).unwrap();
    let written = std::mem::take(&mut seen);
    let mut note = |progress: Progress<'_>| {
        seen.push((progress.part.to_owned(), progress.bytes_done));
        ControlFlow::Continue(())
    };
    Unpacker::new(&archive[..])
        .unwrap()
        .write(io::sink(), &mut note)
        .unwrap();
    assert_eq!(seen, written);
    assert!(seen.is_sorted_by_key(|(_, bytes)| *bytes));
    assert_eq!(seen.last(), Some(&("zeros".to_owned(), model.bytes().len() as u64)));
    // Once in each MiB.
    let ends = seen.iter().map(|(_, bytes)| bytes >> 20).collect::<Vec<_>>();
    assert!(ends[..ends.len() - 1].is_sorted_by(|a, b| a < b), "{ends:?}");
    assert_eq!(ends.len(), (model.bytes().len() >> 20) + 1);
}

#[test]
fn a_file_may_be_as_long_as_it_is_allowed_to_be() {
    let directory = Directory::new();
    let path = directory.path().join("model.gguf");
    let model = tiny("phi4");
    let (_, archive) = archived(&model, 1);
    let file_bytes = model.bytes().len() as u64;
    let open = |most| Unpacker::new(&archive[..]).unwrap().most_bytes(most);
    for most in [0, 1, file_bytes - 1] {
        let error = refusal(open(most).unpack(&path, &mut go_on));
        assert_eq!(error, ArchiveError::TooLarge { file_bytes, most });
        assert!(files(directory.path()).is_empty());
        let mut out = Vec::new();
        let error = refusal(open(most).write(&mut out, &mut go_on));
        assert_eq!((error, out.len()), (ArchiveError::TooLarge { file_bytes, most }, 0));
    }
    open(file_bytes).unpack(&path, &mut go_on).unwrap();
    assert!(fs::read(&path).unwrap() == model.bytes());
}

/// The files in a directory with their contents.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn files_are_replaced_only_by_whole_ones() {
    let directory = Directory::new();
    let (path, archive_path) = (directory.path().join("model.gguf"), directory.path().join("model.hpar"));
    let model = large();
    fs::write(&path, "old model").unwrap();
    fs::write(&archive_path, "old archive").unwrap();
    let before = files(directory.path());

    let mut steps = 0;
    let mut stop = |_: Progress<'_>| {
        steps += 1;
        if steps == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    assert_eq!(
        refusal(archive::create(&model, &archive_path, 2, &mut stop)),
        ArchiveError::Cancelled
    );
    assert_eq!(files(directory.path()), before);

    let (archived, archive) = archived(&model, 2);
    steps = 0;
    let mut stop = |_: Progress<'_>| {
        steps += 1;
        if steps == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    assert_eq!(
        refusal(archive::unpack(&archive[..], &path, &mut stop)),
        ArchiveError::Cancelled
    );
    assert_eq!(files(directory.path()), before);

    let cut = &archive[..archive.len() - 1];
    let offset = cut.len() as u64;
    assert_eq!(
        refusal(archive::unpack(cut, &path, &mut go_on)),
        ArchiveError::Truncated { offset }
    );
    assert_eq!(files(directory.path()), before);

    let unpacker = || Unpacker::new(&archive[..]).unwrap();
    let wrong = unpacker().expect_sha256([7; 32]).unpack(&path, &mut go_on);
    assert_eq!(
        refusal(wrong),
        ArchiveError::WrongFile {
            expected: [7; 32],
            found: archived.sha256
        }
    );
    assert_eq!(files(directory.path()), before);

    archive::create(&model, &archive_path, 2, &mut go_on).unwrap();
    let unpacked = unpacker()
        .expect_sha256(archived.sha256)
        .unpack(&path, &mut go_on)
        .unwrap();
    assert_eq!(unpacked.sha256, archived.sha256);
    let after = files(directory.path());
    assert_eq!(after.len(), 2);
    assert!(after[0].1 == model.bytes() && after[1].1 == archive);
}

/// Works until `good` bytes have gone through.
struct Fails<T> {
    inner: T,
    good: usize,
}

impl<T> Fails<T> {
    fn some(&mut self, bytes: usize) -> io::Result<usize> {
        let some = bytes.min(self.good);
        if some == 0 && bytes > 0 {
            return Err(io::Error::other("unplugged"));
        }
        self.good -= some;
        Ok(some)
    }
}

impl<T: Read> Read for Fails<T> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let some = self.some(out.len())?;
        self.inner.read(&mut out[..some])
    }
}

impl Write for Fails<Vec<u8>> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let some = self.some(bytes.len())?;
        self.inner.write(&bytes[..some])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn failures_of_input_and_output_are_told() {
    let model = tiny("f16");
    let (_, archive) = archived(&model, 1);
    for good in [0, 3, 30, 1000, archive.len() - 1, archive.len()] {
        let inner = &archive[..];
        let error = restored(Fails { inner, good }, 2).unwrap_err();
        assert!(
            matches!(&error, Error::Read(source) if source.to_string() == "unplugged"),
            "{error:?}"
        );
        let out = Fails {
            inner: Vec::new(),
            good: good.min(archive.len() - 1),
        };
        let error = archive::write(&model, out, 2, &mut go_on).unwrap_err();
        assert!(
            matches!(&error, Error::Write(source) if source.to_string() == "unplugged"),
            "{error:?}"
        );
        let out = Fails {
            inner: Vec::new(),
            good,
        };
        let error = Unpacker::new(inner).unwrap().write(out, &mut go_on).unwrap_err();
        assert!(matches!(error, Error::Write(_)), "{error:?}");
    }
}

#[test]
fn what_is_no_model_is_not_archived() {
    let text = ModelFile::from_bytes("no model").unwrap();
    let error = archive::write(&text, io::sink(), 1, &mut go_on).unwrap_err();
    assert!(matches!(error, Error::Gguf(_)), "{error:?}");
}
