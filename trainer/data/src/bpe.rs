//! Trains a byte-level BPE tokenizer (Sennrich et al. 2016; on bytes: Radford et al. 2019), for models from nothing.
//!
//! Not by the crate `tokenizers`, which brings 28 packages for it: the words have to be those that the engine cuts, and
//! what is left is a page. The merges are the same, ties included: a test holds them to what that library finds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use halfpi::gguf::AtomicFile;
use halfpi::template::ChatTemplate;
use halfpi::tokenizer::{escape_bytes, split_words};
use serde_json::{Map, Value, json};

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

struct Word {
    symbols: Vec<u32>,
    count: u64,
}

type Pair = (u32, u32);

/// Words in symbols, and where each pair of symbols is.
struct Pairs {
    words: Vec<Word>,
    /// How often, and in which words. Words that had it and have it no more may be among them.
    places: HashMap<Pair, (u64, HashSet<u32>)>,
    /// Every pair with a count that it has or had.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Pairs {
    fn new(words: Vec<Word>) -> Self {
        let mut places: HashMap<Pair, (u64, HashSet<u32>)> = HashMap::new();
        for (place, word) in (0..).zip(&words) {
            for pair in pairs_of(&word.symbols) {
                let (count, at) = places.entry(pair).or_default();
                *count += word.count;
                at.insert(place);
            }
        }
        let queue = places
            .iter()
            .map(|(&pair, (count, _))| (*count, Reverse(pair)))
            .collect();
        Self { words, places, queue }
    }

    fn most_frequent(&mut self, least: u64) -> Option<Pair> {
        while let Some((counted, Reverse(pair))) = self.queue.pop() {
            let count = self.places.get(&pair).map_or(0, |(count, _)| *count);
            if count == counted && count >= least {
                return Some(pair);
            }
            if count != counted && count >= least {
                self.queue.push((count, Reverse(pair)));
            }
        }
        None
    }

    /// Replaces a pair by a symbol everywhere.
    fn merge(&mut self, pair: Pair, id: u32) {
        let Some((_, words)) = self.places.remove(&pair) else {
            return;
        };
        let mut grown = HashSet::new();
        for place in words {
            let word = &mut self.words[place as usize];
            let merged = merged(&word.symbols, pair, id);
            if merged.len() == word.symbols.len() {
                continue;
            }
            for old in pairs_of(&word.symbols) {
                if let Some((count, _)) = self.places.get_mut(&old) {
                    *count = count.saturating_sub(word.count);
                }
            }
            for new in pairs_of(&merged) {
                let (count, at) = self.places.entry(new).or_default();
                *count += word.count;
                at.insert(place);
                if new.0 == id || new.1 == id {
                    grown.insert(new);
                }
            }
            word.symbols = merged;
        }
        let count = |pair| self.places.get(&pair).map_or(0, |(count, _)| *count);
        self.queue
            .extend(grown.into_iter().map(|pair| (count(pair), Reverse(pair))));
    }
}

fn pairs_of(symbols: &[u32]) -> impl Iterator<Item = Pair> + '_ {
    symbols.windows(2).map(|pair| (pair[0], pair[1]))
}

/// The symbols with every occurrence of `pair`, from the left, replaced.
fn merged(symbols: &[u32], pair: Pair, id: u32) -> Vec<u32> {
    let mut merged = Vec::with_capacity(symbols.len());
    let mut at = 0;
    while at < symbols.len() {
        let is_pair = symbols.get(at + 1).is_some_and(|&next| (symbols[at], next) == pair);
        merged.push(if is_pair { id } else { symbols[at] });
        at += if is_pair { 2 } else { 1 };
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::super::tests::Folder;
    use super::super::{Corpus, EncodeOptions, Language, Part, SourceOptions, StreamOptions};
    use super::*;
    use halfpi::pack::Blueprint;
    use halfpi::pack::synthetic::SyntheticModel;
    use halfpi::template::Role;
    use halfpi::tokenizer::{Special, Tokenizer};
    use halfpi::transformer::{Architecture, Config};

    fn tests() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests")
    }

    fn golden(name: &str) -> Value {
        serde_json::from_slice(&fs::read(tests().join("golden/tokenizer").join(name)).unwrap()).unwrap()
    }

    fn sources(folder: &Folder, held_out: f64) -> Sources {
        let options = SourceOptions {
            held_out,
            ..SourceOptions::default()
        };
        Sources::open(&[folder.path()], options).unwrap()
    }

    /// What `trained_goldens.py` trains on.
    fn texts(folder: &Folder) -> Sources {
        let mut texts: Vec<String> = ["chat", "code", "prose"]
            .map(|name| fs::read_to_string(tests().join(format!("reference/texts/{name}.txt"))).unwrap())
            .into();
        let more = golden("texts.json")["texts"].as_array().unwrap().clone();
        let more = more.iter().map(|text| text.as_str().unwrap().to_owned());
        texts.extend(more.filter(|text| text.len() <= WORD_BYTES));
        let lines: Vec<String> = texts.iter().map(|text| json!({ "text": text }).to_string()).collect();
        folder.write("texts.jsonl", lines.join("\n"));
        sources(folder, 0.0)
    }

    fn model(vocab_size: usize) -> Config {
        Config {
            vocab_size,
            ..SyntheticModel::tiny(Architecture::Llama).config
        }
    }

    fn options(vocab_size: usize) -> TokenizerOptions {
        TokenizerOptions {
            vocab_size,
            ..TokenizerOptions::default()
        }
    }

    #[test]
    fn merges_and_ids_are_those_of_hugging_face() {
        let folder = Folder::new();
        let golden = golden("trained.json");
        let size = golden["vocab_size"].as_u64().unwrap() as usize;
        let (trained, _) = TrainedTokenizer::train(&texts(&folder), &options(size)).unwrap();
        assert_eq!(trained.vocab_size(), size);
        let merges: Vec<String> = trained
            .merges
            .iter()
            .map(|(left, right)| format!("{left} {right}"))
            .collect();
        let expected: Vec<&str> = golden["merges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|merge| merge.as_str().unwrap())
            .collect();
        let differs = merges
            .iter()
            .zip(&expected)
            .position(|(merge, expected)| merge != expected);
        assert_eq!((differs, merges.len()), (None, expected.len()));

        let directory = folder.path().join("tokenizer");
        trained.write(&directory).unwrap();
        let tokenizer = Blueprint::new(&model(size), &directory).unwrap().tokenizer().unwrap();
        let cases = golden["texts"]
            .as_array()
            .unwrap()
            .iter()
            .zip(golden["ids"].as_array().unwrap());
        for (text, ids) in cases {
            let (text, ids): (&str, Vec<u32>) = (text.as_str().unwrap(), serde_json::from_value(ids.clone()).unwrap());
            assert_eq!(tokenizer.encode(text, Special::Parse), ids, "{text:?}");
            assert_eq!(tokenizer.decode(&ids, true), text);
        }
    }

    #[test]
    fn a_new_model_gets_chatml_and_room_for_its_tokens() {
        let folder = Folder::new();
        let (trained, report) = TrainedTokenizer::train(&texts(&folder), &options(300)).unwrap();
        assert!(report.documents > 300);
        let directory = folder.path().join("tokenizer");
        trained.write(&directory).unwrap();
        // With rows to spare, as models have whose matrices are padded.
        let blueprint = Blueprint::new(&model(320), &directory).unwrap();
        let Language { tokenizer, template } = Language::of(&blueprint).unwrap();
        let id = |text| tokenizer.token_id(text);
        assert_eq!(
            (id("<|endoftext|>"), id("<|im_start|>"), id("<|im_end|>")),
            (Some(0), Some(1), Some(2))
        );
        assert_eq!(
            (tokenizer.eos(), tokenizer.padding(), tokenizer.add_bos()),
            (Some(2), Some(0), false)
        );
        assert!((0..3).all(|id| tokenizer.is_special(id)) && !tokenizer.is_special(3));
        assert!(tokenizer.is_end_of_generation(0) && tokenizer.is_end_of_generation(2));
        assert_eq!(template.source(), ChatTemplate::chatml().source());
        let message = halfpi::template::Message::new(Role::User, "hi");
        assert_eq!(
            template.render(&[message], true).unwrap(),
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        );
        // It does not fit a smaller model.
        assert!(Blueprint::new(&model(299), &directory).is_err());
    }

    /// A fine-tuned model may have tokens that its makers added at the end: text has them, and so do sequences.
    #[test]
    fn added_tokens_keep_their_rows() {
        let folder = Folder::new();
        let (trained, _) = TrainedTokenizer::train(&texts(&folder), &options(280)).unwrap();
        let directory = folder.path().join("tokenizer");
        trained.write(&directory).unwrap();
        let path = directory.join("tokenizer.json");
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let added = json["added_tokens"].as_array_mut().unwrap();
        added.push(json!({"id": 280, "content": "<think>", "special": false}));
        added.push(json!({"id": 285, "content": "<|tool|>", "special": true}));
        fs::write(&path, json.to_string()).unwrap();
        let language = Language::of(&Blueprint::new(&model(290), &directory).unwrap()).unwrap();

        fs::remove_file(folder.path().join("texts.jsonl")).unwrap();
        folder.write("a.jsonl", r#"{"text": "<think>a<|tool|>"}"#);
        let encode = EncodeOptions {
            parse_special: true,
            ..EncodeOptions::default()
        };
        let only = Sources::open(
            &[folder.path().join("a.jsonl")],
            SourceOptions {
                held_out: 0.0,
                ..SourceOptions::default()
            },
        );
        let corpus = Corpus::new(only.unwrap(), language, 290, encode).unwrap();
        let mut stream = corpus.stream(Part::Training, StreamOptions::once(1, 3)).unwrap();
        let batch = stream.next_batch().unwrap().unwrap();
        assert_eq!((batch.tokens[0], batch.targets[1], batch.targets[2]), (280, 285, 0));
    }

    #[test]
    fn what_is_held_out_is_not_learned_from() {
        let folder = Folder::new();
        let lines: Vec<String> = (0..200)
            .map(|n| json!({"text": format!("word{n} word{n} word{n}")}).to_string())
            .collect();
        folder.write("a.jsonl", lines.join("\n"));
        let train = |held_out| TrainedTokenizer::train(&sources(&folder, held_out), &options(4096)).unwrap();
        let (all, _) = train(0.0);
        let (some, report) = train(0.5);
        assert!(report.other_part > 50);
        // Too little text for so many tokens: there are fewer.
        assert!(all.vocab_size() < 4096 && some.vocab_size() <= all.vocab_size());
        let error = TrainedTokenizer::train(&sources(&folder, 1.0), &options(4096)).unwrap_err();
        assert!(matches!(error, DataError::Nothing { .. }), "{error}");
    }

    #[test]
    fn options_without_meaning_are_refused() {
        let folder = Folder::new();
        folder.write("a.txt", "aaaa aaaa aaaaaaa");
        let sources = sources(&folder, 0.0);
        let train = |options: TokenizerOptions| TrainedTokenizer::train(&sources, &options);
        assert!(matches!(
            train(options(258)),
            Err(DataError::Option {
                option: "vocab_size",
                ..
            })
        ));
        let twice = TokenizerOptions {
            special: vec!["<a>".to_owned(), "<a>".to_owned()],
            ..TokenizerOptions::default()
        };
        assert!(matches!(train(twice), Err(DataError::Option { option: "special", .. })));
        let none = TokenizerOptions {
            special: Vec::new(),
            min_frequency: 0,
            ..options(260)
        };
        let (trained, _) = train(none).unwrap();
        assert_eq!(trained.vocab_size(), 260);
        trained.write(folder.path()).unwrap();
        let tokenizer: Tokenizer = Blueprint::new(&model(260), folder.path()).unwrap().tokenizer().unwrap();
        assert_eq!(tokenizer.encode("aaaa", Special::Parse).len(), 1);
    }
}
