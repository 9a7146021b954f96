//! A teacher's predictions in files: it runs once, and then as many students as wanted learn from it without its weights
//! in memory.
//!
//! Kept are the most likely tokens of each position with the logarithms of their probabilities, and the logarithm of what
//! all others have together. Sequences are found by their tokens: a prediction follows from them and from nothing else. So
//! the same files serve any order of the same sequences, any number of processes, batches and accumulation, and a run that
//! is taken up again; and nothing is ever learnt from the predictions for another text.

mod error;
mod piece;
#[cfg(test)]
mod tests;
mod top;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use self::error::CacheError;
use self::piece::{Draft, Key, Piece, key};
use crate::{Result, TrainError};

/// The end of the names of pieces.
const EXTENSION: &str = "teacher";

/// What the predictions of a cache are of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Origin {
    /// The SHA-256 of the teacher's files.
    pub teacher: [u8; 32],
    /// The SHA-256 of the tokenizer's tokens.
    pub tokenizer: [u8; 32],
    /// Tokens that are predicted.
    pub vocab_size: u32,
    /// Tokens of a sequence.
    pub length: u32,
    /// Tokens that are kept of each position.
    pub top: u32,
    /// What logits are divided by.
    pub temperature: f32,
}

impl Origin {
    /// Names the first thing that differs.
    fn check(&self, asked: &Self, path: &Path) -> Result<(), CacheError> {
        let hex = |digest: &[u8; 32]| digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let pairs = [self, asked].map(|origin| {
            [
                ("sequence length", origin.length.to_string()),
                ("number of tokens", origin.vocab_size.to_string()),
                ("temperature", origin.temperature.to_string()),
                ("tokenizer", hex(&origin.tokenizer)),
                ("teacher", hex(&origin.teacher)),
                ("number of tokens kept of a position", origin.top.to_string()),
            ]
        });
        let [found, expected] = pairs;
        match found
            .into_iter()
            .zip(expected)
            .find(|(found, expected)| found != expected)
        {
            None => Ok(()),
            Some(((what, found), (_, expected))) => Err(CacheError::Other {
                path: path.to_owned(),
                what,
                found,
                expected,
            }),
        }
    }
}

/// What a teacher predicts for a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// The most likely tokens of each position, the likeliest first: `[length, top]`.
    pub tokens: Vec<i32>,
    /// The logarithms of their probabilities: `[length, top]`.
    pub logs: Vec<f32>,
    /// The logarithm of what all other tokens have together: `[length]`.
    pub rest: Vec<f32>,
}

/// The predictions in a directory.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    origin: Origin,
    pieces: Vec<Piece>,
    /// Which piece, and where in it.
    places: HashMap<Key, (usize, usize)>,
}

impl Cache {
    /// The predictions that are in a directory.
    ///
    /// # Errors
    /// [`CacheError`] if there are none, if a piece is damaged, or if pieces are of different teachers or sequences.
    pub fn open(directory: &Path) -> Result<Self> {
        let pieces = pieces(directory)?;
        let empty = || CacheError::Empty {
            path: directory.to_owned(),
        };
        let origin = pieces.first().map(|piece| piece.origin).ok_or_else(empty)?;
        Self::of(directory, origin, pieces)
    }

    fn of(directory: &Path, origin: Origin, pieces: Vec<Piece>) -> Result<Self> {
        let mut places = HashMap::new();
        for (number, piece) in pieces.iter().enumerate() {
            piece.origin.check(&origin, directory)?;
            let keys = piece.index.iter().enumerate();
            places.extend(keys.map(|(place, &(key, _))| (key, (number, place))));
        }
        Ok(Self {
            directory: directory.to_owned(),
            origin,
            pieces,
            places,
        })
    }

    /// What they are of.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Sequences.
    pub fn sequences(&self) -> usize {
        self.places.len()
    }

    /// Refuses predictions with another length, vocabulary, temperature or tokenizer than those of `asked`.
    ///
    /// # Errors
    /// [`CacheError::Other`].
    pub fn check(&self, asked: &Origin) -> Result<(), CacheError> {
        let asked = Origin {
            teacher: self.origin.teacher,
            top: self.origin.top,
            ..*asked
        };
        self.origin.check(&asked, &self.directory)
    }

    /// Whether the teacher has seen this sequence.
    pub fn has(&self, tokens: &[i32]) -> bool {
        self.places.contains_key(&key(tokens))
    }

    /// What the teacher predicts for this sequence.
    ///
    /// # Errors
    /// [`CacheError::Missing`] if it has not seen it, and [`CacheError::Damaged`].
    pub fn read(&self, tokens: &[i32]) -> Result<Predictions> {
        let missing = || CacheError::Missing {
            path: self.directory.clone(),
            missing: 1,
            found: self.places.len() as u64,
        };
        let &(piece, place) = self.places.get(&key(tokens)).ok_or_else(missing)?;
        self.pieces[piece].read(place)
    }
}

/// All pieces of a directory, in the order of their names.
fn pieces(directory: &Path) -> Result<Vec<Piece>> {
    let io = |source| TrainError::Io {
        path: directory.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| Piece::open(path)).collect()
}

/// Adds predictions to a directory, a piece at a time.
pub struct CacheWriter {
    cache: Cache,
    rank: usize,
    /// The number of the next piece.
    next: usize,
    piece_bytes: u64,
    draft: Draft,
}

impl CacheWriter {
    /// Goes on in a directory, which may not be there. Pieces have at most `piece_bytes` bytes and `rank` in their names,
    /// so that no process writes over another's.
    ///
    /// # Errors
    /// As [`Cache::open`], [`CacheError::Other`] if predictions of something else are there, and
    /// [`CacheError::TooLarge`].
    pub fn open(directory: &Path, origin: Origin, rank: usize, piece_bytes: u64) -> Result<Self> {
        let draft = Draft::default();
        let bytes = draft.bytes_with(origin.record_bytes().unwrap_or(u64::MAX / 2));
        if bytes > piece_bytes {
            let limit = piece_bytes;
            return Err(CacheError::TooLarge { bytes, limit }.into());
        }
        fs::create_dir_all(directory).map_err(|source| TrainError::Io {
            path: directory.to_owned(),
            source,
        })?;
        Ok(Self {
            cache: Cache::of(directory, origin, pieces(directory)?)?,
            rank,
            next: 0,
            piece_bytes,
            draft,
        })
    }

    /// Whether the teacher has seen this sequence.
    pub fn has(&self, tokens: &[i32]) -> bool {
        self.cache.has(tokens)
    }

    /// Adds what the logits for a sequence say, `[length, vocab_size]`. Nothing happens if it is there.
    ///
    /// # Errors
    /// [`CacheError::NotFinite`], and what keeps a piece from being written.
    pub fn add(&mut self, tokens: &[i32], logits: &[f32]) -> Result<()> {
        let key = key(tokens);
        if self.cache.places.contains_key(&key) {
            return Ok(());
        }
        let origin = self.cache.origin;
        let record = Predictions::of(logits, &origin)?.encode(&origin);
        if self.draft.bytes_with(record.len() as u64) > self.piece_bytes {
            self.write()?;
        }
        self.draft.push(key, &record);
        self.cache.places.insert(key, (usize::MAX, 0));
        Ok(())
    }

    /// Writes what is not in a full piece yet.
    ///
    /// # Errors
    /// What keeps the piece from being written.
    pub fn finish(mut self) -> Result<()> {
        self.write()
    }

    fn write(&mut self) -> Result<()> {
        if self.draft.is_empty() {
            return Ok(());
        }
        let path = loop {
            let name = format!("{:04}-{:06}.{EXTENSION}", self.rank, self.next);
            let path = self.cache.directory.join(name);
            self.next += 1;
            if !path.exists() {
                break path;
            }
        };
        std::mem::take(&mut self.draft).write(&self.cache.origin, &path)
    }
}
