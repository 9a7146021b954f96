//! Why a tokenizer was refused.

use super::pre::PreTokenizer;

/// What is wrong with the tokenizer in a model file, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A metadata key is missing or has the wrong type.
    #[error("tokenizer metadata: {0}")]
    Gguf(#[from] crate::gguf::GgufError),
    /// `tokenizer.ggml.model` names a family that is not built here.
    #[error(
        "tokenizer.ggml.model is `{model}`; the supported ones are gpt2 (byte-level BPE), llama (SentencePiece BPE) and t5 (unigram)"
    )]
    UnsupportedModel {
        /// The name in the file.
        model: String,
    },
    /// `tokenizer.ggml.pre` names a pre-tokenizer that is not built here. Guessing would give wrong ids silently.
    #[error(
        "tokenizer.ggml.pre is `{pre}`, which is not supported; supported are {}",
        PreTokenizer::names()
    )]
    UnknownPreTokenizer {
        /// The name in the file.
        pre: String,
    },
    /// `tokenizer.ggml.tokens` is empty.
    #[error("tokenizer.ggml.tokens is empty; the file has no vocabulary, convert the model again")]
    NoTokens,
    /// The vocabulary does not fit in 32-bit offsets.
    #[error("the vocabulary has {bytes} bytes of text; at most 4 GiB are supported")]
    VocabularyTooLarge {
        /// Bytes of token text.
        bytes: usize,
    },
    /// Two arrays that go together have different lengths.
    #[error("{key} has {found} elements but tokenizer.ggml.tokens has {expected}; convert the model again")]
    LengthMismatch {
        /// The array with the wrong length.
        key: &'static str,
        /// How many tokens there are.
        expected: usize,
        /// How many elements the array has.
        found: usize,
    },
    /// The same text stands for two ids.
    #[error("tokens {first} and {second} are both `{text}`; a vocabulary may name each text once")]
    DuplicateToken {
        /// The beginning of the text.
        text: String,
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// A token that is searched for in the text is longer than any real one.
    #[error("token {id} has {bytes} bytes; special and SentencePiece tokens may have {max}")]
    TokenTooLong {
        /// Its id.
        id: u32,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An element of `tokenizer.ggml.merges` is not two tokens and a space.
    #[error("tokenizer.ggml.merges[{index}] is `{merge}`, not two tokens with a space between them")]
    BadMerge {
        /// Which merge.
        index: usize,
        /// The beginning of its text.
        merge: String,
    },
    /// A merge names, or makes, a token that is not in the vocabulary.
    #[error("tokenizer.ggml.merges[{index}] needs the token `{token}`, which is not in tokenizer.ggml.tokens")]
    UnknownMergeToken {
        /// Which merge.
        index: usize,
        /// The beginning of the missing token.
        token: String,
    },
    /// A byte token (type 6) is not written `<0xHH>`.
    #[error("token {id} has type 6 (byte) but is `{text}`, not `<0x00>` to `<0xFF>`")]
    BadByteToken {
        /// Its id.
        id: u32,
        /// The beginning of its text.
        text: String,
    },
    /// A score is NaN or infinite.
    #[error("tokenizer.ggml.scores[{id}] is {score}, not a finite number")]
    BadScore {
        /// Which token.
        id: u32,
        /// Its score.
        score: f32,
    },
    /// A special token id points outside the vocabulary.
    #[error("{key} is {id}, but the vocabulary has {vocab_size} tokens")]
    IdOutOfRange {
        /// The metadata key.
        key: &'static str,
        /// Its value.
        id: u32,
        /// How many tokens there are.
        vocab_size: usize,
    },
    /// The file asks for a token to be added but does not say which.
    #[error("{flag} is true but {key} is not set")]
    MissingId {
        /// The flag that is set.
        flag: &'static str,
        /// The key that is missing.
        key: &'static str,
    },
    /// The normalization is cut short.
    #[error("tokenizer.ggml.precompiled_charsmap ({bytes} bytes) is shorter than it says; get the file again")]
    BadCharsmap {
        /// How long it is.
        bytes: usize,
    },
    /// Some text could not be encoded at all.
    #[error(
        "the vocabulary has neither byte tokens nor an unknown token, so some text has no ids; convert the model again"
    )]
    NoFallback,
}

/// The beginning of a text from the file, short enough for a message.
pub(super) fn excerpt(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(40).flat_map(char::escape_debug).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}
