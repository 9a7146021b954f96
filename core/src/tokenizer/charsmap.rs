//! The normalization that SentencePiece compiles into a model (`tokenizer.ggml.precompiled_charsmap`): a double-array
//! trie (Darts-clone) of strings to replace and the strings that replace them.

use super::error::TokenizerError;

/// Longer strings are not looked for, and not put in: a hostile map could otherwise make much of little. The longest
/// that Unicode's normalization needs has 33 bytes.
const MAX_BYTES: usize = 64;

pub(super) struct Charsmap {
    trie: Vec<u32>,
    /// Strings that each end with a NUL.
    replacements: Vec<u8>,
}

impl Charsmap {
    /// `bytes`: the length of the trie in bytes (u32), the trie (u32 each), the replacements. Little-endian. Nothing at
    /// all means no normalization.
    pub(super) fn new(bytes: &[u8]) -> Result<Option<Self>, TokenizerError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let parts = bytes
            .split_first_chunk()
            .and_then(|(&length, rest)| rest.split_at_checked(usize::try_from(u32::from_le_bytes(length)).ok()?));
        let Some((trie, replacements)) = parts else {
            return Err(TokenizerError::BadCharsmap { bytes: bytes.len() });
        };
        let trie = trie
            .as_chunks()
            .0
            .iter()
            .map(|&unit| u32::from_le_bytes(unit))
            .collect();
        Ok(Some(Self {
            trie,
            replacements: replacements.to_vec(),
        }))
    }

    /// Replaces the longest string that the trie knows at each place, from left to right.
    pub(super) fn normalize(&self, mut text: &str) -> String {
        let mut normal = String::with_capacity(text.len());
        while let Some(c) = text.chars().next() {
            let (length, replacement) = self.longest(text).unwrap_or((c.len_utf8(), &text[..c.len_utf8()]));
            normal.push_str(replacement);
            text = &text[length..];
        }
        normal
    }

    /// The length of the longest known string at the start of `text`, and its replacement. What a damaged map says that
    /// makes no sense counts as nothing.
    fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let mut found = None;
        let mut place = child_offset(*self.trie.first()?);
        for (at, &byte) in text.as_bytes().iter().take(MAX_BYTES).enumerate() {
            place ^= usize::from(byte);
            // A NUL ends the strings of the trie and cannot be part of one.
            let Some(&unit) = self
                .trie
                .get(place)
                .filter(|&&unit| byte != 0 && label(unit) == u32::from(byte))
            else {
                break;
            };
            place ^= child_offset(unit);
            if has_value(unit)
                && text.is_char_boundary(at + 1)
                && let Some(replacement) = self.trie.get(place).and_then(|&unit| self.replacement(unit))
            {
                found = Some((at + 1, replacement));
            }
        }
        found
    }

    fn replacement(&self, value: u32) -> Option<&str> {
        let start = usize::try_from(value & !(1 << 31)).ok()?;
        let bytes = self.replacements.get(start..)?;
        let length = bytes.iter().take(MAX_BYTES + 1).position(|&byte| byte == 0)?;
        str::from_utf8(&bytes[..length]).ok()
    }
}

/// Where the children of a unit are, to be combined with their byte by exclusive or.
fn child_offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}

/// The byte that leads to a unit; units that hold values have the highest bit set and match none.
fn label(unit: u32) -> u32 {
    unit & (1 << 31 | 0xff)
}

/// Whether the string up to here is in the trie; its value is then at the child for NUL.
fn has_value(unit: u32) -> bool {
    unit & 1 << 8 != 0
}
