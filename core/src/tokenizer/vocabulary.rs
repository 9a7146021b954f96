//! The tokenizer as a model file describes it.

use super::error::TokenizerError;
use crate::gguf::Gguf;

/// What a token is for, as `tokenizer.ggml.token_type` says it.
pub mod token_type {
    /// Text.
    pub const NORMAL: i32 = 1;
    /// Stands for whatever the vocabulary cannot write.
    pub const UNKNOWN: i32 = 2;
    /// Structure of the conversation.
    pub const CONTROL: i32 = 3;
    /// Added by the model's makers; found in the text before anything else.
    pub const USER_DEFINED: i32 = 4;
    /// Text that training never saw.
    pub const UNUSED: i32 = 5;
    /// One byte, written `<0xHH>`.
    pub const BYTE: i32 = 6;
}

/// Everything that defines a tokenizer, under the names of the GGUF keys `tokenizer.ggml.*`.
///
/// Nothing is checked until [`super::Tokenizer::new`].
#[derive(Clone, Debug, Default)]
pub struct Vocabulary<'a> {
    /// `gpt2`, `llama` or `t5`.
    pub model: &'a str,
    /// The pre-tokenizer of a `gpt2` model.
    pub pre: Option<&'a str>,
    /// The text of each id.
    pub tokens: Vec<&'a str>,
    /// The score of each id; `llama` and `t5` only.
    pub scores: Vec<f32>,
    /// What each id is for, one of [`token_type`]. Empty: all normal.
    pub token_types: Vec<i32>,
    /// Pairs of tokens, a space between, in order of priority; `gpt2` only.
    pub merges: Vec<&'a str>,
    /// Begins a text.
    pub bos_token_id: Option<u32>,
    /// Ends a text.
    pub eos_token_id: Option<u32>,
    /// Ends a turn of a conversation.
    pub eot_token_id: Option<u32>,
    /// Ends a message within a turn.
    pub eom_token_id: Option<u32>,
    /// Stands for what cannot be written.
    pub unknown_token_id: Option<u32>,
    /// Fills batches.
    pub padding_token_id: Option<u32>,
    /// Whether a text begins with `bos_token_id`; the family decides if this is `None`.
    pub add_bos_token: Option<bool>,
    /// Whether a text ends with `eos_token_id`; the family decides if this is `None`.
    pub add_eos_token: Option<bool>,
    /// Whether SentencePiece models put a space before the text; they do if this is `None`.
    pub add_space_prefix: Option<bool>,
    /// Whether a `t5` model makes one space of several and none at the ends.
    pub remove_extra_whitespaces: bool,
    /// The normalization of a `t5` model, as SentencePiece compiles it; empty for none.
    pub precompiled_charsmap: Vec<u8>,
}

/// The keys that are named in errors.
pub(super) mod keys {
    pub(crate) const SCORES: &str = "tokenizer.ggml.scores";
    pub(crate) const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
    pub(crate) const BOS: &str = "tokenizer.ggml.bos_token_id";
    pub(crate) const EOS: &str = "tokenizer.ggml.eos_token_id";
    pub(crate) const EOT: &str = "tokenizer.ggml.eot_token_id";
    pub(crate) const EOM: &str = "tokenizer.ggml.eom_token_id";
    pub(crate) const UNKNOWN: &str = "tokenizer.ggml.unknown_token_id";
    pub(crate) const PADDING: &str = "tokenizer.ggml.padding_token_id";
    pub(crate) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
    pub(crate) const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
}

impl<'a> Vocabulary<'a> {
    /// Reads the metadata of a model file; the texts stay in the file.
    pub fn from_gguf(gguf: &Gguf<'a>) -> Result<Self, TokenizerError> {
        Ok(Self {
            model: gguf.str("tokenizer.ggml.model")?,
            pre: gguf.opt_str("tokenizer.ggml.pre")?,
            tokens: gguf.strings("tokenizer.ggml.tokens")?.iter().collect(),
            scores: gguf.opt_f32s(keys::SCORES)?.map(Iterator::collect).unwrap_or_default(),
            token_types: gguf
                .opt_i32s(keys::TOKEN_TYPE)?
                .map(Iterator::collect)
                .unwrap_or_default(),
            merges: gguf
                .opt_strings("tokenizer.ggml.merges")?
                .map(|merges| merges.iter().collect())
                .unwrap_or_default(),
            bos_token_id: gguf.opt_u32(keys::BOS)?,
            eos_token_id: gguf.opt_u32(keys::EOS)?,
            eot_token_id: gguf.opt_u32(keys::EOT)?,
            eom_token_id: gguf.opt_u32(keys::EOM)?,
            unknown_token_id: gguf.opt_u32(keys::UNKNOWN)?,
            padding_token_id: gguf.opt_u32(keys::PADDING)?,
            add_bos_token: gguf.opt_bool(keys::ADD_BOS)?,
            add_eos_token: gguf.opt_bool(keys::ADD_EOS)?,
            add_space_prefix: gguf.opt_bool("tokenizer.ggml.add_space_prefix")?,
            remove_extra_whitespaces: gguf
                .opt_bool("tokenizer.ggml.remove_extra_whitespaces")?
                .unwrap_or(false),
            // Stored as i8 or u8: the low byte is the same.
            precompiled_charsmap: gguf
                .opt_i32s("tokenizer.ggml.precompiled_charsmap")?
                .map(|bytes| bytes.map(|byte| byte as u8).collect())
                .unwrap_or_default(),
        })
    }
}
