//! A model file in memory.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapMut};

use super::{Gguf, GgufError};
use crate::{Error, Result};

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
        let refuse = |source| Error::ModelFile {
            path: path.to_owned(),
            source,
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
        if bytes.is_empty() {
            return Err(GgufError::Empty.into());
        }
        let map = MmapMut::map_anon(bytes.len()).and_then(|mut map| {
            map.copy_from_slice(bytes);
            map.make_read_only()
        });
        Ok(Self {
            map: map.map_err(|source| Error::Io {
                path: "memory".into(),
                source,
            })?,
            source: None,
        })
    }

    /// The whole file, starting at a page boundary.
    pub fn bytes(&self) -> &[u8] {
        &self.map
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
        parsed.map_err(|source| Error::ModelFile {
            path: path.clone(),
            source,
        })
    }
}
