//! A tokenizer's vocabulary as a trie of byte strings.

use super::{SchemaError, limits};
use crate::tokenizer::Tokenizer;
use llguidance::ParserFactory;
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use std::sync::Arc;

/// The trie has room for 2^22 nodes, one for a byte at most; real vocabularies have about a million.
const MAX_BYTES: usize = 1 << 22;
/// Longer tokens are never chosen: the trie is 1024 deep at most.
const MAX_TOKEN_BYTES: usize = 512;

/// Tokens of text that fits in any string: where a string may go on, they need not be walked one by one.
const IN_STRINGS: &str = r#"[^"\\\x00-\x1F\x7F]{1,30}"#;

/// What a tokenizer can write, ready to be walked along a grammar.
pub(crate) struct Vocabulary(ParserFactory);

impl Vocabulary {
    pub(crate) fn new(tokenizer: &Tokenizer) -> Result<Self, SchemaError> {
        let ids = 0..tokenizer.vocab_size() as u32;
        let words: Vec<Vec<u8>> = ids.clone().map(|id| word(tokenizer, id)).collect();
        let bytes: usize = words.iter().map(Vec::len).sum();
        if bytes >= MAX_BYTES || words.is_empty() {
            let detail = format!("it has {bytes} bytes in {} tokens", words.len());
            return Err(SchemaError::Vocabulary { detail });
        }
        let ends: Vec<u32> = ids.filter(|&id| tokenizer.is_end_of_generation(id)).collect();
        let info = TokRxInfo::new(words.len() as u32, ends.first().copied().unwrap_or(INVALID_TOKEN));
        let mut trie = TokTrie::from(&info, &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        // The grammar never chooses tokens itself, so nothing is lost where text has other tokens than these.
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &[IN_STRINGS.into()]);
        let mut factory = factory.map_err(|error| SchemaError::Vocabulary {
            detail: format!("{error:#}"),
        })?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Vocabulary(factory))
    }

    pub(super) fn factory(&self) -> &ParserFactory {
        &self.0
    }
}

/// The bytes of a token; none for those that no text has in it.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id, true);
    if bytes.len() > MAX_TOKEN_BYTES {
        Vec::new()
    } else if tokenizer.is_special(id) {
        [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat()
    } else {
        bytes.to_vec()
    }
}
