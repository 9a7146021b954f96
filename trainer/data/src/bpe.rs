//! Trains a byte-level BPE tokenizer (Sennrich et al. 2016; on bytes: Radford et al. 2019), for models from nothing.
//!
//! Not by the crate `tokenizers`, which brings 28 packages for it: the words have to be those that the engine cuts, and
//! what is left is a page. The merges are the same, ties included: a test holds them to what that library finds.

mod pairs;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use halfpi::gguf::AtomicFile;
use halfpi::template::ChatTemplate;
use halfpi::tokenizer::{escape_bytes, split_words};
use serde_json::{Map, Value, json};

use self::pairs::{Pairs, Word};
use super::error::DataError;
use super::reader::{Cursor, Reader};
use super::report::DataReport;
use super::sources::{Part, Sources, check};

/// How words are cut: digits one by one, and then as GPT-2 does. The name is llama.cpp's.
const PRE_TOKENIZER: &str = "smollm";
/// Bytes of a word that count. Longer ones are noise, or writing without spaces, of which a piece is as good.
const WORD_BYTES: usize = 256;
/// Different words that are counted before rare ones are forgotten.
const MOST_WORDS: usize = 2 << 20;

/// What a tokenizer should be like.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerOptions {
    /// Tokens in all, of which 256 are the bytes. 4096 by default.
    pub vocab_size: usize,
    /// Control tokens, which get the first ids: those of ChatML by default, with the end of a text.
    pub special: Vec<String>,
    /// How often a pair has to be found to become a token. 2 by default.
    pub min_frequency: u64,
    /// Bytes of text that are looked at: 256 MiB by default.
    pub max_bytes: u64,
}

impl Default for TokenizerOptions {
    fn default() -> Self {
        Self {
            vocab_size: 4096,
            special: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
                .map(str::to_owned)
                .into(),
            min_frequency: 2,
            max_bytes: 256 << 20,
        }
    }
}

/// A tokenizer that was trained here.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedTokenizer {
    special: Vec<String>,
    /// Bytes and merged tokens, after the control tokens.
    tokens: Vec<String>,
    /// Best first.
    merges: Vec<(String, String)>,
}

impl TrainedTokenizer {
    /// Learns from the texts of what is not held out; in conversations, from what was said.
    ///
    /// # Errors
    /// [`DataError::Option`], [`DataError::Nothing`], and [`DataError::Io`] and [`DataError::BadLine`] as in streams.
    pub fn train(sources: &Sources, options: &TokenizerOptions) -> Result<(Self, DataReport), DataError> {
        let TokenizerOptions { special, .. } = options;
        let least = special.len() + 256;
        let fits = options.vocab_size >= least && u32::try_from(options.vocab_size).is_ok();
        check(
            fits,
            "vocab_size",
            options.vocab_size,
            "at least 256 and the control tokens",
        )?;
        let names: HashSet<&String> = special.iter().filter(|name| !name.is_empty()).collect();
        let are_names = names.len() == special.len();
        check(
            are_names,
            "special",
            format!("{special:?}"),
            "control tokens that differ",
        )?;

        let mut report = DataReport::default();
        let words = Words::count(sources, options, &mut report)?;
        let (tokens, merges) = words.merge(special.len(), options);
        let trained = Self {
            special: special.clone(),
            tokens,
            merges,
        };
        Ok((trained, report))
    }

    /// How many tokens it has: fewer than asked for if there was too little text.
    pub fn vocab_size(&self) -> usize {
        self.special.len() + self.tokens.len()
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` (ChatML) into a directory, as the
    /// Hugging Face hub has them.
    ///
    /// # Errors
    /// [`DataError::Io`] and [`DataError::Training`].
    pub fn write(&self, directory: &Path) -> Result<(), DataError> {
        fs::create_dir_all(directory).map_err(DataError::io(directory))?;
        let pretty = |value: &Value| format!("{value:#}\n");
        for (name, text) in [
            ("tokenizer.json", pretty(&self.json())),
            ("tokenizer_config.json", pretty(&self.config())),
            ("chat_template.jinja", ChatTemplate::chatml().source().to_owned()),
        ] {
            let path = directory.join(name);
            let failed = |error: halfpi::Error| DataError::Training {
                problem: error.to_string(),
            };
            let mut file = AtomicFile::create(&path).map_err(failed)?;
            file.write_all(text.as_bytes()).map_err(DataError::io(&path))?;
            file.commit().map_err(failed)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let added = |(id, content): (usize, &String)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        };
        let all = self.special.iter().chain(&self.tokens);
        let vocabulary: Map<String, Value> = all.enumerate().map(|(id, text)| (text.clone(), json!(id))).collect();
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.special.iter().enumerate().map(added).collect::<Vec<_>>(),
            "normalizer": null,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": true},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            ]},
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocabulary, "merges": self.merges,
            },
        })
    }

    /// The end of a turn ends an answer, if there is such a token; the first control token fills batches.
    fn config(&self) -> Value {
        let end = self
            .special
            .iter()
            .find(|token| *token == "<|im_end|>")
            .or(self.special.first());
        json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": null,
            "eos_token": end,
            "pad_token": self.special.first(),
            "unk_token": null,
            "add_bos_token": false,
            "clean_up_tokenization_spaces": false,
        })
    }
}

/// How often each word was found.
struct Words(HashMap<String, u64>);

impl Words {
    fn count(sources: &Sources, options: &TokenizerOptions, report: &mut DataReport) -> Result<Self, DataError> {
        let mut reader = Reader::new(Arc::new(sources.clone()), Part::Training, None, Cursor::default());
        let mut words = HashMap::new();
        let (mut bytes, mut forgotten) = (0, 0);
        while bytes < options.max_bytes {
            let Some(document) = reader.next(report)? else { break };
            for text in document.content.texts() {
                bytes += text.len() as u64;
                let split = split_words(PRE_TOKENIZER, text, |word| {
                    let word = &word[..word.floor_char_boundary(WORD_BYTES)];
                    match words.get_mut(word) {
                        Some(count) => *count += 1,
                        None => drop(words.insert(word.to_owned(), 1)),
                    }
                });
                split.map_err(|error| DataError::Training {
                    problem: error.to_string(),
                })?;
            }
            // Lossy counting: what is forgotten was found no more than `forgotten` times in this stretch.
            while words.len() > MOST_WORDS {
                forgotten += 1;
                words.retain(|_, count| *count > forgotten);
            }
        }
        if words.is_empty() {
            return Err(DataError::Nothing {
                part: Part::Training.name(),
                files: sources.files(),
                documents: report.documents,
                hint: "",
            });
        }
        Ok(Self(words))
    }

    /// Merges the most frequent pair until there are enough tokens. Of equally frequent pairs, the one with the lower
    /// ids comes first.
    fn merge(&self, first_id: usize, options: &TokenizerOptions) -> (Vec<String>, Vec<(String, String)>) {
        let mut bytes: Vec<(String, u8)> = (0..=u8::MAX).map(|byte| (escape_bytes(&[byte]), byte)).collect();
        bytes.sort_unstable();
        let mut ids = [0; 256];
        for (id, &(_, byte)) in bytes.iter().enumerate() {
            ids[usize::from(byte)] = id as u32;
        }
        let mut tokens: Vec<String> = bytes.into_iter().map(|(text, _)| text).collect();
        let mut known: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
        let words = self.0.iter().map(|(word, &count)| Word {
            symbols: word.bytes().map(|byte| ids[usize::from(byte)]).collect(),
            count,
        });
        let mut pairs = Pairs::new(words.collect());
        let mut merges = Vec::new();
        while first_id + tokens.len() < options.vocab_size {
            let Some(pair) = pairs.most_frequent(options.min_frequency.max(1)) else {
                break;
            };
            let (left, right) = (&tokens[pair.0 as usize], &tokens[pair.1 as usize]);
            let text = format!("{left}{right}");
            merges.push((left.clone(), right.clone()));
            // Two ways can lead to one token.
            let id = *known.entry(text.clone()).or_insert_with(|| {
                tokens.push(text);
                tokens.len() as u32 - 1
            });
            pairs.merge(pair, id);
        }
        (tokens, merges)
    }
}
