//! A hash index and the store of token texts.
//!
//! The index maps a hash to a `u32` and leaves the comparison to the caller, so that keys stay where they are (in one
//! arena, or in the list of merges) and nothing is allocated per token. Loading 49,152 tokens and as many merges is
//! part of the time to the first answer, which is why this is not a map of strings.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::error::{TokenizerError, excerpt};
use super::token_type;

/// Folded 64x64 -> 128 bit multiplication, the mixing step of wyhash.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// Open addressing with linear probing. `u32::MAX` marks an empty slot.
pub(super) struct Index {
    /// (upper half of the hash, value)
    slots: Box<[(u32, u32)]>,
    /// Random, so that a file cannot be made whose keys all collide.
    seed: u64,
}

const EMPTY: u32 = u32::MAX;

impl Index {
    /// Room for `capacity` entries at a load of at most two thirds.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let slots = (capacity + capacity / 2 + 1).next_power_of_two();
        Self {
            slots: vec![(0, EMPTY); slots].into(),
            seed: RandomState::new().build_hasher().finish(),
        }
    }

    pub(super) fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        let mut hash = self.seed ^ bytes.len() as u64;
        let (chunks, tail) = bytes.as_chunks::<8>();
        for chunk in chunks {
            hash = fold(hash ^ u64::from_le_bytes(*chunk), 0x9e37_79b9_7f4a_7c15);
        }
        let tail = tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        fold(hash ^ tail, 0xd6e8_feb8_6659_fd93)
    }

    pub(super) fn hash_pair(&self, left: u32, right: u32) -> u64 {
        fold(
            self.seed ^ (u64::from(left) << 32 | u64::from(right)),
            0x9e37_79b9_7f4a_7c15,
        )
    }

    /// The value stored under `hash` for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let tag = (hash >> 32) as u32;
        let mut slot = hash as usize & mask;
        loop {
            let (found_tag, value) = self.slots[slot];
            if value == EMPTY {
                return None;
            }
            if found_tag == tag && is_it(value) {
                return Some(value);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Adds a value; the caller has made sure with [`Self::find`] that it is new, and adds no more than the capacity.
    pub(super) fn insert(&mut self, hash: u64, value: u32) {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot].1 != EMPTY {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = ((hash >> 32) as u32, value);
    }
}

/// Byte strings one after another in a single allocation.
pub(super) struct Arena {
    bytes: Vec<u8>,
    /// Where each string ends.
    ends: Vec<u32>,
}

impl Arena {
    pub(super) fn with_capacity(strings: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(strings),
        }
    }

    /// Appends to the string that [`Self::end_string`] will finish.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Callers keep the total below 4 GiB (see [`TokenizerError::VocabularyTooLarge`]).
    pub(super) fn end_string(&mut self) {
        self.ends.push(self.bytes.len() as u32);
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&[u8]> {
        let index = index as usize;
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        Some(&self.bytes[start..end])
    }
}

/// What a token is for (`tokenizer.ggml.token_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    /// Stands for whatever the vocabulary cannot write.
    Unknown,
    /// Structure of the conversation; never part of what a person wrote.
    Control,
    /// Added by the model's makers; found in the text before anything else.
    UserDefined,
    /// One byte, written `<0xHH>`.
    Byte,
}

impl Kind {
    pub(super) fn from_ggml(token_type: i32) -> Self {
        match token_type {
            token_type::UNKNOWN => Kind::Unknown,
            token_type::CONTROL => Kind::Control,
            token_type::USER_DEFINED => Kind::UserDefined,
            token_type::BYTE => Kind::Byte,
            // Unused tokens are normal ones; 0 is undefined.
            _ => Kind::Normal,
        }
    }
}

/// The texts of all tokens, as the file writes them, and the way back from a text to its id.
pub(super) struct Tokens {
    texts: Arena,
    kinds: Vec<Kind>,
    index: Index,
}

impl Tokens {
    pub(super) fn new(texts: &[&str], kinds: Vec<Kind>) -> Result<Self, TokenizerError> {
        let bytes = texts.iter().map(|text| text.len()).sum();
        if u32::try_from(bytes).is_err() || u32::try_from(texts.len()).is_err() {
            return Err(TokenizerError::VocabularyTooLarge { bytes });
        }
        let mut arena = Arena::with_capacity(texts.len(), bytes);
        let mut index = Index::with_capacity(texts.len());
        for (id, &text) in (0u32..).zip(texts) {
            arena.extend(text.as_bytes());
            arena.end_string();
            // Padding tokens without a text exist in real files; they cannot be found in a text.
            if text.is_empty() {
                continue;
            }
            let hash = index.hash_bytes(text.as_bytes());
            if let Some(first) = index.find(hash, |id| texts[id as usize] == text) {
                return Err(TokenizerError::DuplicateToken {
                    text: excerpt(text),
                    first,
                    second: id,
                });
            }
            index.insert(hash, id);
        }
        Ok(Self {
            texts: arena,
            kinds,
            index,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }

    /// The text as bytes; empty for an id outside the vocabulary.
    pub(super) fn text(&self, id: u32) -> &[u8] {
        self.texts.get(id).unwrap_or_default()
    }

    #[inline]
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        self.index.find(self.index.hash_bytes(text), |id| self.text(id) == text)
    }

    pub(super) fn ids(&self) -> std::ops::Range<u32> {
        0..self.kinds.len() as u32
    }
}
