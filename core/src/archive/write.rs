//! Makes an archive of a model file.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::pipeline::in_order;
use super::progress::Reports;
use super::sections::{Part, parts};
use super::{END, MAGIC, PART, Progress, VERSION, block};
use crate::gguf::{AtomicFile, ModelFile};
use crate::{Error, Result};

/// What was archived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Archived {
    /// The length of the model file.
    pub file_bytes: u64,
    /// The length of the archive.
    pub archive_bytes: u64,
    /// The SHA-256 of the model file, for [`expect_sha256`](super::Unpacker::expect_sha256).
    pub sha256: [u8; 32],
}

/// Makes an archive of `model` at `path`, which appears when it is complete.
///
/// `threads` threads code while the calling one writes; with 1, the calling thread does everything. Takes a few MiB of
/// memory for each. `progress` is called for every MiB and at the end; if it breaks, nothing stays behind.
///
/// # Errors
/// [`Error::Gguf`] or [`Error::ModelFile`] if `model` is no GGUF, [`ArchiveError::Cancelled`](super::ArchiveError::Cancelled) if `progress` breaks,
/// [`Error::Io`] or [`Error::Write`] if the archive cannot be written.
pub fn create(
    model: &ModelFile,
    path: &Path,
    threads: usize,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Archived> {
    let mut file = AtomicFile::create(path)?;
    let archived = write(model, &mut file, threads, progress)?;
    file.commit()?;
    Ok(archived)
}

/// Writes an archive of `model` to `out`, as [`create`] does.
///
/// # Errors
/// As [`create`].
pub fn write(
    model: &ModelFile,
    out: impl Write,
    threads: usize,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Archived> {
    let file = model.bytes();
    let parts = parts(&model.gguf()?, file.len());
    let mut pieces = parts.iter().flat_map(|part| pieces(part, file));
    let mut archive = Archive {
        out,
        archive_bytes: 0,
        file: Sha256::new(),
        part: crc32fast::Hasher::new(),
        part_name: "",
        reports: Reports::new(file.len() as u64, progress),
        start: 0,
    };
    archive.write(MAGIC)?;
    archive.write(&VERSION.to_le_bytes())?;
    archive.write(&(file.len() as u64).to_le_bytes())?;
    in_order(
        threads,
        || Ok(pieces.next()),
        |piece| Ok(piece.encode()),
        |piece| archive.take(model, piece),
    )?;
    let sha256: [u8; 32] = archive.file.clone().finalize().into();
    archive.write(&[END])?;
    archive.write(&sha256)?;
    archive.out.flush().map_err(Error::Write)?;
    Ok(Archived {
        file_bytes: file.len() as u64,
        archive_bytes: archive.archive_bytes,
        sha256,
    })
}

/// What an archive is put together of. `C` is a block's coded form, or what is needed to make it.
enum Piece<'a, C> {
    PartStart { name: &'a str, bytes: u64 },
    Block { bytes: &'a [u8], coded: C },
    PartEnd,
}

fn pieces<'a>(part: &'a Part<'a>, file: &'a [u8]) -> impl Iterator<Item = Piece<'a, &'static [u16]>> {
    let bytes = part.sections.iter().map(|section| section.range.len() as u64).sum();
    let blocks = part.sections.iter().flat_map(move |section| {
        let cycle: usize = section.runs.iter().map(|&run| usize::from(run)).sum();
        let most = block::MOST_BYTES / cycle * cycle;
        let blocks = file[section.range.clone()].chunks(most);
        blocks.map(|bytes| Piece::Block {
            bytes,
            coded: section.runs,
        })
    });
    let start = Piece::PartStart { name: part.name, bytes };
    std::iter::once(start).chain(blocks).chain([Piece::PartEnd])
}

impl<'a> Piece<'a, &'static [u16]> {
    fn encode(self) -> Piece<'a, Vec<u8>> {
        match self {
            Piece::PartStart { name, bytes } => Piece::PartStart { name, bytes },
            Piece::Block { bytes, coded: runs } => Piece::Block {
                bytes,
                coded: block::encode(bytes, runs),
            },
            Piece::PartEnd => Piece::PartEnd,
        }
    }
}

/// The archive as it is written.
struct Archive<'a, W> {
    out: W,
    archive_bytes: u64,
    file: Sha256,
    part: crc32fast::Hasher,
    part_name: &'a str,
    reports: Reports<'a>,
    /// Where the next block begins in the file.
    start: usize,
}

impl<'a, W: Write> Archive<'a, W> {
    fn take(&mut self, model: &ModelFile, piece: Piece<'a, Vec<u8>>) -> Result<()> {
        match piece {
            Piece::PartStart { name, bytes } => {
                // It only says where an error is, so a very long one may be cut.
                let label = &name[..name.floor_char_boundary(u8::MAX.into())];
                self.part = crc32fast::Hasher::new();
                self.part.update(label.as_bytes());
                self.part_name = name;
                self.write(&[PART, label.len() as u8])?;
                self.write(label.as_bytes())?;
                self.write(&bytes.to_le_bytes())?;
            }
            Piece::Block { bytes, coded } => {
                self.file.update(bytes);
                self.part.update(bytes);
                self.write(&(bytes.len() as u32).to_le_bytes())?;
                self.write(&(coded.len() as u32).to_le_bytes())?;
                self.write(&coded)?;
                model.release(self.start..self.start + bytes.len());
                self.start += bytes.len();
                self.reports.advance(self.part_name, bytes.len())?;
            }
            Piece::PartEnd => {
                let crc = self.part.clone().finalize();
                self.write(&crc.to_le_bytes())?;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.archive_bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(Error::Write)
    }
}
