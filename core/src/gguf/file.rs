//! A model file in memory.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapMut, MmapOptions};

use super::{Gguf, GgufError};
use crate::pages::release_file;
use crate::{Error, Result};

/// A model file, mapped into memory and used in place.
#[derive(Debug)]
pub struct ModelFile {
    map: Mmap,
    /// Where the bytes come from; `None` if they were given.
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    file: File,
    /// Where the mapped part ends in it.
    end: u64,
    /// `None` if the caller opened it.
    path: Option<PathBuf>,
}

impl ModelFile {
    /// Maps the file at `path`. Nothing is read yet: pages come in as they are used.
    ///
    /// The file must stay as it is while it is mapped. Overwriting it in place changes the weights under the model;
    /// cutting it short makes the next access to the missing pages end the process (SIGBUS on Unix), which no code
    /// here can prevent. Deleting it, or replacing it by rename as [`AtomicFile`](super::AtomicFile)
    /// does, is safe.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, [`Error::ModelFile`] if it is empty or not a regular file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |source| io_error(Some(path), source);
        // Before opening, because opening a pipe waits for its other end.
        if !path.metadata().map_err(io)?.is_file() {
            return Err(named(Some(path), GgufError::NotAFile.into()));
        }
        let file = File::open(path).map_err(io)?;
        Self::map(file, 0, None, Some(path))
    }

    /// Maps `length` bytes from byte `offset` on of a file that is open already, or all from there on: a model inside an
    /// Android package, for instance, whose asset descriptor says both. Nothing is copied, wherever the part begins.
    ///
    /// The position of the file is not used. [`open`](Self::open) says what must not happen to it meanwhile. Its name is
    /// not known, so errors come without one.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be mapped, [`Error::Gguf`] if it is not a regular file (a pipe that a content provider
    /// writes to, for instance: copy it first), or the part is empty or not inside it.
    pub fn from_file(file: File, offset: u64, length: Option<u64>) -> Result<Self> {
        Self::map(file, offset, length, None)
    }

    /// The same of a file descriptor, of which a duplicate is used: the caller keeps its own, and may close it.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file); [`Error::Io`] for a number that is no open descriptor.
    #[cfg(unix)]
    pub fn from_descriptor(descriptor: std::os::fd::RawFd, offset: u64, length: Option<u64>) -> Result<Self> {
        use std::os::fd::BorrowedFd;
        let io = |source| io_error(None, source);
        if descriptor < 0 {
            return Err(io(std::io::ErrorKind::InvalidInput.into()));
        }
        // SAFETY: borrowed for one system call, which refuses a number that is not open; it is not -1.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let file = File::from(borrowed.try_clone_to_owned().map_err(io)?);
        Self::map(file, offset, length, None)
    }

    fn map(file: File, offset: u64, length: Option<u64>, path: Option<&Path>) -> Result<Self> {
        let io = |source| io_error(path, source);
        let refuse = |error: GgufError| named(path, error.into());
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(refuse(GgufError::NotAFile));
        }
        let file_bytes = metadata.len();
        let length = length.unwrap_or(file_bytes.saturating_sub(offset));
        let end = offset.checked_add(length).filter(|&end| end <= file_bytes);
        let end = end.ok_or_else(|| {
            refuse(GgufError::NotInFile {
                offset,
                length,
                file_bytes,
            })
        })?;
        if length == 0 {
            return Err(refuse(GgufError::Empty));
        }
        let bytes = usize::try_from(length).map_err(|_| io(std::io::ErrorKind::FileTooLarge.into()))?;
        // SAFETY: a private read-only mapping of a regular file. That nobody changes or truncates it meanwhile is
        // asked of the caller: keys, names and texts are checked once and then kept as `&str`s into it. Numbers are
        // copied out before they are checked, and every part is taken with its bounds, so that changed bytes are wrong
        // weights and no access outside of the mapping.
        let map = unsafe { MmapOptions::new().offset(offset).len(bytes).map(&file) }.map_err(io)?;
        let path = path.map(Path::to_owned);
        Ok(Self {
            map,
            source: Some(Source { file, end, path }),
        })
    }

    /// Takes a whole file from memory. The bytes are copied once, so that they are aligned as in a mapped file.
    ///
    /// # Errors
    /// [`Error::Gguf`] if there are no bytes, [`Error::Io`] if there is no memory for the copy.
    pub fn from_bytes(bytes: impl AsRef<[u8]>) -> Result<Self> {
        let bytes = bytes.as_ref();
        Self::in_memory(bytes.len(), |map| {
            map.copy_from_slice(bytes);
            Ok(())
        })
    }

    /// A file of `len` bytes that exists in memory only. They are zero until `fill` writes them.
    ///
    /// # Errors
    /// [`Error::Gguf`] if `len` is 0, [`Error::Io`] if there is not so much memory, and what `fill` returns.
    pub fn in_memory<E: From<Error>>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        if len == 0 {
            return Err(Error::from(GgufError::Empty).into());
        }
        let io = |source| Error::Io {
            path: "memory".into(),
            source,
        };
        let mut map = MmapMut::map_anon(len).map_err(io)?;
        // As weights that loading packs have it; only a hint.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        fill(&mut map)?;
        Ok(Self {
            map: map.make_read_only().map_err(io)?,
            source: None,
        })
    }

    /// The whole file. It starts at a page boundary, unless it is a part of another.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Gives back the memory of a part that is not needed for now; the next access reads it from the file again.
    ///
    /// Whole pages inside `bytes` only. Does nothing for models given as bytes, and where the system cannot.
    pub(crate) fn release(&self, bytes: Range<usize>) {
        if self.source.is_some() {
            // SAFETY: `source` says that a file is mapped.
            unsafe { release_file(&self.map, bytes) }
        }
    }

    /// Where the file lies, unless it was given open or as bytes.
    pub fn path(&self) -> Option<&Path> {
        self.source.as_ref()?.path.as_deref()
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::ModelFile`] with the path, or [`Error::Gguf`] for given bytes, if anything in the header is wrong or
    /// the file has shrunk since it was mapped.
    pub fn gguf(&self) -> Result<Gguf<'_>> {
        let Some(Source { file, end, path }) = &self.source else {
            return Ok(Gguf::parse(&self.map)?);
        };
        let now = file.metadata().map_err(|source| io_error(path.as_deref(), source))?;
        let parsed = if now.len() < *end {
            Err(GgufError::Shrank {
                mapped: *end,
                now: now.len(),
            })
        } else {
            Gguf::parse(&self.map)
        };
        parsed.map_err(|error| self.name_in(error))
    }

    /// The error with this file's name, if it has one.
    pub(crate) fn name_in(&self, error: impl Into<Error>) -> Error {
        named(self.path(), error.into())
    }
}

fn io_error(path: Option<&Path>, source: std::io::Error) -> Error {
    Error::Io {
        path: path.unwrap_or(Path::new("file descriptor")).to_owned(),
        source,
    }
}

fn named(path: Option<&Path>, source: Error) -> Error {
    match path {
        Some(path) => Error::ModelFile {
            path: path.to_owned(),
            source: Box::new(source),
        },
        None => source,
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;

    use super::super::{GgmlType, Writer};
    use super::*;

    fn small_file() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.declare("t", &[16], GgmlType::F32).unwrap();
        let mut tensors = writer.write_header(Vec::new()).unwrap();
        tensors.write("t", &[7; 64]).unwrap();
        tensors.finish().unwrap()
    }

    fn temporary(name: &str, bytes: &[u8]) -> PathBuf {
        let path = env::temp_dir().join(format!("halfpi-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        path
    }

    fn refusal(path: impl AsRef<Path>) -> GgufError {
        match ModelFile::open(&path) {
            Err(Error::ModelFile { path: named, source }) if named == path.as_ref() => match *source {
                Error::Gguf(error) => error,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        assert_eq!(refusal(env::temp_dir()), GgufError::NotAFile);
        #[cfg(unix)]
        assert_eq!(refusal("/dev/zero"), GgufError::NotAFile);
        let empty = temporary("empty", b"");
        assert_eq!(refusal(&empty), GgufError::Empty);
        fs::remove_file(&empty).unwrap();
        assert!(matches!(ModelFile::open(&empty), Err(Error::Io { path, .. }) if path == empty));
        assert!(matches!(ModelFile::from_bytes([]), Err(Error::Gguf(GgufError::Empty))));
    }

    #[test]
    fn errors_in_the_header_name_the_file() {
        let path = temporary("page", b"<html>");
        let message = ModelFile::open(&path).unwrap().gguf().unwrap_err().to_string();
        fs::remove_file(&path).unwrap();
        assert!(
            message.contains(path.to_str().unwrap()) && message.contains("web page"),
            "{message}"
        );
    }

    #[test]
    fn a_file_cut_short_while_mapped_is_noticed() {
        let path = temporary("shrinks", &small_file());
        let model = ModelFile::open(&path).unwrap();
        let mapped = model.bytes().len() as u64;
        assert_eq!(model.gguf().unwrap().tensors().len(), 1);
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(10)
            .unwrap();
        let error = model.gguf().unwrap_err();
        fs::remove_file(&path).unwrap();
        assert!(
            matches!(error.inner(), Error::Gguf(GgufError::Shrank { mapped: was, now: 10 }) if *was == mapped),
            "{error:?}"
        );
    }

    /// Windows does not let a mapped file be deleted.
    #[cfg(unix)]
    #[test]
    fn a_deleted_file_stays_usable() {
        let path = temporary("deleted", &small_file());
        let model = ModelFile::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let gguf = model.gguf().unwrap();
        assert_eq!(gguf.data(gguf.tensor("t").unwrap()), [7; 64]);
    }

    /// Bytes around a model file, as in an Android package, and the file's place.
    fn embedded() -> (Vec<u8>, u64, u64) {
        let model = small_file();
        let (before, length) = (100_001, model.len() as u64);
        ([vec![1; before], model, vec![2; 5000]].concat(), before as u64, length)
    }

    fn part(path: &Path, offset: u64, length: Option<u64>) -> Result<ModelFile> {
        ModelFile::from_file(File::open(path).unwrap(), offset, length)
    }

    #[test]
    fn a_part_of_an_open_file_is_a_model_file() {
        let (bytes, offset, length) = embedded();
        let path = temporary("package", &bytes);
        let models = [
            part(&path, offset, Some(length)).unwrap(),
            part(&path, offset, None).unwrap(),
        ];
        fs::remove_file(&path).unwrap();
        for model in models {
            assert_eq!(model.path(), None);
            let gguf = model.gguf().unwrap();
            assert_eq!(gguf.data(gguf.tensor("t").unwrap()), [7; 64]);
            // What is given back comes again.
            model.release(0..model.bytes().len());
            assert_eq!(gguf.data(gguf.tensor("t").unwrap()), [7; 64]);
        }
    }

    #[test]
    fn parts_that_are_not_in_the_file_are_refused() {
        let (bytes, offset, length) = embedded();
        let path = temporary("package-parts", &bytes);
        let file_bytes = bytes.len() as u64;
        for (offset, length) in [
            (offset, file_bytes),
            (0, file_bytes + 1),
            (file_bytes, 1),
            (file_bytes + 1, 0),
            (u64::MAX, 1),
            (1, u64::MAX),
        ] {
            let error = part(&path, offset, Some(length)).unwrap_err();
            let expected = GgufError::NotInFile {
                offset,
                length,
                file_bytes,
            };
            assert!(matches!(&error, Error::Gguf(found) if *found == expected), "{error:?}");
        }
        for (offset, length) in [(offset, Some(0)), (file_bytes, None), (file_bytes, Some(0))] {
            let error = part(&path, offset, length).unwrap_err();
            assert!(matches!(error, Error::Gguf(GgufError::Empty)), "{error:?}");
        }
        let beyond = part(&path, file_bytes + 1, None).unwrap_err();
        assert!(matches!(beyond, Error::Gguf(GgufError::NotInFile { .. })), "{beyond:?}");
        // One byte beside the model's start there is none.
        let beside = part(&path, offset - 1, Some(length)).unwrap();
        assert!(matches!(beside.gguf(), Err(Error::Gguf(GgufError::NotGguf { .. }))));

        let model = part(&path, offset, Some(length)).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(200)
            .unwrap();
        let error = model.gguf().unwrap_err();
        fs::remove_file(&path).unwrap();
        assert!(
            matches!(error, Error::Gguf(GgufError::Shrank { now: 200, .. })),
            "{error:?}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn descriptors_are_duplicated_and_checked() {
        use std::os::fd::AsRawFd;
        let (bytes, offset, length) = embedded();
        let path = temporary("descriptor", &bytes);
        let file = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let model = ModelFile::from_descriptor(file.as_raw_fd(), offset, Some(length)).unwrap();
        drop(file);
        assert_eq!(model.gguf().unwrap().tensors().len(), 1);

        for wrong in [-1, i32::MIN, i32::MAX] {
            let error = ModelFile::from_descriptor(wrong, 0, None).unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error:?}");
        }
        let (pipe, _writer) = std::io::pipe().unwrap();
        let directory = File::open(env::temp_dir()).unwrap();
        for descriptor in [pipe.as_raw_fd(), directory.as_raw_fd()] {
            let error = ModelFile::from_descriptor(descriptor, 0, None).unwrap_err();
            assert!(matches!(error, Error::Gguf(GgufError::NotAFile)), "{error:?}");
        }
    }

    #[test]
    fn bytes_from_memory_are_aligned_like_a_mapped_file() {
        let model = ModelFile::from_bytes(small_file()).unwrap();
        let gguf = model.gguf().unwrap();
        assert!(gguf.data(&gguf.tensors()[0]).as_ptr().addr().is_multiple_of(64));
        assert_eq!(model.path(), None);
    }
}
