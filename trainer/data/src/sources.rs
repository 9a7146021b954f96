//! The files of a corpus, and what to take from them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::record::Content;

/// What files taken from a directory end in.
const KNOWN: &str = ".txt, .text, .md, .jsonl, .ndjson and .json";

/// How files are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceOptions {
    /// The field of a JSON line that has its text. `text` by default.
    pub text_field: String,
    /// Where the documents of a text file begin and end.
    pub text_documents: TextDocuments,
    /// What happens to lines that cannot be used.
    pub on_bad_line: OnBadLine,
    /// Bytes that a line may have. 16 MiB by default.
    pub max_line_bytes: usize,
    /// The part of all documents that is held out: never trained on. 0.02 by default.
    ///
    /// A document's text alone says on which side it is, so that its copies are on the same, in every file, order and
    /// run.
    pub held_out: f64,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            text_field: "text".to_owned(),
            text_documents: TextDocuments::default(),
            on_bad_line: OnBadLine::default(),
            max_line_bytes: 16 << 20,
            held_out: 0.02,
        }
    }
}

/// Where the documents of a text file begin and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextDocuments {
    /// A file is one document. It is read, and held out, in pieces of some 4 KiB that end with a line.
    #[default]
    File,
    /// Blank lines separate documents; those of more than 64 KiB are cut into several.
    BlankLine,
    /// Each line is one.
    Line,
}

/// What happens to a line that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnBadLine {
    /// It is left out, counted, and the first of them are named in the report.
    #[default]
    Skip,
    /// Reading ends with [`DataError::BadLine`].
    Refuse,
}

/// A side of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// What a model is trained on.
    Training,
    /// What it is judged by.
    HeldOut,
}

impl Part {
    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Training => "training",
            Part::HeldOut => "held-out",
        }
    }
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Text,
    JsonLines,
}

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "txt" | "text" | "md" => Some(Kind::Text),
            "jsonl" | "ndjson" | "json" => Some(Kind::JsonLines),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct DataFile {
    pub path: PathBuf,
    pub kind: Kind,
    pub bytes: u64,
}

/// The files of a corpus: plain text, or one JSON value a line.
#[derive(Clone, Debug)]
pub struct Sources {
    pub(super) files: Vec<DataFile>,
    pub(super) options: SourceOptions,
}

impl Sources {
    /// Finds the files. Of a directory, and those in it, all are taken that end in `.txt`, `.text`, `.md`, `.jsonl`,
    /// `.ndjson` or `.json`, in the order of their names; a file that is named itself and ends otherwise is text.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::NoFiles`] and [`DataError::Option`].
    pub fn open(paths: &[impl AsRef<Path>], options: SourceOptions) -> Result<Self, DataError> {
        let is_part = (0.0..=1.0).contains(&options.held_out);
        check(is_part, "held_out", options.held_out, "from 0 to 1")?;
        let has_room = options.max_line_bytes > 0;
        check(has_room, "max_line_bytes", options.max_line_bytes, "at least 1")?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let metadata = fs::metadata(path).map_err(DataError::io(path))?;
            if metadata.is_dir() {
                let before = files.len();
                find(path, &mut files)?;
                if files.len() == before {
                    let (path, known) = (path.to_owned(), KNOWN);
                    return Err(DataError::NoFiles { path, known });
                }
            } else if metadata.is_file() {
                files.push(DataFile {
                    kind: Kind::of(path).unwrap_or(Kind::Text),
                    path: path.to_owned(),
                    bytes: metadata.len(),
                });
            } else {
                // A pipe can be read once; epochs and resuming need more.
                let error = io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a directory");
                return Err(DataError::io(path)(error));
            }
        }
        check(!files.is_empty(), "paths", "empty", "at least one file or directory")?;
        Ok(Self { files, options })
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The sum of their lengths.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The side of a document.
    pub(super) fn part_of(&self, content: &Content) -> Part {
        // The hash as a fraction of all hashes.
        let place = hash(content) as f64 / 2f64.powi(64);
        match place < self.options.held_out {
            true => Part::HeldOut,
            false => Part::Training,
        }
    }
}

/// An error that names an option, if it does not hold.
pub(super) fn check(
    holds: bool,
    option: &'static str,
    value: impl ToString,
    wanted: &'static str,
) -> Result<(), DataError> {
    if holds {
        return Ok(());
    }
    let value = value.to_string();
    Err(DataError::Option { option, value, wanted })
}

/// Adds the known files in a directory. Links to directories are not followed: they could lead back.
fn find(directory: &Path, files: &mut Vec<DataFile>) -> Result<(), DataError> {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(DataError::io(directory))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(DataError::io(&path))?.is_dir() {
            find(&path, files)?;
        } else if let Some(kind) = Kind::of(&path) {
            let metadata = fs::metadata(&path).map_err(DataError::io(&path))?;
            if metadata.is_file() {
                let bytes = metadata.len();
                files.push(DataFile { path, kind, bytes });
            }
        }
    }
    Ok(())
}

/// FNV-1a of all texts and speakers, its bits then mixed as SplitMix64 does: alone, its upper ones hardly depend on the
/// last bytes.
fn hash(content: &Content) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0xff]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    if let Content::Chat(chat) = content {
        chat.messages.iter().for_each(|message| add(message.role.as_str()));
    }
    content.texts().into_iter().for_each(add);
    crate::Random::new(state).next()
}
