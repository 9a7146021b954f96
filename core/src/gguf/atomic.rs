//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::{Error, Result};

/// Counts the files of this process, so that each has a name of its own.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// Names that may be taken, by files of a process that had the same number and ended early, before it is given up.
const MOST_TAKEN: usize = 1000;

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
        let (temporary, file) = Self::temporary(&path)?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 20, file),
            temporary,
            path,
            committed: false,
        })
    }

    /// A new file beside `path`. Never one that is there, nor what a link there leads to: others may write to the same
    /// directory.
    fn temporary(path: &Path) -> Result<(PathBuf, File)> {
        let mut taken = 0;
        loop {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}-{}.part", process::id(), COUNT.fetch_add(1, Relaxed)));
            let temporary = path.with_file_name(name);
            match File::create_new(&temporary) {
                Ok(file) => return Ok((temporary, file)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && taken < MOST_TAKEN => taken += 1,
                Err(source) => {
                    return Err(Error::Io {
                        path: temporary,
                        source,
                    });
                }
            }
        }
    }

    /// Removes what other processes left beside `path` that the system ended while they wrote it: with models, gigabytes
    /// that nobody would look for. Only where no other process writes that file now. Does what it can.
    pub fn remove_abandoned(path: &Path) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return;
        };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_abandoned = |other: &str| {
            let number = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            let number = number.and_then(|rest| rest.strip_suffix(".part")?.split_once('-'));
            number.is_some_and(|(process, count)| {
                is_number(process) && is_number(count) && process != process::id().to_string()
            })
        };
        for entry in fs::read_dir(directory(path)).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(is_abandoned) {
                // If it cannot be removed, it takes room and does no other harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Makes sure that everything is on disk, and puts the file in its place. After a power failure either it or what was
    /// there before is there; on Unix, if the file system can promise that of a name, it is.
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
        // The file is in its place, whatever comes of this.
        #[cfg(unix)]
        let _ = File::open(directory(&self.path)).and_then(|directory| directory.sync_all());
        Ok(())
    }
}

/// Where the names are.
fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
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

    #[test]
    fn only_what_ended_processes_left_of_the_same_file_is_removed() {
        let directory = env::temp_dir().join(format!("halfpi-abandoned-{}", process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("model.gguf");
        let (own, other) = (process::id(), process::id() + 1);
        let kept = [
            "model.gguf".to_owned(),
            "model.gguf.part".to_owned(),
            "model.gguf.hpar.part".to_owned(),
            "model.gguf.1-.part".to_owned(),
            "model.gguf.a-1.part".to_owned(),
            format!("model.gguf.{own}-7.part"),
            format!("another.gguf.{other}-7.part"),
        ];
        let abandoned = format!("model.gguf.{other}-0.part");
        for name in kept.iter().chain([&abandoned]) {
            fs::write(directory.join(name), name).unwrap();
        }
        AtomicFile::remove_abandoned(&path);
        let is_there = |name: &String| directory.join(name).exists();
        assert!(kept.iter().all(is_there));
        assert!(!is_there(&abandoned));
        fs::remove_dir_all(&directory).unwrap();
        AtomicFile::remove_abandoned(&path);
    }

    /// Whoever may write to the directory knows what the file will be called before it has its name.
    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link_that_waits_there() {
        let directory = env::temp_dir().join(format!("halfpi-atomic-links-{}", process::id()));
        fs::create_dir(&directory).unwrap();
        let (path, other) = (directory.join("model.gguf"), directory.join("precious"));
        fs::write(&other, "precious").unwrap();
        // Other tests of this process count too.
        let next = COUNT.load(Relaxed);
        for count in next..next + 100 {
            let name = format!("model.gguf.{}-{count}.part", process::id());
            std::os::unix::fs::symlink(&other, directory.join(name)).unwrap();
        }
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        fs::remove_dir_all(&directory).unwrap();
    }
}
