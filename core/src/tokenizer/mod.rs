//! Text to token ids and back, by the tokenizer in a model file's metadata.
//!
//! Three families: byte-level BPE (`gpt2`), SentencePiece BPE (`llama`, which Gemma also uses) and SentencePiece
//! unigram (`t5`). The ids are those of the tokenizer the model was trained with, as Hugging Face `tokenizers` computes
//! them; `tests/reference/tokenizer_goldens.py` says how that is tested and where llama.cpp differs.
//!
//! What a GGUF file does not say cannot be done here: normalization before byte-level BPE (Qwen's NFC) and spaces
//! stripped next to added tokens.

mod bpe;
mod byte_level;
mod detokenizer;
mod error;
mod fallback;
mod merge;
mod pre;
mod prefixes;
mod spm;
mod table;
mod unigram;
mod vocabulary;

pub use detokenizer::Detokenizer;
pub use error::TokenizerError;
pub use vocabulary::Vocabulary;

use crate::gguf::Gguf;
use bpe::Bpe;
use pre::PreTokenizer;
use prefixes::Prefixes;
use spm::Spm;
use table::{Arena, Kind, Tokens};
use unigram::Unigram;
use vocabulary::keys;

/// What to do with control tokens that are written in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `<|im_end|>` in the text is the control token: for text made by a chat template.
    Parse,
    /// `<|im_end|>` in the text is ten characters: for text from people and tools, who must not forge a turn.
    AsText,
}

/// The longest token, in bytes, that is searched for in the text. Real ones have up to about 200.
const MAX_SEARCHED_BYTES: usize = 1024;

/// Control tokens that end an answer, where the file does not list them all.
const END_OF_GENERATION: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<eos>",
    "</s>",
    "<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
];

/// Those of [`END_OF_GENERATION`] that end a turn, for files without `eot_token_id`.
const END_OF_TURN: &[&str] = &[
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "[EOT]",
];

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
        remove_extra_whitespaces: bool,
    },
}

impl Tokenizer {
    /// Builds the tokenizer that the metadata of a model file describes. Nothing borrows from the file afterwards.
    pub fn from_gguf(gguf: &Gguf<'_>) -> Result<Self, TokenizerError> {
        Self::new(&Vocabulary::from_gguf(gguf)?)
    }

    /// Checks a vocabulary and builds its tokenizer.
    pub fn new(vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        let texts = &vocabulary.tokens;
        if texts.is_empty() {
            return Err(TokenizerError::NoTokens);
        }
        let is_spm = match vocabulary.model {
            "gpt2" => false,
            "llama" | "t5" => true,
            other => {
                return Err(TokenizerError::UnsupportedModel {
                    model: error::excerpt(other),
                });
            }
        };
        check_len(
            keys::TOKEN_TYPE,
            vocabulary.token_types.len(),
            texts.len(),
            vocabulary.token_types.is_empty(),
        )?;
        check_len(keys::SCORES, vocabulary.scores.len(), texts.len(), !is_spm)?;
        check_scores(if is_spm { &vocabulary.scores } else { &[] })?;

        let tokens = Tokens::new(texts, kinds(vocabulary))?;
        let searched = |kind| is_spm || matches!(kind, Some(Kind::Control | Kind::UserDefined | Kind::Unknown));
        for id in tokens.ids().filter(|&id| searched(tokens.kind(id))) {
            let bytes = tokens.text(id).len();
            if bytes > MAX_SEARCHED_BYTES {
                return Err(TokenizerError::TokenTooLong {
                    id,
                    bytes,
                    max: MAX_SEARCHED_BYTES,
                });
            }
        }

        // What llama.cpp assumes of `llama` files that do not say, as long as it can be true.
        let default_id = |id: u32| Some(id).filter(|_| vocabulary.model == "llama" && (id as usize) < texts.len());
        let id = |key, id: Option<u32>, default: Option<u32>| match id {
            Some(id) if id as usize >= texts.len() => Err(TokenizerError::IdOutOfRange {
                key,
                id,
                vocab_size: texts.len(),
            }),
            Some(id) => Ok(Some(id)),
            None => Ok(default),
        };
        let bos = id(keys::BOS, vocabulary.bos_token_id, default_id(1))?;
        let eos = id(keys::EOS, vocabulary.eos_token_id, default_id(2))?;
        let unknown = id(keys::UNKNOWN, vocabulary.unknown_token_id, default_id(0))?;
        let padding = id(keys::PADDING, vocabulary.padding_token_id, None)?;
        let control = |text: &&str| {
            tokens
                .find(text.as_bytes())
                .filter(|&id| tokens.kind(id) == Some(Kind::Control))
        };
        let eot = id(keys::EOT, vocabulary.eot_token_id, END_OF_TURN.iter().find_map(control))?;
        let eom = id(keys::EOM, vocabulary.eom_token_id, None)?;

        let ignore_merges = PreTokenizer::ignores_merges(vocabulary.pre);
        let model = match vocabulary.model {
            "gpt2" => {
                let pre = PreTokenizer::from_name(vocabulary.pre)?;
                Model::Bpe(Bpe::new(pre, ignore_merges, &tokens, &vocabulary.merges)?)
            }
            "llama" => Model::Spm(Spm::new(&tokens, &vocabulary.scores, unknown)?),
            _ => Model::Unigram {
                unigram: Unigram::new(&tokens, vocabulary.scores.clone(), unknown)?,
                remove_extra_whitespaces: vocabulary.remove_extra_whitespaces,
            },
        };
        let mut end_of_generation: Vec<u32> = END_OF_GENERATION.iter().filter_map(control).collect();
        end_of_generation.extend([eos, eot, eom].into_iter().flatten());
        end_of_generation.sort_unstable();
        end_of_generation.dedup();

        // The Llama 3 tokenizer adds its BOS even if the file does not say so, and so do SentencePiece ones.
        let default_add_bos = (vocabulary.model == "llama" || ignore_merges) && bos.is_some();
        let add_bos = vocabulary.add_bos_token.unwrap_or(default_add_bos);
        let add_eos = vocabulary
            .add_eos_token
            .unwrap_or(vocabulary.model == "t5" && eos.is_some());
        for (flag, added, key, id) in [
            (keys::ADD_BOS, add_bos, keys::BOS, bos),
            (keys::ADD_EOS, add_eos, keys::EOS, eos),
        ] {
            if added && id.is_none() {
                return Err(TokenizerError::MissingId { flag, key });
            }
        }
        Ok(Self {
            pieces: pieces(&tokens, is_spm)?,
            special: special(&tokens, is_spm),
            space_prefix: is_spm && vocabulary.add_space_prefix.unwrap_or(true),
            tokens,
            model,
            bos,
            eos,
            eot,
            unknown,
            padding,
            add_bos,
            add_eos,
            end_of_generation,
        })
    }

    /// The ids of `text`, without BOS or EOS.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        self.encode_into(text, special, &mut ids);
        ids
    }

    /// The ids of `text` after BOS, if the model asks for one ([`Self::add_bos`]).
    pub fn encode_with_bos(&self, text: &str, special: Special) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        ids.extend(self.bos.filter(|_| self.add_bos));
        self.encode_into(text, special, &mut ids);
        ids
    }

    fn encode_into(&self, text: &str, special: Special, ids: &mut Vec<u32>) {
        let accept = |id| special == Special::Parse || self.tokens.kind(id) == Some(Kind::UserDefined);
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            match self.special.longest_at(&text.as_bytes()[at..], accept) {
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
        let prefix = if self.space_prefix { spm::SPACE } else { "" };
        match &self.model {
            Model::Bpe(bpe) => bpe.encode(text, &self.tokens, ids),
            Model::Spm(spm) => spm.encode(&(prefix.to_owned() + &text.replace(' ', spm::SPACE)), &self.tokens, ids),
            Model::Unigram {
                unigram,
                remove_extra_whitespaces: false,
            } => unigram.encode(&(prefix.to_owned() + &text.replace(' ', spm::SPACE)), ids),
            Model::Unigram {
                unigram,
                remove_extra_whitespaces: true,
            } => {
                let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
                if !words.is_empty() {
                    unigram.encode(&(prefix.to_owned() + &words.join(spm::SPACE)), ids);
                }
            }
        }
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

fn check_len(key: &'static str, found: usize, expected: usize, optional: bool) -> Result<(), TokenizerError> {
    if found == expected || (optional && found == 0) {
        return Ok(());
    }
    Err(TokenizerError::LengthMismatch { key, expected, found })
}

fn check_scores(scores: &[f32]) -> Result<(), TokenizerError> {
    match (0..).zip(scores).find(|(_, score)| !score.is_finite()) {
        Some((id, &score)) => Err(TokenizerError::BadScore { id, score }),
        None => Ok(()),
    }
}

fn kinds(vocabulary: &Vocabulary<'_>) -> Vec<Kind> {
    if vocabulary.token_types.is_empty() {
        // Old files have no types: at least the known ends of an answer must not be ordinary text.
        let kind = |text: &&str| {
            if END_OF_GENERATION.contains(text) {
                Kind::Control
            } else {
                Kind::Normal
            }
        };
        return vocabulary.tokens.iter().map(kind).collect();
    }
    vocabulary
        .token_types
        .iter()
        .map(|&token_type| Kind::from_ggml(token_type))
        .collect()
}

/// The bytes that each token adds to the text.
fn pieces(tokens: &Tokens, is_spm: bool) -> Result<Arena, TokenizerError> {
    let mut pieces = Arena::with_capacity(tokens.len(), tokens.ids().map(|id| tokens.text(id).len()).sum());
    let mut unescaped = Vec::new();
    for id in tokens.ids() {
        let text = tokens.text(id);
        match tokens.kind(id) {
            Some(Kind::Byte) => pieces.extend(&[fallback::byte_of(tokens, id)?]),
            Some(Kind::Normal | Kind::UserDefined) if is_spm => pieces.extend(&spm::unescape(text)),
            Some(Kind::Normal) => pieces.extend(byte_level::unescape(text, &mut unescaped).unwrap_or(text)),
            _ => pieces.extend(text),
        }
        pieces.end_string();
    }
    Ok(pieces)
}

/// The tokens to search for, as they look in the text.
fn special(tokens: &Tokens, is_spm: bool) -> Prefixes {
    let keys = tokens.ids().filter_map(|id| {
        let text = tokens.text(id);
        match tokens.kind(id)? {
            Kind::Control | Kind::Unknown => Some((text.into(), id)),
            Kind::UserDefined if is_spm => Some((spm::unescape(text).into(), id)),
            Kind::UserDefined => Some((text.into(), id)),
            Kind::Normal | Kind::Byte => None,
        }
    });
    Prefixes::new(keys.collect())
}
