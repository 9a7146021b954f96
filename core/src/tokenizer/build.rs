//! Checks a vocabulary and builds its tokenizer.

use super::bpe::Bpe;
use super::charsmap::Charsmap;
use super::error::{TokenizerError, excerpt};
use super::pre::PreTokenizer;
use super::prefixes::Prefixes;
use super::spm::Spm;
use super::table::{Arena, Kind, Tokens};
use super::unigram::Unigram;
use super::vocabulary::{Vocabulary, keys};
use super::{Model, Tokenizer, byte_level, fallback, spm};

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

impl Tokenizer {
    /// Checks a vocabulary and builds its tokenizer.
    pub fn new(vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        let Vocabulary {
            tokens: texts, scores, ..
        } = vocabulary;
        let family = Family::of(vocabulary)?;
        check_lengths(vocabulary, family)?;
        let tokens = Tokens::new(texts, kinds(vocabulary))?;
        check_searched(&tokens, family)?;

        let id = |key, id: Option<u32>| match id {
            Some(id) if id as usize >= texts.len() => Err(TokenizerError::IdOutOfRange {
                key,
                id,
                vocab_size: texts.len(),
            }),
            id => Ok(id),
        };
        // What llama.cpp assumes of `llama` files that do not say, as long as it can be true.
        let llama_id = |id: u32| Some(id).filter(|&id| family == Family::Spm && (id as usize) < texts.len());
        let bos = id(keys::BOS, vocabulary.bos_token_id)?.or(llama_id(1));
        let eos = id(keys::EOS, vocabulary.eos_token_id)?.or(llama_id(2));
        let unknown = id(keys::UNKNOWN, vocabulary.unknown_token_id)?.or(llama_id(0));
        let padding = id(keys::PADDING, vocabulary.padding_token_id)?;
        let eom = id(keys::EOM, vocabulary.eom_token_id)?;
        let is_control = |id: &u32| tokens.kind(*id) == Some(Kind::Control);
        let control = |text: &&str| tokens.find(text.as_bytes()).filter(is_control);
        let eot = id(keys::EOT, vocabulary.eot_token_id)?.or_else(|| END_OF_TURN.iter().find_map(control));
        let mut end_of_generation: Vec<u32> = END_OF_GENERATION.iter().filter_map(control).collect();
        end_of_generation.extend([eos, eot, eom].into_iter().flatten());
        end_of_generation.sort_unstable();
        end_of_generation.dedup();

        // SentencePiece models and Llama 3 add their BOS even if the file does not say so.
        let ignore_merges = family == Family::Bpe && PreTokenizer::ignores_merges(vocabulary.pre);
        let adds_bos = bos.is_some() && (family == Family::Spm || ignore_merges);
        let adds_eos = eos.is_some() && family == Family::Unigram;
        let (add_bos, add_eos) = (
            vocabulary.add_bos_token.unwrap_or(adds_bos),
            vocabulary.add_eos_token.unwrap_or(adds_eos),
        );
        if add_bos && bos.is_none() {
            return Err(TokenizerError::MissingId {
                flag: keys::ADD_BOS,
                key: keys::BOS,
            });
        }
        if add_eos && eos.is_none() {
            return Err(TokenizerError::MissingId {
                flag: keys::ADD_EOS,
                key: keys::EOS,
            });
        }

        let model = match family {
            Family::Bpe => {
                let pre = PreTokenizer::from_name(vocabulary.pre)?;
                Model::Bpe(Bpe::new(pre, ignore_merges, &tokens, &vocabulary.merges)?)
            }
            Family::Spm => Model::Spm(Spm::new(texts, &tokens, scores, unknown)?),
            Family::Unigram => Model::Unigram {
                unigram: Unigram::new(texts, &tokens, scores, unknown)?,
                charsmap: Charsmap::new(&vocabulary.precompiled_charsmap)?,
                remove_extra_whitespaces: vocabulary.remove_extra_whitespaces,
            },
        };
        let is_spm = family != Family::Bpe;
        Ok(Self {
            pieces: pieces(texts, &tokens, is_spm)?,
            special: special(texts, &tokens, is_spm),
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
}

/// What `tokenizer.ggml.model` names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Bpe,
    Spm,
    Unigram,
}

impl Family {
    fn of(vocabulary: &Vocabulary<'_>) -> Result<Self, TokenizerError> {
        match vocabulary.model {
            "gpt2" => Ok(Family::Bpe),
            "llama" => Ok(Family::Spm),
            "t5" => Ok(Family::Unigram),
            other => Err(TokenizerError::UnsupportedModel { model: excerpt(other) }),
        }
    }
}

/// Checks that the arrays go together and the scores can be compared.
fn check_lengths(vocabulary: &Vocabulary<'_>, family: Family) -> Result<(), TokenizerError> {
    let expected = vocabulary.tokens.len();
    if expected == 0 {
        return Err(TokenizerError::NoTokens);
    }
    let check = |key, found: usize, optional: bool| {
        if found == expected || (optional && found == 0) {
            return Ok(());
        }
        Err(TokenizerError::LengthMismatch { key, expected, found })
    };
    check(keys::TOKEN_TYPE, vocabulary.token_types.len(), true)?;
    check(keys::SCORES, vocabulary.scores.len(), family == Family::Bpe)?;
    match (0..).zip(&vocabulary.scores).find(|(_, score)| !score.is_finite()) {
        Some((id, &score)) => Err(TokenizerError::BadScore { id, score }),
        None => Ok(()),
    }
}

/// Checks the length of the tokens that are searched for in the text: the time to encode grows with it.
fn check_searched(tokens: &Tokens, family: Family) -> Result<(), TokenizerError> {
    let is_searched = |id| family != Family::Bpe || !matches!(tokens.kind(id), Some(Kind::Normal | Kind::Byte));
    for id in tokens.ids().filter(|&id| is_searched(id)) {
        let bytes = tokens.text(id).len();
        if bytes > MAX_SEARCHED_BYTES {
            return Err(TokenizerError::TokenTooLong {
                id,
                bytes,
                max: MAX_SEARCHED_BYTES,
            });
        }
    }
    Ok(())
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
fn pieces(texts: &[&str], tokens: &Tokens, is_spm: bool) -> Result<Arena, TokenizerError> {
    let mut pieces = Arena::with_capacity(texts.len(), texts.iter().map(|text| text.len()).sum());
    let mut unescaped = Vec::new();
    for (id, &text) in (0..).zip(texts) {
        match tokens.kind(id) {
            Some(Kind::Byte) => pieces.extend(&[fallback::parse_byte(id, text)?]),
            Some(Kind::Normal | Kind::UserDefined) if is_spm => pieces.extend(spm::unescape(text).as_bytes()),
            Some(Kind::Normal) => pieces.extend(byte_level::unescape(text, &mut unescaped).unwrap_or(text.as_bytes())),
            _ => pieces.extend(text.as_bytes()),
        }
        pieces.end_string();
    }
    Ok(pieces)
}

/// The tokens to search for, as they look in the text.
fn special(texts: &[&str], tokens: &Tokens, is_spm: bool) -> Prefixes {
    let keys = (0..).zip(texts).filter_map(|(id, &text)| {
        let text = match tokens.kind(id)? {
            Kind::UserDefined if is_spm => spm::unescape(text),
            Kind::Control | Kind::Unknown | Kind::UserDefined => text.into(),
            Kind::Normal | Kind::Byte => return None,
        };
        Some((text.as_bytes().into(), id))
    });
    Prefixes::new(keys.collect())
}
