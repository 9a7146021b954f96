//! A model file in memory.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[cfg(unix)]
use memmap2::UncheckedAdvice;
use memmap2::{Mmap, MmapMut};

use super::{Gguf, GgufError};
use crate::{Error, Result};

/// What released parts are aligned to: the pages of Apple's systems, a multiple of most others'. A system with larger
/// ones refuses to release, and keeps the memory.
#[cfg(unix)]
const PAGE: usize = 16384;

/// Gives back the memory of whole pages inside `bytes`; the next access reads them from the file again.
///
/// # Safety
/// `map` is a mapping of a file. (Anonymous memory would come back as zeros.)
pub(crate) unsafe fn release_pages(map: &Mmap, bytes: Range<usize>) {
    #[cfg(unix)]
    {
        let (start, end) = (bytes.start.next_multiple_of(PAGE), bytes.end / PAGE * PAGE);
        if start < end && end <= map.len() {
            // SAFETY: a read-only mapping of a file, so a dropped page comes back with the same bytes.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        }
    }
    #[cfg(not(unix))]
    let _ = (map, bytes);
}

/// A model file, mapped into memory and used in place.
#[derive(Debug)]
pub struct ModelFile {
    map: Mmap,
    /// Where the bytes come from; `None` if they were given.
    source: Option<(PathBuf, File)>,
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
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let refuse = |error: GgufError| Error::ModelFile {
            path: path.to_owned(),
            source: Box::new(error.into()),
        };
        // Before opening, because opening a pipe waits for its other end.
        if !path.metadata().map_err(io)?.is_file() {
            return Err(refuse(GgufError::NotAFile));
        }
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(refuse(GgufError::Empty));
        }
        // SAFETY: a private read-only mapping of a regular file. That nobody changes or truncates it meanwhile is
        // asked of the caller above; what is read from it is checked as untrusted data, strings on every use.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self {
            map,
            source: Some((path.to_owned(), file)),
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
    pub fn in_memory(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Self> {
        if len == 0 {
            return Err(GgufError::Empty.into());
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

    /// The whole file, starting at a page boundary.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Gives back the memory of a part that is not needed for now; the next access reads it from the file again.
    ///
    /// Whole pages inside `bytes` only. Does nothing for models given as bytes, and where the system cannot.
    pub(crate) fn release(&self, bytes: Range<usize>) {
        if self.source.is_some() {
            // SAFETY: `source` says that a file is mapped.
            unsafe { release_pages(&self.map, bytes) }
        }
    }

    /// Where the file lies, unless it was given as bytes.
    pub fn path(&self) -> Option<&Path> {
        self.source.as_ref().map(|(path, _)| path.as_path())
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::ModelFile`] with the path, or [`Error::Gguf`] for given bytes, if anything in the header is wrong or
    /// the file has shrunk since it was mapped.
    pub fn gguf(&self) -> Result<Gguf<'_>> {
        let Some((path, file)) = &self.source else {
            return Ok(Gguf::parse(&self.map)?);
        };
        let mapped = self.map.len() as u64;
        let now = file
            .metadata()
            .map_err(|source| Error::Io {
                path: path.clone(),
                source,
            })?
            .len();
        let parsed = if now < mapped {
            Err(GgufError::Shrank { mapped, now })
        } else {
            Gguf::parse(&self.map)
        };
        parsed.map_err(|error| self.name_in(error))
    }

    /// The error with this file's name, if it has one.
    pub(crate) fn name_in(&self, error: impl Into<Error>) -> Error {
        let source = error.into();
        match self.path() {
            Some(path) => Error::ModelFile {
                path: path.to_owned(),
                source: Box::new(source),
            },
            None => source,
        }
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

    #[test]
    fn bytes_from_memory_are_aligned_like_a_mapped_file() {
        let model = ModelFile::from_bytes(small_file()).unwrap();
        let gguf = model.gguf().unwrap();
        assert!(gguf.data(&gguf.tensors()[0]).as_ptr().addr().is_multiple_of(64));
        assert_eq!(model.path(), None);
    }
}
