//! Restores a file from an archive.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::block::{self, BadBlock};
use super::pipeline::in_order;
use super::progress::Reports;
use super::{ArchiveError, END, MAGIC, PART, Progress, VERSION};
use crate::gguf::{AtomicFile, ForeignFormat};
use crate::pool::Pool;
use crate::{Error, Result};

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpacked {
    /// The length of the file.
    pub file_bytes: u64,
    /// The length of the archive.
    pub archive_bytes: u64,
    /// The SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// An archive of which the beginning has been read.
///
/// ```no_run
/// use halfpi::archive::Unpacker;
/// use std::fs::File;
/// use std::io::BufReader;
/// use std::ops::ControlFlow;
/// use std::path::Path;
///
/// # let open = |path: &str| File::open(path).map_err(|source| halfpi::Error::Io { path: path.into(), source });
/// let archive = Unpacker::new(BufReader::new(open("model.hpar")?))?;
/// println!("{} bytes will be needed", archive.file_bytes());
/// archive.unpack(Path::new("model.gguf"), &mut |progress| {
///     println!("{} of {} bytes", progress.bytes_done, progress.bytes);
///     ControlFlow::Continue(())
/// })?;
/// # Ok::<(), halfpi::Error>(())
/// ```
#[derive(Debug)]
pub struct Unpacker<R> {
    input: Input<R>,
    file_bytes: u64,
    threads: usize,
    expected: Option<[u8; 32]>,
    most_bytes: u64,
}

/// Restores the model file that `archive` was made of and puts it at `path`, bit for bit.
///
/// `archive` may be a file, memory, or a download under way: it is read once from beginning to end. `path` is not
/// touched before everything has arrived and every checksum is right; until then the file grows beside it. Takes a few
/// MiB of memory, whatever the size of the model.
///
/// `progress` is called for every MiB and at the end; if it breaks, nothing stays behind. More can be chosen with
/// [`Unpacker`]: how long the file may be, for one.
///
/// # Errors
/// [`ArchiveError`] if the archive is damaged, cut short, or none; [`Error::Read`] if `archive` fails, and
/// [`Error::Io`] or [`Error::Write`] if the file cannot be written.
pub fn unpack(
    archive: impl Read,
    path: &Path,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Unpacked> {
    Unpacker::new(archive)?.unpack(path, progress)
}

impl<R: Read> Unpacker<R> {
    /// Reads the beginning of an archive.
    ///
    /// # Errors
    /// [`ArchiveError`] if it is none, or of another version, and [`Error::Read`] if `archive` fails.
    pub fn new(archive: R) -> Result<Self> {
        let mut input = Input { archive, offset: 0 };
        let mut magic = Vec::new();
        input.up_to(MAGIC.len(), &mut magic)?;
        if magic != MAGIC {
            return Err(match &magic[..] {
                b"GGUF" => ArchiveError::IsAModel,
                start if MAGIC.starts_with(start) => ArchiveError::Truncated { offset: input.offset },
                start => {
                    let mut start = start.to_vec();
                    // A guess needs some more; if there is none, it is made with what there is.
                    let _ = input.up_to(64, &mut start);
                    ArchiveError::NotAnArchive {
                        looks_like: ForeignFormat::guess(&start),
                    }
                }
            }
            .into());
        }
        let version = u32::from_le_bytes(input.array()?);
        if version != VERSION {
            return Err(ArchiveError::UnsupportedVersion { version }.into());
        }
        let file_bytes = u64::from_le_bytes(input.array()?);
        if file_bytes == 0 {
            return Err(ArchiveError::Empty.into());
        }
        Ok(Self {
            file_bytes,
            input,
            threads: Pool::default_threads(),
            expected: None,
            most_bytes: u64::MAX,
        })
    }

    /// The length of the file inside, as the archive claims it: no more than that is written. Ask for it, or
    /// [limit](Self::most_bytes) it, before unpacking what a stranger sent, or on a device that may be full.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Decodes on this many threads while the calling one reads and writes, instead of one for each fast core. With 1, the
    /// calling thread does everything.
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Accepts only the file with this SHA-256, whatever the archive holds.
    pub fn expect_sha256(self, sha256: [u8; 32]) -> Self {
        let expected = Some(sha256);
        Self { expected, ..self }
    }

    /// Refuses, before anything is written, a file that is longer than this. Without, a small archive may fill the disk.
    pub fn most_bytes(self, most_bytes: u64) -> Self {
        Self { most_bytes, ..self }
    }

    /// Puts the file at `path`, as [`unpack`] does.
    ///
    /// # Errors
    /// As [`unpack`], [`ArchiveError::WrongFile`] if another file was [expected](Self::expect_sha256), and
    /// [`ArchiveError::TooLarge`] if it is longer than [it may be](Self::most_bytes).
    pub fn unpack(self, path: &Path, progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Result<Unpacked> {
        self.check_length()?;
        let mut file = AtomicFile::create(path)?;
        let unpacked = self.write(&mut file, progress)?;
        file.commit()?;
        Ok(unpacked)
    }

    /// Writes the file to `out`, which must not be trusted before this has returned: a damaged archive is only noticed
    /// on the way.
    ///
    /// # Errors
    /// As [`unpack`](Self::unpack).
    pub fn write(self, out: impl Write, progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Result<Unpacked> {
        self.check_length()?;
        let mut pieces = Pieces {
            input: self.input,
            file_bytes: self.file_bytes,
            file_bytes_left: self.file_bytes,
            part: "".into(),
            state: State::BetweenParts,
        };
        let mut restored = Restored {
            out,
            file: Sha256::new(),
            part: crc32fast::Hasher::new(),
            part_name: "".into(),
            reports: Reports::new(self.file_bytes, progress),
            expected: self.expected,
        };
        in_order(
            self.threads,
            || pieces.next(),
            |piece| piece.decode(),
            |piece| restored.take(piece),
        )?;
        restored.out.flush().map_err(Error::Write)?;
        Ok(Unpacked {
            file_bytes: self.file_bytes,
            archive_bytes: pieces.input.offset,
            sha256: restored.file.finalize().into(),
        })
    }

    fn check_length(&self) -> Result<(), ArchiveError> {
        let (file_bytes, most) = (self.file_bytes, self.most_bytes);
        if file_bytes > most {
            return Err(ArchiveError::TooLarge { file_bytes, most });
        }
        Ok(())
    }
}

/// The bytes of the archive, counted.
#[derive(Debug)]
struct Input<R> {
    archive: R,
    offset: u64,
}

impl<R: Read> Input<R> {
    /// Appends the next `len` bytes, or as many as there are. Memory grows with what arrives.
    fn up_to(&mut self, len: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let read = self
            .archive
            .by_ref()
            .take(len as u64)
            .read_to_end(bytes)
            .map_err(Error::Read)?;
        self.offset += read as u64;
        Ok(())
    }

    fn bytes(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.up_to(len, &mut bytes)?;
        if bytes.len() < len {
            return Err(ArchiveError::Truncated { offset: self.offset }.into());
        }
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes(N)?);
        Ok(array)
    }

    fn is_at_end(&mut self) -> Result<bool> {
        loop {
            match self.archive.read(&mut [0]) {
                Ok(read) => return Ok(read == 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(Error::Read(error)),
            }
        }
    }
}

/// What an archive consists of, after its beginning. `D` is a block, coded or not.
enum Piece<D> {
    PartStart { name: Arc<str> },
    Block(D),
    PartEnd { crc: u32 },
    FileEnd { sha256: [u8; 32] },
}

struct CodedBlock {
    part: Arc<str>,
    /// Where it is in the archive.
    offset: u64,
    bytes: usize,
    coded: Vec<u8>,
}

impl Piece<CodedBlock> {
    fn decode(self) -> Result<Piece<Vec<u8>>> {
        Ok(match self {
            Piece::Block(block) => {
                let mut bytes = vec![0; block.bytes];
                block::decode(&block.coded, &mut bytes).map_err(|bad| ArchiveError::Block {
                    part: block.part.as_ref().into(),
                    offset: block.offset,
                    what: match bad {
                        BadBlock::Parts => "parts are",
                        BadBlock::Table => "table of frequencies is",
                        BadBlock::Stream => "coded stream is",
                    },
                })?;
                Piece::Block(bytes)
            }
            Piece::PartStart { name } => Piece::PartStart { name },
            Piece::PartEnd { crc } => Piece::PartEnd { crc },
            Piece::FileEnd { sha256 } => Piece::FileEnd { sha256 },
        })
    }
}

/// Where in an archive we are.
enum State {
    BetweenParts,
    InPart { bytes_left: u64 },
    AfterEnd,
}

/// Takes an archive to pieces. No length that it claims is believed beyond a block.
struct Pieces<R> {
    input: Input<R>,
    file_bytes: u64,
    /// What is not in the parts so far.
    file_bytes_left: u64,
    part: Arc<str>,
    state: State,
}

impl<R: Read> Pieces<R> {
    fn next(&mut self) -> Result<Option<Piece<CodedBlock>>> {
        let offset = self.input.offset;
        match self.state {
            State::BetweenParts => match self.input.array()? {
                [PART] => self.part_start().map(Some),
                [END] => self.end().map(Some),
                [mark] => Err(ArchiveError::Mark { mark, offset }.into()),
            },
            State::InPart { bytes_left: 0 } => {
                self.state = State::BetweenParts;
                let crc = u32::from_le_bytes(self.input.array()?);
                Ok(Some(Piece::PartEnd { crc }))
            }
            State::InPart { bytes_left } => {
                let bytes = self.length(u32::from_le_bytes, bytes_left.min(block::MOST_BYTES as u64))?;
                let coded_bytes = self.length(u32::from_le_bytes, bytes + block::MOST_OVERHEAD as u64)?;
                self.state = State::InPart {
                    bytes_left: bytes_left - bytes,
                };
                Ok(Some(Piece::Block(CodedBlock {
                    part: Arc::clone(&self.part),
                    offset,
                    bytes: bytes as usize,
                    coded: self.input.bytes(coded_bytes as usize)?,
                })))
            }
            State::AfterEnd => Ok(None),
        }
    }

    fn part_start(&mut self) -> Result<Piece<CodedBlock>> {
        let [name_bytes] = self.input.array()?;
        let offset = self.input.offset;
        let name = self.input.bytes(usize::from(name_bytes))?;
        let name = String::from_utf8(name).map_err(|_| ArchiveError::NotUtf8 { offset })?;
        self.part = name.into();
        let bytes = self.length(u64::from_le_bytes, self.file_bytes_left)?;
        self.file_bytes_left -= bytes;
        self.state = State::InPart { bytes_left: bytes };
        Ok(Piece::PartStart {
            name: Arc::clone(&self.part),
        })
    }

    fn end(&mut self) -> Result<Piece<CodedBlock>> {
        if self.file_bytes_left > 0 {
            return Err(ArchiveError::Missing {
                expected: self.file_bytes,
                found: self.file_bytes - self.file_bytes_left,
            }
            .into());
        }
        self.state = State::AfterEnd;
        let sha256 = self.input.array()?;
        if !self.input.is_at_end()? {
            let offset = self.input.offset;
            return Err(ArchiveError::TrailingBytes { offset }.into());
        }
        Ok(Piece::FileEnd { sha256 })
    }

    /// A length from 1 to `most`.
    fn length<const N: usize, L: Into<u64>>(&mut self, from_bytes: fn([u8; N]) -> L, most: u64) -> Result<u64> {
        let offset = self.input.offset;
        let bytes = from_bytes(self.input.array()?).into();
        if (1..=most).contains(&bytes) {
            return Ok(bytes);
        }
        let part = self.part.as_ref().into();
        Err(ArchiveError::Length {
            part,
            offset,
            bytes,
            most,
        }
        .into())
    }
}

/// The file as it is restored, and what is known of it so far.
struct Restored<'p, W> {
    out: W,
    file: Sha256,
    part: crc32fast::Hasher,
    part_name: Arc<str>,
    reports: Reports<'p>,
    expected: Option<[u8; 32]>,
}

impl<W: Write> Restored<'_, W> {
    fn take(&mut self, piece: Piece<Vec<u8>>) -> Result<()> {
        match piece {
            Piece::PartStart { name } => {
                self.part = crc32fast::Hasher::new();
                // So that a wrong name is noticed too.
                self.part.update(name.as_bytes());
                self.part_name = name;
            }
            Piece::Block(bytes) => {
                self.file.update(&bytes);
                self.part.update(&bytes);
                self.out.write_all(&bytes).map_err(Error::Write)?;
                self.reports.advance(&self.part_name, bytes.len())?;
            }
            Piece::PartEnd { crc: expected } => {
                let found = self.part.clone().finalize();
                if found != expected {
                    let part = self.part_name.as_ref().into();
                    return Err(ArchiveError::PartChecksum { part, expected, found }.into());
                }
            }
            Piece::FileEnd { sha256: expected } => {
                let found = self.file.clone().finalize().into();
                if found != expected {
                    return Err(ArchiveError::FileChecksum { expected, found }.into());
                }
                if let Some(expected) = self.expected.filter(|&expected| expected != found) {
                    return Err(ArchiveError::WrongFile { expected, found }.into());
                }
            }
        }
        Ok(())
    }
}
