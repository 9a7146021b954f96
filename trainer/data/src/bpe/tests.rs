//! Merges as Hugging Face finds them, and what a new model has of them.

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
