//! The form of a piece: what its predictions are of, which sequences it has, and the predictions. docs/training-recipes.md
//! describes it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::f16;
use halfpi::gguf::AtomicFile;
use sha2::{Digest, Sha256};

use super::{CacheError, Origin, Predictions};
use crate::{Result, TrainError};

const MAGIC: &[u8; 8] = b"HPTEACH1";
/// Bytes of the checksum, which all that follows it up to the end of the index is in.
const CHECKSUM: usize = 32;
/// Bytes before the index.
const HEADER: usize = 128;
/// Bytes of an entry of the index: a key and a checksum.
const ENTRY: usize = 32;
/// Logarithms below this are kept as this: no sum of 32 bits shows the difference.
pub(super) const LEAST: f32 = -10_000.0;

/// What a sequence is found by: the first half of the SHA-256 of its tokens.
pub(super) type Key = [u8; 16];

/// The key of a sequence.
pub(super) fn key(tokens: &[i32]) -> Key {
    let mut hash = Sha256::new();
    tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
    half_of(hash)
}

fn half_of(hash: Sha256) -> Key {
    let mut half = Key::default();
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}

impl Origin {
    /// Bytes of a token's number.
    fn id_bytes(&self) -> u64 {
        if self.vocab_size <= 1 << 16 { 2 } else { 4 }
    }

    /// Bytes of a sequence's predictions, if there is such a number.
    pub(super) fn record_bytes(&self) -> Option<u64> {
        let position = u64::from(self.top).checked_mul(self.id_bytes() + 2)?.checked_add(4)?;
        u64::from(self.length).checked_mul(position)
    }

    fn write(&self, header: &mut Vec<u8>) {
        header.extend(self.teacher);
        header.extend(self.tokenizer);
        for number in [self.vocab_size, self.length, self.top, self.temperature.to_bits()] {
            header.extend(number.to_le_bytes());
        }
    }

    /// Of the bytes that [`write`](Self::write) appends, if they make sense.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (digests, numbers) = bytes.split_at_checked(64)?;
        let mut numbers = numbers.as_chunks().0.iter().map(|&number| u32::from_le_bytes(number));
        let origin = Self {
            teacher: digests[..32].try_into().ok()?,
            tokenizer: digests[32..].try_into().ok()?,
            vocab_size: numbers.next()?,
            length: numbers.next()?,
            top: numbers.next()?,
            temperature: f32::from_bits(numbers.next()?),
        };
        // Tokens are numbers of 32 bits with a sign to the tensor engine.
        let makes_sense = (1..=origin.vocab_size).contains(&origin.top)
            && origin.vocab_size <= i32::MAX as u32
            && origin.length > 0
            && origin.temperature.is_finite()
            && origin.temperature > 0.0;
        makes_sense.then_some(origin)
    }
}

/// A piece that is being written, in memory.
#[derive(Default)]
pub(super) struct Draft {
    index: Vec<u8>,
    records: Vec<u8>,
}

impl Draft {
    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes of the file with another record of this size.
    pub(super) fn bytes_with(&self, record: u64) -> u64 {
        (HEADER + self.index.len() + ENTRY + self.records.len()) as u64 + record
    }

    pub(super) fn push(&mut self, key: Key, record: &[u8]) {
        self.index.extend(key);
        self.index.extend(half_of(Sha256::new_with_prefix(record)));
        self.records.extend(record);
    }

    /// Writes the piece, which appears when it is complete.
    pub(super) fn write(&self, origin: &Origin, path: &Path) -> Result<()> {
        let mut header = Vec::with_capacity(HEADER - MAGIC.len() - CHECKSUM);
        origin.write(&mut header);
        header.extend(((self.index.len() / ENTRY) as u32).to_le_bytes());
        header.resize(HEADER - MAGIC.len() - CHECKSUM, 0);
        let checksum = Sha256::new_with_prefix(&header).chain_update(&self.index).finalize();
        let mut file = AtomicFile::create(path)?;
        for part in [&MAGIC[..], &checksum, &header, &self.index, &self.records] {
            file.write_all(part)
                .map_err(|error| TrainError::from(halfpi::Error::Write(error)))?;
        }
        Ok(file.commit()?)
    }
}

/// A piece in its file, of which the index is known.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    path: PathBuf,
    pub(super) origin: Origin,
    /// Keys and checksums, in the order of the records.
    pub(super) index: Vec<(Key, Key)>,
}

impl Piece {
    /// Reads what a piece is of, and which sequences it has. No more is read or kept than the file has bytes.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let damaged = |what| CacheError::Damaged {
            path: path.to_owned(),
            what,
        };
        let io = |source| io(path, source);
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length < HEADER as u64 {
            return Err(damaged("it has no header").into());
        }
        let mut header = [0; HEADER];
        file.read_exact(&mut header).map_err(io)?;
        let (magic, rest) = header.split_at(MAGIC.len());
        let (checksum, rest) = rest.split_at(CHECKSUM);
        if magic != MAGIC {
            return Err(damaged("it does not begin as predictions do").into());
        }
        let origin = Origin::read(rest).ok_or_else(|| damaged("its header says what cannot be"))?;
        let records = rest[80..].first_chunk().map_or(0, |&number| u32::from_le_bytes(number));
        let entries = u64::from(records) * ENTRY as u64;
        let expected = origin
            .record_bytes()
            .and_then(|bytes| bytes.checked_mul(records.into()))
            .and_then(|bytes| bytes.checked_add(HEADER as u64 + entries));
        if records == 0 || expected != Some(length) {
            return Err(damaged("its length is not what its header says").into());
        }
        let mut index = vec![0; entries as usize];
        file.read_exact(&mut index).map_err(io)?;
        if Sha256::new_with_prefix(rest).chain_update(&index).finalize()[..] != *checksum {
            return Err(damaged("its checksum is another").into());
        }
        let halves = index.as_chunks::<16>().0.as_chunks::<2>().0;
        Ok(Self {
            path: path.to_owned(),
            origin,
            index: halves.iter().map(|&[key, checksum]| (key, checksum)).collect(),
        })
    }

    /// The predictions for the sequence with this place in the index.
    pub(super) fn read(&self, place: usize) -> Result<Predictions> {
        let damaged = |what| CacheError::Damaged {
            path: self.path.clone(),
            what,
        };
        let io = |source| io(&self.path, source);
        // As large as the file had room for when it was opened.
        let bytes = self.origin.record_bytes().unwrap_or_default();
        let begin = (HEADER + self.index.len() * ENTRY) as u64 + place as u64 * bytes;
        let mut file = File::open(&self.path).map_err(io)?;
        if file.metadata().map_err(io)?.len() < begin + bytes {
            return Err(damaged("it has become shorter").into());
        }
        let mut record = vec![0; bytes as usize];
        file.seek(SeekFrom::Start(begin)).map_err(io)?;
        file.read_exact(&mut record).map_err(io)?;
        if half_of(Sha256::new_with_prefix(&record)) != self.index[place].1 {
            return Err(damaged("the checksum of a sequence is another").into());
        }
        let predictions = Predictions::decode(&record, &self.origin);
        Ok(predictions.ok_or_else(|| damaged("it has what no teacher predicts"))?)
    }
}

fn io(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io {
        path: path.to_owned(),
        source,
    }
}

impl Predictions {
    /// The rests of all positions, then their tokens, then their logarithms.
    pub(super) fn encode(&self, origin: &Origin) -> Vec<u8> {
        let mut record = Vec::with_capacity(origin.record_bytes().unwrap_or_default() as usize);
        self.rest.iter().for_each(|rest| record.extend(rest.to_le_bytes()));
        for &token in &self.tokens {
            record.extend(&token.to_le_bytes()[..origin.id_bytes() as usize]);
        }
        let logs = self.logs.iter().map(|&log| f16::from_f32(log));
        logs.for_each(|log| record.extend(log.to_le_bytes()));
        record
    }

    /// Of a record as long as [`Origin::record_bytes`], if it makes sense. What is kept in 16 bits is made to add up to 1
    /// again.
    fn decode(record: &[u8], origin: &Origin) -> Option<Self> {
        let (positions, top) = (origin.length as usize, origin.top as usize);
        let (rest, more) = record.split_at_checked(4 * positions)?;
        let (tokens, logs) = more.split_at_checked(origin.id_bytes() as usize * positions * top)?;
        let mut predictions = Self {
            rest: rest.as_chunks().0.iter().map(|&log| f32::from_le_bytes(log)).collect(),
            tokens: match origin.id_bytes() {
                2 => tokens
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&id| u16::from_le_bytes(id).into())
                    .collect(),
                _ => tokens.as_chunks().0.iter().map(|&id| i32::from_le_bytes(id)).collect(),
            },
            logs: logs
                .as_chunks()
                .0
                .iter()
                .map(|&log| f16::from_le_bytes(log).to_f32())
                .collect(),
        };
        let is_log = |log: &f32| (LEAST - 100.0..=0.0).contains(log);
        let is_token = |&token: &i32| (0..i64::from(origin.vocab_size)).contains(&i64::from(token));
        let makes_sense = predictions.logs.iter().chain(&predictions.rest).all(is_log)
            && predictions.tokens.iter().all(is_token)
            && predictions.logs.len() == positions * top;
        if !makes_sense {
            return None;
        }
        for (logs, rest) in predictions.logs.chunks_mut(top).zip(&mut predictions.rest) {
            let sum = logs.iter().map(|log| log.exp()).sum::<f32>() + rest.exp();
            // Nobody's most likely tokens are all impossible.
            if !sum.is_normal() {
                return None;
            }
            logs.iter_mut().for_each(|log| *log -= sum.ln());
            *rest -= sum.ln();
        }
        Some(predictions)
    }
}
