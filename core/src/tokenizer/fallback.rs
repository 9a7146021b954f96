//! What SentencePiece vocabularies do with characters they do not have.

use super::error::{TokenizerError, excerpt};
use super::table::{Kind, Tokens};

/// Byte tokens where the vocabulary has them, the unknown token where not.
pub(super) struct Fallback {
    bytes: Box<[Option<u32>; 256]>,
    unknown: Option<u32>,
}

impl Fallback {
    pub(super) fn new(texts: &[&str], tokens: &Tokens, unknown: Option<u32>) -> Result<Self, TokenizerError> {
        let mut bytes = Box::new([None; 256]);
        for (id, text) in (0..).zip(texts).filter(|&(id, _)| tokens.kind(id) == Some(Kind::Byte)) {
            bytes[usize::from(parse_byte(id, text)?)] = Some(id);
        }
        if unknown.is_none() && bytes.contains(&None) {
            return Err(TokenizerError::NoFallback);
        }
        Ok(Self { bytes, unknown })
    }

    /// Appends the ids of `text`, which no token covers; `ids[from..]` are those of the text before it.
    ///
    /// Unknown characters in a row become one unknown token.
    pub(super) fn encode(&self, text: &str, from: usize, ids: &mut Vec<u32>) {
        let byte_ids = text.bytes().map(|byte| self.bytes[usize::from(byte)]);
        if byte_ids.clone().all(|id| id.is_some()) {
            ids.extend(byte_ids.flatten());
        } else if ids[from..].last().copied() != self.unknown {
            ids.extend(self.unknown);
        }
    }
}

/// The byte that a token of type 6 stands for.
pub(super) fn parse_byte(id: u32, text: &str) -> Result<u8, TokenizerError> {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits
        .filter(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        .ok_or_else(|| TokenizerError::BadByteToken {
            id,
            text: excerpt(text),
        })
}
