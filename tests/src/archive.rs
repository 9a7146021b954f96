//! The corpus of broken archives.
//!
//! The files are committed in `tests/corpus/archive`, where the fuzzer takes its seeds from too. They are compared with
//! what [`cases`] makes; `HALFPI_BLESS=1 cargo test -p halfpi-tests --test broken_archives` writes them anew.

mod cases;
mod draft;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use halfpi::archive::{self, ArchiveError, Unpacked, Unpacker};
use halfpi::gguf::ModelFile;

pub use cases::cases;

/// One file of the corpus.
#[derive(Debug)]
pub struct Case {
    /// The name of its file, without the ending.
    pub name: &'static str,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// What unpacking it must answer: the error, or `None` if the archive is good.
    pub error: Option<ArchiveError>,
}

/// Where the corpus is committed.
pub fn corpus_directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "corpus", "archive"].iter().collect()
}

/// An archive of a model file, as the library makes it.
///
/// # Panics
/// If `file` is no model file.
pub fn archived(file: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    let model = ModelFile::from_bytes(file).unwrap();
    archive::write(&model, &mut archive, 1, &mut |_| ControlFlow::Continue(())).unwrap();
    archive
}

/// Unpacks an archive, up to some megabytes, to nowhere.
///
/// # Errors
/// What the library answers.
pub fn unpack(archive: &[u8]) -> halfpi::Result<Unpacked> {
    let most = 3 << 20;
    Unpacker::new(archive)?
        .threads(1)
        .write(io::sink(), &mut |progress| match progress.bytes_done {
            bytes if bytes > most => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
}
