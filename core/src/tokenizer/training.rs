//! What those who train a tokenizer have to know of the ones that are run here.

use super::byte_level;
use super::error::TokenizerError;
use super::pre::PreTokenizer;

/// Calls `word` with the pieces of `text`, in order, that byte-pair merges stay within; `pre` is a value of
/// `tokenizer.ggml.pre`.
///
/// # Errors
/// [`TokenizerError::UnknownPreTokenizer`].
pub fn split_words(pre: &str, text: &str, word: impl FnMut(&str)) -> Result<(), TokenizerError> {
    PreTokenizer::from_name(Some(pre))?.split(text, word);
    Ok(())
}

/// Bytes as byte-level vocabularies write them: `Ġthe` for ` the`.
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len() * 2);
    byte_level::write_escaped(bytes, &mut escaped);
    escaped
}
