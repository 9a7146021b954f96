//! Corpora that fuzzers start from: files that are committed, and that a generator makes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What the generator makes, by path.
pub struct Corpus {
    directory: PathBuf,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Corpus {
    /// The files of `directory`; written anew if `HALFPI_BLESS` is set.
    ///
    /// # Panics
    /// If two have the same name, or one cannot be written.
    pub fn new<N: AsRef<Path>>(directory: PathBuf, named: impl IntoIterator<Item = (N, Vec<u8>)>) -> Self {
        let mut files = BTreeMap::new();
        for (name, bytes) in named {
            let path = directory.join(name);
            if env::var_os("HALFPI_BLESS").is_some() {
                fs::write(&path, &bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            }
            let twice = files.insert(path.clone(), bytes);
            assert!(twice.is_none(), "two files are called {}", path.display());
        }
        Self { directory, files }
    }

    /// # Panics
    /// If other files are committed, or the same with other contents. `hint` says what to do then.
    pub fn assert_committed(&self, hint: &str) {
        let entries =
            fs::read_dir(&self.directory).unwrap_or_else(|error| panic!("{}: {error}", self.directory.display()));
        let paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let is_as_made = |path: &PathBuf| fs::read(path).ok().as_ref() == self.files.get(path);
        let strange: Vec<_> = paths.iter().filter(|path| !is_as_made(path)).collect();
        let missing: Vec<_> = self.files.keys().filter(|path| !paths.contains(path)).collect();
        assert!(
            strange.is_empty() && missing.is_empty(),
            "not as made: {strange:?}, missing: {missing:?}: {hint}"
        );
    }
}
