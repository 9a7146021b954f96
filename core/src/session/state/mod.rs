//! Conversations in files: what was said, and the keys and values of what was read.
//!
//! A file holds, little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `halfpi-s` |
//! | 4 | version: 1 |
//! | 4 | length of the header |
//! | 4 | CRC-32 of the header |
//! | … | the header, JSON ([`Header`]): model, shape of the cache, messages |
//! | 4 each | the tokens that are cached |
//! | … | for each layer what [`KvLayout::used`](halfpi_kernels::ops::KvLayout::used) names, in its order |
//! | 4 | CRC-32 of everything before |
//!
//! Nothing of a sampler is in it: every answer begins with a sampler of its own, made from its options and its prompt.

mod error;
mod read;

pub use error::StateError;

use super::Session;
use crate::gguf::AtomicFile;
use crate::template::Message;
use crate::{Error, Result};
use halfpi_kernels::ops::KvElement;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"halfpi-s";
const VERSION: u32 = 1;

/// What is checked before anything else is read.
#[derive(Serialize, Deserialize)]
struct Header {
    /// The model's fingerprint in hexadecimal digits.
    model: String,
    /// What keys and values are stored as.
    element: Element,
    layers: usize,
    /// Heads of keys, and of values.
    heads: usize,
    head_dim: usize,
    /// Tokens that are cached.
    tokens: usize,
    messages: Vec<Message>,
    /// The first turn that a conversation kept when it slid last.
    window: usize,
}

/// [`KvElement`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Element {
    F16,
    Int8,
}

impl From<KvElement> for Element {
    fn from(element: KvElement) -> Self {
        match element {
            KvElement::F16 => Element::F16,
            KvElement::Int8 => Element::Int8,
        }
    }
}

impl Session {
    /// Writes the conversation with its cache to a file, which [`restore`](Self::restore) reads: on this device, or on any
    /// other with the same model file. The file is there whole or not at all; one that was there before is replaced.
    ///
    /// It takes as much as the cached tokens do ([`SessionReport`](crate::engine::SessionReport)), and what was said can
    /// be read in it.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut file = AtomicFile::create(path)?;
        self.save_to(&mut file).map_err(|error| match error {
            Error::Write(source) => Error::Io {
                path: path.to_owned(),
                source,
            },
            error => error,
        })?;
        file.commit()
    }

    /// The same to anywhere.
    ///
    /// # Errors
    /// [`Error::Write`] if `out` fails.
    pub fn save_to(&self, out: &mut dyn Write) -> Result<()> {
        // Nothing of the cache is given back meanwhile.
        let _in_use = self.slot.begin();
        let header = self.header(self.cached_tokens().len())?;
        let header = serde_json::to_vec(&header).map_err(|error| Error::Write(error.into()))?;
        let mut out = Summed::new(out);
        let mut write = || -> io::Result<()> {
            let length = u32::try_from(header.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
            out.write_all(MAGIC)?;
            out.write_all(&VERSION.to_le_bytes())?;
            out.write_all(&length.to_le_bytes())?;
            out.write_all(&crc32fast::hash(&header).to_le_bytes())?;
            out.write_all(&header)?;
            for token in self.cached_tokens() {
                out.write_all(&token.to_le_bytes())?;
            }
            for part in self.slot.used(self.cached_tokens().len()) {
                // Locked for a part only: the file may be slow.
                out.write_all(&self.slot.lock().kv[part])?;
            }
            let sum = out.sum();
            out.write_all(&sum.to_le_bytes())
        };
        write().map_err(Error::Write)
    }

    /// Takes up a conversation that was [saved](Self::save) on the same model: its messages and its cache replace this
    /// session's, so that the next turn reads only what is new. The context may be of another length, if it holds what was
    /// cached; what keys and values are stored as must be the same. Options stay those of this session.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::SavedState`] if it is damaged, of another model or does not fit,
    /// [`EngineError::Memory`](crate::engine::EngineError::Memory). The session is then as it was.
    pub fn restore(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        // Before opening, because opening a pipe waits for its other end.
        if !path.metadata().map_err(io)?.is_file() {
            return Err(StateError::NotAState.at(path));
        }
        let mut file = io::BufReader::with_capacity(1 << 16, File::open(path).map_err(io)?);
        self.restore_from(&mut file).map_err(|error| match error {
            Error::SavedState {
                source: StateError::Read(source),
                ..
            } => io(source),
            Error::SavedState { source, .. } => source.at(path),
            error => error,
        })
    }

    /// The same from anywhere, to its end.
    ///
    /// # Errors
    /// As [`restore`](Self::restore), without a path.
    pub fn restore_from(&mut self, from: &mut dyn Read) -> Result<()> {
        let state = self.read_state(from)?;
        self.tokens.clear();
        self.tokens.extend_from_slice(&state.tokens);
        self.messages = state.messages;
        self.window = state.window;
        self.logits.fill(0.0);
        let mut buffers = self.slot.lock();
        buffers.kv = state.kv;
        buffers.positions = self.tokens.len();
        Ok(())
    }

    /// Another session that goes on from here: the same options, conversation and cache, of which only what is in use is
    /// copied.
    ///
    /// # Errors
    /// As [`Engine::session`](crate::engine::Engine::session).
    pub fn fork(&self) -> Result<Session> {
        let _in_use = self.slot.begin();
        let mut fork = Session::new(self.engine.clone(), self.options.clone())?;
        let tokens = self.cached_tokens();
        fork.tokens.extend_from_slice(tokens);
        fork.messages.clone_from(&self.messages);
        fork.window = self.window;
        fork.logits.clone_from(&self.logits);
        let (from, mut to) = (self.slot.lock(), fork.slot.lock());
        for part in self.slot.used(tokens.len()) {
            to.kv[part.clone()].copy_from_slice(&from.kv[part]);
        }
        to.positions = tokens.len();
        drop(to);
        Ok(fork)
    }

    fn header(&self, tokens: usize) -> Result<Header> {
        let layout = self.slot.layout();
        Ok(Header {
            model: self
                .engine
                .fingerprint()?
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            element: layout.element().into(),
            layers: self.engine.config().block_count,
            heads: layout.heads(),
            head_dim: layout.head_dim(),
            tokens,
            messages: self.messages.clone(),
            window: self.window,
        })
    }
}

/// Counts the checksum of what passes.
struct Summed<T> {
    inner: T,
    hasher: crc32fast::Hasher,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        Summed {
            inner,
            hasher: crc32fast::Hasher::new(),
        }
    }

    fn sum(&self) -> u32 {
        self.hasher.clone().finalize()
    }
}

impl Summed<&mut dyn Write> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.inner.write_all(bytes)
    }
}

impl Summed<&mut dyn Read> {
    /// Fills `bytes`, which are the file's `place`.
    fn read_exact(&mut self, bytes: &mut [u8], place: &'static str) -> Result<(), StateError> {
        self.inner.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => StateError::Truncated { place },
            _ => StateError::Read(error),
        })?;
        self.hasher.update(bytes);
        Ok(())
    }

    fn read_u32(&mut self, place: &'static str) -> Result<u32, StateError> {
        let mut bytes = [0; 4];
        self.read_exact(&mut bytes, place)?;
        Ok(u32::from_le_bytes(bytes))
    }
}
