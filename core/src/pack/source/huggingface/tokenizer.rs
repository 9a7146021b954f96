//! `tokenizer.json` and its companions, as GGUF metadata.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::config::{SpecialTokens, token_ids};
use super::{PackError, read_json, read_text, required};
use crate::Result;
use crate::gguf::Writer;
use crate::tokenizer::token_type::{BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED};
use crate::tokenizer::{Tokenizer, Vocabulary};

/// The tokenizer of a checkpoint.
pub(super) struct ImportedTokenizer {
    kind: TokenizerKind,
    tokens: Vec<String>,
    types: Vec<i32>,
    /// Pairs, a space between, best first.
    merges: Vec<String>,
    bos: Option<u32>,
    eos: Option<u32>,
    /// Ends a turn, if another token than `eos` does that too.
    eot: Option<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    chat_template: Option<String>,
}

enum TokenizerKind {
    /// Byte-level BPE, with llama.cpp's name of its pre-tokenizer.
    ByteLevel { pre: &'static str },
    /// SentencePiece's BPE, whose scores say which merge comes first.
    SentencePiece { scores: Vec<f32>, space_prefix: bool },
}

#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    r#type: Option<String>,
    #[serde(default)]
    vocab: Value,
    #[serde(default)]
    merges: Vec<MergePair>,
    unk_token: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
}

/// `"a b"`, or `["a", "b"]` since tokenizers 0.20.
#[derive(Deserialize)]
#[serde(untagged)]
enum MergePair {
    Joined(String),
    Split(String, String),
}

impl ImportedTokenizer {
    /// Reads the files of `directory` for a model with so many tokens. `special` are those of its `config.json`.
    pub(super) fn read(directory: &Path, vocab_size: usize, special: SpecialTokens) -> Result<Self> {
        let (path, json) = tokenizer_json(directory)?;
        let settings: Value = read_json(&directory.join("tokenizer_config.json"))?.unwrap_or_default();
        let generation: Value = read_json(&directory.join("generation_config.json"))?.unwrap_or_default();
        let refuse = |problem: String| PackError::Tokenizer {
            path: path.clone(),
            problem,
        };

        let kind = json.model.r#type.as_deref().unwrap_or("BPE");
        if kind != "BPE" {
            return Err(refuse(format!("its model is {kind}, and only BPE can be imported")).into());
        }
        let vocabulary = vocabulary(&json.model.vocab).map_err(refuse)?;
        let (tokens, types) = tokens(&json, vocabulary, vocab_size).map_err(refuse)?;
        let merges = json
            .model
            .merges
            .iter()
            .map(join)
            .collect::<Result<Vec<_>, _>>()
            .map_err(refuse)?;
        let kind = kind_of(&json, &tokens, &merges).map_err(refuse)?;

        let find = |text: &str| tokens.iter().position(|token| token == text).map(|id| id as u32);
        let named = |key: &str| find(token_text(&settings[key])?);
        let eos = named("eos_token").or(special.eos);
        let bos = named("bos_token").or(special.bos);
        let (first, last) = template_ends(&json.post_processor);
        let adds = |key: &str, token: Option<&str>, id: Option<u32>| {
            let says = settings[key].as_bool();
            id.is_some() && says.unwrap_or(token.is_some_and(|token| find(token) == id))
        };
        let in_vocabulary = |id: &u32| (*id as usize) < tokens.len();
        let mut imported = Self {
            eot: token_ids(generation.get("eos_token_id")).find(|id| Some(*id) != eos && in_vocabulary(id)),
            unknown: named("unk_token").or(json.model.unk_token.as_deref().and_then(find)),
            padding: named("pad_token").or(special.pad),
            add_bos: adds("add_bos_token", first, bos),
            add_eos: adds("add_eos_token", last, eos),
            chat_template: chat_template(directory, &settings)?,
            bos,
            eos,
            kind,
            tokens,
            types,
            merges,
        };
        if matches!(imported.kind, TokenizerKind::SentencePiece { .. }) {
            imported.merges.clear();
            if let Some(unknown) = imported.unknown {
                imported.types[unknown as usize] = UNKNOWN;
            }
        }
        // What this builds is what the engine will build.
        Tokenizer::new(&imported.as_vocabulary())?;
        Ok(imported)
    }

    /// The tokenizer as the engine reads it.
    fn as_vocabulary(&self) -> Vocabulary<'_> {
        let (model, pre, scores, add_space_prefix) = match &self.kind {
            TokenizerKind::ByteLevel { pre } => ("gpt2", Some(*pre), Vec::new(), Some(false)),
            TokenizerKind::SentencePiece { scores, space_prefix } => {
                ("llama", None, scores.clone(), Some(*space_prefix))
            }
        };
        Vocabulary {
            model,
            pre,
            tokens: self.tokens.iter().map(String::as_str).collect(),
            scores,
            token_types: self.types.clone(),
            merges: self.merges.iter().map(String::as_str).collect(),
            bos_token_id: self.bos,
            eos_token_id: self.eos,
            eot_token_id: self.eot,
            unknown_token_id: self.unknown,
            padding_token_id: self.padding,
            add_bos_token: Some(self.add_bos),
            add_eos_token: Some(self.add_eos),
            add_space_prefix,
            ..Vocabulary::default()
        }
    }

    pub(super) fn set_metadata(&self, writer: &mut Writer) -> Result<()> {
        let vocabulary = self.as_vocabulary();
        let key = |suffix: &str| format!("tokenizer.ggml.{suffix}");
        writer.set(&key("model"), vocabulary.model)?;
        if let Some(pre) = vocabulary.pre {
            writer.set(&key("pre"), pre)?;
        }
        writer.set_strings(&key("tokens"), &vocabulary.tokens)?;
        writer.set_i32s(&key("token_type"), vocabulary.token_types.iter().copied())?;
        if vocabulary.model == "gpt2" {
            writer.set_strings(&key("merges"), &vocabulary.merges)?;
        } else {
            writer.set_f32s(&key("scores"), vocabulary.scores.iter().copied())?;
        }
        for (suffix, id) in [
            ("bos_token_id", self.bos),
            ("eos_token_id", self.eos),
            ("eot_token_id", self.eot),
            ("unknown_token_id", self.unknown),
            ("padding_token_id", self.padding),
        ] {
            if let Some(id) = id {
                writer.set(&key(suffix), id)?;
            }
        }
        writer.set(&key("add_bos_token"), self.add_bos)?;
        writer.set(&key("add_eos_token"), self.add_eos)?;
        if let Some(prefix) = vocabulary.add_space_prefix {
            writer.set(&key("add_space_prefix"), prefix)?;
        }
        if let Some(template) = &self.chat_template {
            writer.set("tokenizer.chat_template", template.as_str())?;
        }
        Ok(())
    }
}

fn tokenizer_json(directory: &Path) -> Result<(PathBuf, TokenizerJson)> {
    let path = directory.join("tokenizer.json");
    let json = required(path.clone(), read_json(&path)?, "the tokenizer")?;
    Ok((path, json))
}

/// How many ids the tokenizer of a directory has, added tokens included.
pub(in super::super) fn vocab_size(directory: &Path) -> Result<usize> {
    let (path, json) = tokenizer_json(directory)?;
    let refuse = |problem| PackError::Tokenizer {
        path: path.clone(),
        problem,
    };
    let vocabulary = vocabulary(&json.model.vocab).map_err(refuse)?;
    let added = json.added_tokens.iter().map(|token| token.id);
    let last = vocabulary.keys().copied().chain(added).max();
    let size = last.map_or(0, |last| last as usize + 1);
    let named = vocabulary.len() + json.added_tokens.len();
    if size > 2 * named + MOST_UNNAMED {
        let problem = format!(
            "an id is {}, and it has {named} tokens: a model would have a row for each",
            size - 1
        );
        return Err(refuse(problem).into());
    }
    Ok(size)
}

/// Ids without a token, besides as many as there are tokens: no file makes a model larger than it justifies.
const MOST_UNNAMED: usize = 1 << 16;

/// The ids of `model.vocab`.
fn vocabulary(vocab: &Value) -> Result<BTreeMap<u32, &str>, String> {
    let map = vocab.as_object().ok_or("model.vocab is no object")?;
    let mut ids = BTreeMap::new();
    for (text, id) in map {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| format!("the id of token {text:?} is no number"))?;
        if let Some(other) = ids.insert(id, text.as_str()) {
            return Err(format!("tokens {other:?} and {text:?} share the id {id}"));
        }
    }
    Ok(ids)
}

/// The text and the type of every id below `vocab_size`. Ids without a token are padding of the embedding matrix.
fn tokens<'a>(
    json: &'a TokenizerJson,
    mut vocabulary: BTreeMap<u32, &'a str>,
    vocab_size: usize,
) -> Result<(Vec<String>, Vec<i32>), String> {
    let added: BTreeMap<u32, &AddedToken> = json.added_tokens.iter().map(|token| (token.id, token)).collect();
    vocabulary.extend(added.iter().map(|(&id, token)| (id, token.content.as_str())));
    if let Some((id, text)) = vocabulary
        .last_key_value()
        .filter(|(id, _)| **id as usize >= vocab_size)
    {
        return Err(format!(
            "token {text:?} has the id {id}, and the model's configuration says that there are {vocab_size} tokens"
        ));
    }
    let is_byte = |text: &str| json.model.byte_fallback && text.len() == 6 && text.starts_with("<0x");
    let token = |id: u32| match (added.get(&id), vocabulary.get(&id)) {
        (Some(token), _) if token.special => (token.content.clone(), CONTROL),
        (Some(token), _) => (token.content.clone(), USER_DEFINED),
        (None, Some(text)) if is_byte(text) => (text.to_string(), BYTE),
        (None, Some(text)) => (text.to_string(), NORMAL),
        (None, None) => (format!("[PAD{id}]"), UNUSED),
    };
    Ok((0..vocab_size as u32).map(token).unzip())
}

/// A merge as GGUF writes it.
fn join(pair: &MergePair) -> Result<String, String> {
    match pair {
        MergePair::Joined(text) => Ok(text.clone()),
        MergePair::Split(left, right) if left.contains(' ') || right.contains(' ') => {
            Err(format!("the merge {left:?} {right:?} has a space in it"))
        }
        MergePair::Split(left, right) => Ok(format!("{left} {right}")),
    }
}

/// What kind of BPE it is, told by its parts as the `tokenizers` library applies them.
fn kind_of(json: &TokenizerJson, tokens: &[String], merges: &[String]) -> Result<TokenizerKind, String> {
    if json.model.byte_fallback {
        return sentence_piece(json, tokens, merges);
    }
    // NFC changes nothing in text that is composed already, as nearly all is; llama.cpp leaves it out as well.
    if !matches!(json.normalizer["type"].as_str(), None | Some("NFC")) {
        return Err(format!(
            "its normalizer is not supported: {}",
            excerpt(&json.normalizer)
        ));
    }
    let pre = byte_level_pre(&json.pre_tokenizer);
    pre.map(|pre| TokenizerKind::ByteLevel { pre }).ok_or_else(|| {
        format!(
            "its pre-tokenizer is not one that is known (those of smollm, gpt-2, llama-bpe and qwen2): {}",
            excerpt(&json.pre_tokenizer)
        )
    })
}

pub(super) const LLAMA3: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*\
                      |\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
pub(super) const QWEN2: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*\
                     |\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/// llama.cpp's name of a byte-level pre-tokenizer.
fn byte_level_pre(pre_tokenizer: &Value) -> Option<&'static str> {
    let parts = match pre_tokenizer["type"].as_str()? {
        "Sequence" => pre_tokenizer["pretokenizers"].as_array()?.as_slice(),
        _ => std::slice::from_ref(pre_tokenizer),
    };
    let is = |part: &Value, ty: &str| part["type"] == ty;
    let (last, before) = parts.split_last()?;
    if !is(last, "ByteLevel") || last["add_prefix_space"] == true {
        return None;
    }
    // Whether it cuts by GPT-2's expression before it writes bytes as characters.
    let gpt2 = last["use_regex"].as_bool().unwrap_or(true);
    match before {
        [] if gpt2 => Some("gpt-2"),
        [digits] if gpt2 && is(digits, "Digits") && digits["individual_digits"] == true => Some("smollm"),
        [split] if !gpt2 && is(split, "Split") && split["behavior"] == "Isolated" && split["invert"] != true => {
            match split["pattern"]["Regex"].as_str()? {
                LLAMA3 => Some("llama-bpe"),
                QWEN2 => Some("qwen2"),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Llama 2's and Mistral's tokenizers: SentencePiece models that were written down as merges.
///
/// The score of a token is minus the place of the first merge that makes it: then the pair with the best score is the
/// one with the best merge.
fn sentence_piece(json: &TokenizerJson, tokens: &[String], merges: &[String]) -> Result<TokenizerKind, String> {
    let (normalizer, pre_tokenizer) = (&json.normalizer, &json.pre_tokenizer);
    let space = "\u{2581}";
    let steps = match normalizer["type"].as_str() {
        Some("Sequence") => normalizer["normalizers"].as_array().map_or(&[][..], Vec::as_slice),
        Some(_) => std::slice::from_ref(normalizer),
        None => &[],
    };
    let prepends = |step: &Value| step["type"] == "Prepend" && step["prepend"] == space;
    let replaces =
        |step: &Value| step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == space;
    let space_prefix = match (steps, pre_tokenizer["type"].as_str()) {
        ([prepend, replace], None) if prepends(prepend) && replaces(replace) => true,
        ([replace], None) if replaces(replace) => false,
        ([], Some("Metaspace")) if pre_tokenizer["replacement"] == space && pre_tokenizer["split"] != true => {
            match pre_tokenizer["prepend_scheme"].as_str() {
                Some("never") => false,
                Some("first" | "always") => true,
                _ => pre_tokenizer["add_prefix_space"].as_bool().unwrap_or(true),
            }
        }
        _ => {
            return Err(format!(
                "it is a SentencePiece tokenizer with a normalizer that is not supported: {} {}",
                excerpt(normalizer),
                excerpt(pre_tokenizer)
            ));
        }
    };
    let mut places = std::collections::HashMap::with_capacity(merges.len());
    for (place, merge) in merges.iter().enumerate() {
        places.entry(merge.replacen(' ', "", 1)).or_insert(place);
    }
    // A token that no merge makes is never merged to.
    let score = |token: &String| places.get(token).map_or(-1e9, |&place| -(place as f32));
    Ok(TokenizerKind::SentencePiece {
        scores: tokens.iter().map(score).collect(),
        space_prefix,
    })
}

/// A token given as a string or as an object.
fn token_text(token: &Value) -> Option<&str> {
    token.as_str().or(token["content"].as_str())
}

/// The special tokens that a text begins and ends with, if the post-processor adds any.
fn template_ends(post_processor: &Value) -> (Option<&str>, Option<&str>) {
    let steps = match post_processor["processors"].as_array() {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(post_processor),
    };
    let template = steps.iter().find(|step| step["type"] == "TemplateProcessing");
    let single = template.and_then(|template| template["single"].as_array());
    let pieces = single.map_or(&[][..], Vec::as_slice);
    (
        pieces.first().and_then(special_token),
        pieces.last().and_then(special_token),
    )
}

fn special_token(piece: &Value) -> Option<&str> {
    piece["SpecialToken"]["id"].as_str()
}

/// The template in its own file, or in `tokenizer_config.json`: alone, or the default of several.
fn chat_template(directory: &Path, settings: &Value) -> Result<Option<String>> {
    let path: PathBuf = directory.join("chat_template.jinja");
    if let Some(template) = read_text(&path)? {
        return Ok(Some(template));
    }
    let template = match &settings["chat_template"] {
        Value::Array(list) => list
            .iter()
            .find(|entry| entry["name"] == "default")
            .map(|entry| &entry["template"]),
        template => Some(template),
    };
    Ok(template.and_then(Value::as_str).map(str::to_owned))
}

/// The start of a JSON value, for an error message.
fn excerpt(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
