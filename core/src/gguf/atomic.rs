//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::{Error, Result};

/// A file that appears under its name only when it is complete.
///
/// It is written beside its place and renamed at the end, so a reader never sees half of it, and one who has the old
/// file mapped keeps that. Dropped before [`Self::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    out: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Starts writing the file `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if its directory cannot be written to.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let mut name = path.file_name().unwrap_or_default().to_owned();
        // Unlike that of anyone who writes the same file at the same time.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        name.push(format!(".{}-{}.part", process::id(), COUNT.fetch_add(1, Relaxed)));
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary).map_err(|source| Error::Io {
            path: temporary.clone(),
            source,
        })?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 20, file),
            temporary,
            path,
            committed: false,
        })
    }

    /// Makes sure that everything is on disk, and puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Io`] if that fails; the file that was there before is then still there.
    pub fn commit(mut self) -> Result<()> {
        self.out
            .flush()
            .and_then(|()| self.out.get_ref().sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .map_err(|source| Error::Io {
                path: self.path.clone(),
                source,
            })?;
        self.committed = true;
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nobody is left to tell if this fails.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn a_file_appears_only_when_it_is_committed() {
        let directory = env::temp_dir().join(format!("halfpi-atomic-{}", process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("model.gguf");
        fs::write(&path, "old").unwrap();

        let mut abandoned = AtomicFile::create(&path).unwrap();
        abandoned.write_all(b"half").unwrap();
        drop(abandoned);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);

        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);

        fs::remove_dir_all(&directory).unwrap();
        assert!(matches!(AtomicFile::create(&path), Err(Error::Io { .. })));
    }
}
