//! Text to token ids and back, by the tokenizer in a model file's metadata.
//!
//! Three families: byte-level BPE (`gpt2`), SentencePiece BPE (`llama`, which Gemma also uses) and SentencePiece
//! unigram (`t5`). The ids are those of the library that the model was trained with: Hugging Face `tokenizers` for the
//! first, SentencePiece for the others. `tests/reference/*_goldens.py` make the comparison.
//!
//! What a GGUF file does not say cannot be done here: normalization before byte-level BPE (Qwen composes characters to
//! NFC first) and spaces stripped next to added tokens. Characters that Unicode got after version 16, where the
//! oracles stand, may be cut into words differently; the models have not seen them.

mod bpe;
mod build;
mod byte_level;
mod charsmap;
mod detokenizer;
mod error;
mod fallback;
mod merge;
mod pre;
mod prefixes;
mod spm;
mod table;
mod training;
mod unigram;
mod untrusted;
mod vocabulary;

pub use detokenizer::Detokenizer;
pub use error::TokenizerError;
pub use training::{escape_bytes, split_words};
pub use vocabulary::{Vocabulary, token_type};

use crate::gguf::Gguf;
use bpe::Bpe;
use charsmap::Charsmap;
use prefixes::Prefixes;
use spm::{SPACE, Spm};
use table::{Arena, Kind, Tokens};
use unigram::Unigram;

/// What to do with control tokens that are written in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `<|im_end|>` in the text is the control token: for prompts written by hand. (For those that a chat template made
    /// of messages: [`Tokenizer::encode_marked`].)
    Parse,
    /// `<|im_end|>` in the text is ten characters: for text from people and tools, who must not forge a turn.
    AsText,
}

/// A model's tokenizer.
pub struct Tokenizer {
    tokens: Tokens,
    /// The bytes that each id adds to the text.
    pieces: Arena,
    /// The tokens that are searched for before anything else.
    special: Prefixes,
    model: Model,
    bos: Option<u32>,
    eos: Option<u32>,
    eot: Option<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    /// Whether a space is put before the text.
    space_prefix: bool,
    /// In ascending order.
    end_of_generation: Vec<u32>,
}

enum Model {
    Bpe(Bpe),
    Spm(Spm),
    Unigram {
        unigram: Unigram,
        charsmap: Option<Charsmap>,
        remove_extra_whitespaces: bool,
    },
}

impl Tokenizer {
    /// Builds the tokenizer that the metadata of a model file describes. Nothing borrows from the file afterwards.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self, TokenizerError> {
        Self::new(&Vocabulary::from_gguf(gguf)?)
    }

    /// The ids of `text`, without BOS or EOS.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        self.encode_into(text, &mut ids, |_, id| self.accepts(special, id));
        ids
    }

    /// The ids of `text` after BOS, if the model asks for one ([`Self::add_bos`]).
    pub fn encode_with_bos(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        ids.extend(self.bos.filter(|_| self.add_bos));
        self.encode_into(text, &mut ids, |_, id| self.accepts(special, id));
        ids
    }

    /// Whether a token that is searched for in the text counts as one.
    fn accepts(&self, special: Special, id: u32) -> bool {
        special == Special::Parse || self.tokens.kind(id) == Some(Kind::UserDefined)
    }

    /// `accepts(at, id)` says whether the token written at byte `at` counts as one.
    fn encode_into(&self, text: &str, ids: &mut Vec<u32>, accepts: impl Fn(usize, u32) -> bool) {
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            match self.special.longest_at(&text.as_bytes()[at..], |id| accepts(at, id)) {
                Some((length, id)) => {
                    self.encode_ordinary(&text[start..at], ids);
                    ids.push(id);
                    at += length;
                    start = at;
                }
                None => at += 1,
            }
        }
        self.encode_ordinary(&text[start..], ids);
    }

    /// Text between special tokens.
    fn encode_ordinary(&self, text: &str, ids: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        match &self.model {
            Model::Bpe(bpe) => bpe.encode(text, &self.tokens, ids),
            Model::Spm(spm) => spm.encode(&self.escape_spaces(text, false), &self.tokens, ids),
            Model::Unigram {
                unigram,
                charsmap,
                remove_extra_whitespaces,
            } => {
                let normal = charsmap
                    .as_ref()
                    .map_or(text.into(), |charsmap| charsmap.normalize(text));
                unigram.encode(&self.escape_spaces(&normal, *remove_extra_whitespaces), ids);
            }
        }
    }

    /// Text as SentencePiece sees it; `squeezed` has no two spaces in a row and none at the ends.
    fn escape_spaces(&self, text: &str, squeezed: bool) -> String {
        // Room for the three bytes of each escaped space in prose.
        let mut escaped = String::with_capacity(text.len() + text.len() / 2 + SPACE.len_utf8());
        let words = text.split(' ').filter(|word| !squeezed || !word.is_empty());
        for (at, word) in words.enumerate() {
            if at > 0 || self.space_prefix {
                escaped.push(SPACE);
            }
            escaped.push_str(word);
        }
        escaped
    }

    /// The text of `ids`, with or without control tokens. Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], special: bool) -> String {
        let mut text = String::with_capacity(ids.len() * 4);
        let mut decoder = self.decoder().show_special(special);
        for &id in ids {
            decoder.push(self, id, &mut text);
        }
        decoder.finish(&mut text);
        text
    }

    /// Decodes ids one at a time, from the beginning of a text.
    pub fn decoder(&self) -> Detokenizer {
        Detokenizer::new(self.space_prefix)
    }

    /// The bytes that `id` adds to the text: none for control tokens, unless `special`, and none for ids outside the
    /// vocabulary. They need not be whole characters.
    pub fn token_bytes(&self, id: u32, special: bool) -> &[u8] {
        if self.is_special(id) && !special {
            return &[];
        }
        self.pieces.get(id).unwrap_or_default()
    }

    /// The token as the vocabulary writes it: `Ġthe`, `▁the`, `<0x0A>`.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.tokens.kind(id)?;
        str::from_utf8(self.tokens.text(id)).ok()
    }

    /// The id of a token as the vocabulary writes it.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.tokens.find(text.as_bytes())
    }

    /// How many tokens there are; ids are below this.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// Whether `id` is a control token or the unknown token.
    pub fn is_special(&self, id: u32) -> bool {
        matches!(self.tokens.kind(id), Some(Kind::Control | Kind::Unknown))
    }

    /// Whether an answer is over with `id`: EOS, the end of a turn, or another control token known to mean this.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.end_of_generation.binary_search(&id).is_ok()
    }

    /// Whether the model expects [`Self::bos`] before a text.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether the model expects [`Self::eos`] after a text (T5 does; chat models do not).
    pub fn add_eos(&self) -> bool {
        self.add_eos
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The token that ends a turn of a conversation.
    pub fn eot(&self) -> Option<u32> {
        self.eot
    }

    /// The token that stands for what cannot be written.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// The token that fills batches.
    pub fn padding(&self) -> Option<u32> {
        self.padding
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .finish_non_exhaustive()
    }
}
