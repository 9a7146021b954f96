//! The way from files to batches, whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Blueprint, Source};
use halfpi::template::ChatTemplate;
use halfpi::tokenizer::Special;
use halfpi::transformer::Architecture;

use super::*;
use crate::Random;

/// A directory that goes away.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "halfpi-data-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A byte-level tokenizer with ChatML.
fn language() -> Language {
    let file = SyntheticModel::tiny(Architecture::Llama).to_model_file().unwrap();
    Language::of(&Blueprint::of(&Source::from_model_file(file)).unwrap()).unwrap()
}

const ROWS: usize = 421;

fn nothing_held_out() -> SourceOptions {
    SourceOptions {
        held_out: 0.0,
        ..SourceOptions::default()
    }
}

fn corpus(folder: &Folder, options: SourceOptions) -> Corpus {
    encoded(folder, options, EncodeOptions::default())
}

fn encoded(folder: &Folder, options: SourceOptions, encode: EncodeOptions) -> Corpus {
    let sources = Sources::open(&[folder.path()], options).unwrap();
    Corpus::new(sources, language(), ROWS, encode).unwrap()
}

fn batches(stream: &mut Stream, most: usize) -> Vec<Batch> {
    let next = || stream.next_batch().unwrap();
    std::iter::from_fn(next).take(most).collect()
}

/// Rows of tokens with their targets and weights, those that are nothing but padding left out.
fn rows(batches: &[Batch]) -> Vec<(Vec<i32>, Vec<i32>, Vec<f32>)> {
    let rows = batches.iter().flat_map(|batch| {
        let tokens = batch.tokens.chunks(batch.time);
        let others = batch.targets.chunks(batch.time).zip(batch.weights.chunks(batch.time));
        tokens.zip(others)
    });
    let rows = rows.map(|(tokens, (targets, weights))| (tokens.to_vec(), targets.to_vec(), weights.to_vec()));
    rows.filter(|(_, _, weights)| weights.iter().any(|&weight| weight > 0.0))
        .collect()
}

/// JSON lines of texts, some short and some long.
fn texts(count: usize, seed: u64) -> String {
    let mut random = Random::new(seed);
    let words = ["the", "day", "they said", "look", "more than 12 of them", "ü\\n", "{}"];
    let mut lines = String::new();
    for number in 0..count {
        let length = 1 + random.below(30);
        let text: Vec<&str> = (0..length).map(|_| words[random.below(7) as usize]).collect();
        lines += &format!("{{\"text\": \"{number} {}\"}}\n", text.join(" "));
    }
    lines
}

#[test]
fn sequences_are_the_documents_one_after_another() {
    let folder = Folder::new();
    folder.write(
        "a.jsonl",
        "{\"text\": \"the day\"}\n\n{\"text\": \"\"}\n{\"text\": \"look at this\"}",
    );
    folder.write("b.txt", "they said\nmore <|im_end|>\n");
    let corpus = corpus(&folder, nothing_held_out());
    let tokenizer = &corpus.language().tokenizer;
    let mut expected = Vec::new();
    for text in ["the day", "look at this", "they said\nmore <|im_end|>\n"] {
        expected.extend(tokenizer.encode(text, Special::AsText).iter().map(|&id| id as i32));
        expected.push(corpus.end_of_document() as i32);
    }
    assert_eq!(tokenizer.token_text(corpus.end_of_document()), Some("<|endoftext|>"));

    let mut stream = corpus.stream(Part::Training, StreamOptions::once(2, 5)).unwrap();
    let found = batches(&mut stream, usize::MAX);
    assert!(found.iter().all(|batch| (batch.batch, batch.time) == (2, 5)));
    let found = rows(&found);
    let tokens: Vec<i32> = found.iter().flat_map(|(tokens, ..)| tokens.clone()).collect();
    let weighed = |row: &(Vec<i32>, Vec<i32>, Vec<f32>)| -> Vec<i32> {
        let pairs = row.1.iter().zip(&row.2);
        pairs
            .filter(|(_, weight)| **weight == 1.0)
            .map(|(&target, _)| target)
            .collect()
    };
    let targets: Vec<i32> = found.iter().flat_map(weighed).collect();
    // Every token is a target once, but for the first.
    assert_eq!(targets, expected[1..]);
    assert!(tokens.starts_with(&expected[..expected.len() - 1]));
    let report = stream.report();
    assert_eq!((report.documents, report.empty, report.lines), (4, 1, 6));
    assert_eq!(report.tokens, expected.len() as u64);
    assert_eq!(report.padding as usize, found.len() * 5 + 1 - expected.len());
}

#[test]
fn whole_documents_are_not_cut_unless_they_are_too_long() {
    let folder = Folder::new();
    folder.write("a.jsonl", texts(60, 1));
    let corpus = corpus(&folder, nothing_held_out());
    let end = corpus.end_of_document() as i32;
    for long_documents in [LongDocuments::Split, LongDocuments::Drop] {
        let options = StreamOptions {
            packing: Packing::WholeDocuments,
            long_documents,
            ..StreamOptions::once(3, 70)
        };
        let mut stream = corpus.stream(Part::Training, options).unwrap();
        let rows = rows(&batches(&mut stream, usize::MAX));
        let targets: usize = rows
            .iter()
            .map(|(_, _, weights)| weights.iter().filter(|w| **w > 0.0).count())
            .sum();
        let ends_whole = |(_, targets, weights): &&(Vec<i32>, Vec<i32>, Vec<f32>)| {
            let last = weights.iter().rposition(|&weight| weight > 0.0).unwrap();
            targets[last] == end
        };
        let report = stream.report();
        let broken = rows.len() - rows.iter().filter(ends_whole).count();
        match long_documents {
            LongDocuments::Drop => {
                assert!(report.dropped > 0 && report.split == 0, "{report}");
                assert_eq!(broken, 0);
            }
            LongDocuments::Split => {
                assert!(report.split > 0 && report.dropped == 0, "{report}");
                assert!(broken as u64 >= report.split);
            }
        }
        // The first token of a sequence is no target, unless the sequence goes on with a document.
        assert_eq!(targets as u64, report.tokens - rows.len() as u64 + broken as u64);
        assert!(report.padding > 0);
    }
}

#[test]
fn the_order_follows_from_the_seed_and_nothing_is_lost() {
    let folder = Folder::new();
    for file in 0..4 {
        folder.write(&format!("{file}.jsonl"), texts(20, file));
    }
    let corpus = corpus(&folder, nothing_held_out());
    let read = |seed, shuffle| {
        let options = StreamOptions {
            seed,
            shuffle,
            ..StreamOptions::once(2, 120)
        };
        rows(&batches(
            &mut corpus.stream(Part::Training, options).unwrap(),
            usize::MAX,
        ))
    };
    let (one, again, other, in_order) = (read(1, 8), read(1, 8), read(2, 8), read(1, 0));
    assert_eq!(one, again);
    assert!(one != other && one != in_order);
    let weight = |rows: &[(Vec<i32>, Vec<i32>, Vec<f32>)]| rows.iter().flat_map(|row| row.2.iter()).sum::<f32>();
    assert_eq!(weight(&one), weight(&in_order));

    // Within one file and one block, the sequences are the same ones.
    let folder = Folder::new();
    folder.write("a.jsonl", texts(80, 9));
    let sorted = |shuffle| {
        let options = StreamOptions {
            shuffle,
            ..StreamOptions::once(2, 40)
        };
        let corpus = self::corpus(&folder, nothing_held_out());
        let mut rows = rows(&batches(
            &mut corpus.stream(Part::Training, options).unwrap(),
            usize::MAX,
        ));
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    };
    assert_eq!(sorted(0), sorted(16));
}

#[test]
fn ranks_share_one_stream() {
    let folder = Folder::new();
    folder.write("a.jsonl", texts(50, 5));
    let corpus = corpus(&folder, nothing_held_out());
    let options = |batch, rank, world| StreamOptions {
        rank,
        world,
        shuffle: 7,
        epochs: Some(2),
        ..StreamOptions::new(batch, 32)
    };
    let whole = rows(&batches(
        &mut corpus.stream(Part::Training, options(1, 0, 1)).unwrap(),
        usize::MAX,
    ));
    assert!(whole.len() > 60);
    for (batch, world) in [(1, 2), (2, 2), (3, 4), (5, 1), (1, 7)] {
        let mut shards: Vec<Vec<Batch>> = Vec::new();
        for rank in 0..world {
            let mut stream = corpus.stream(Part::Training, options(batch, rank, world)).unwrap();
            shards.push(batches(&mut stream, usize::MAX));
        }
        assert!(
            shards.iter().all(|shard| shard.len() == shards[0].len()),
            "all ranks take the same steps"
        );
        let mut merged = Vec::new();
        for step in 0..shards[0].len() {
            for row in 0..batch {
                for shard in &shards {
                    let batch = &shard[step];
                    let places = row * 32..(row + 1) * 32;
                    merged.push(Batch {
                        batch: 1,
                        time: 32,
                        tokens: batch.tokens[places.clone()].to_vec(),
                        targets: batch.targets[places.clone()].to_vec(),
                        weights: batch.weights[places].to_vec(),
                    });
                }
            }
        }
        assert_eq!(rows(&merged), whole, "{world} ranks with batches of {batch}");
    }
}

#[test]
fn a_stream_is_taken_up_anywhere() {
    let folder = Folder::new();
    folder.write("a.jsonl", texts(12, 5) + "broken\n" + &texts(9, 6));
    folder.write("b/c.txt", "they said\n".repeat(1500));
    folder.write(
        "b/d.jsonl",
        texts(11, 7) + "{\"text\": \"" + &"long ".repeat(100) + "\"}\n",
    );
    let source = SourceOptions {
        held_out: 0.3,
        ..SourceOptions::default()
    };
    let corpus = corpus(&folder, source);
    for packing in [Packing::Continuous, Packing::WholeDocuments] {
        for (shuffle, part) in [(0, Part::Training), (5, Part::Training), (1000, Part::HeldOut)] {
            let options = |rank, world, batch| StreamOptions {
                packing,
                shuffle,
                rank,
                world,
                epochs: Some(3),
                ..StreamOptions::new(batch, 48)
            };
            let mut stream = corpus.stream(part, options(0, 1, 4)).unwrap();
            let (mut positions, mut all) = (vec![stream.position()], Vec::new());
            while let Some(batch) = stream.next_batch().unwrap() {
                all.push(batch);
                positions.push(stream.position());
            }
            assert!(all.len() > 10 || part == Part::HeldOut, "{}", all.len());
            assert_eq!(positions.last().unwrap().epoch(), 2);
            for (at, position) in positions.iter().enumerate().step_by(3) {
                let saved = serde_json::to_string(position).unwrap();
                assert!(saved.len() < 2000, "{saved}");
                let position: Position = serde_json::from_str(&saved).unwrap();
                let mut resumed = corpus.stream(part, options(0, 1, 4)).unwrap();
                resumed.resume(&position).unwrap();
                assert_eq!(&resumed.position(), &position);
                assert_eq!(
                    batches(&mut resumed, usize::MAX),
                    all[at..],
                    "{packing:?} {shuffle} {at}"
                );
                assert_eq!(resumed.report(), stream.report());
                // As two machines: each has half of every batch.
                for rank in 0..2 {
                    let mut resumed = corpus.stream(part, options(rank, 2, 2)).unwrap();
                    resumed.resume(&position).unwrap();
                    let halves = batches(&mut resumed, usize::MAX);
                    assert_eq!(halves.len(), all.len() - at);
                    for (half, batch) in halves.iter().zip(&all[at..]) {
                        for row in 0..2 {
                            let of_whole = (2 * row + rank) * 48;
                            assert_eq!(half.tokens[row * 48..][..48], batch.tokens[of_whole..][..48]);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_position_of_another_stream_is_refused() {
    let folder = Folder::new();
    folder.write("a.jsonl", texts(50, 5));
    let open = || corpus(&folder, nothing_held_out());
    let corpus = open();
    let mut stream = corpus.stream(Part::Training, StreamOptions::new(2, 16)).unwrap();
    stream.next_batch().unwrap();
    let position = stream.position();
    let refused = |corpus: &Corpus, options| {
        let mut stream = corpus.stream(Part::Training, options).unwrap();
        let error = stream.resume(&position).unwrap_err();
        assert!(matches!(error, DataError::Position { .. }), "{error}");
        // It stays where it was.
        assert_eq!(stream.position().epoch(), 0);
    };
    refused(&corpus, StreamOptions::new(2, 17));
    refused(
        &corpus,
        StreamOptions {
            seed: 1,
            ..StreamOptions::new(2, 16)
        },
    );
    assert!(stream.resume(&position).is_ok());
    folder.write("a.jsonl", texts(51, 5));
    refused(&open(), StreamOptions::new(2, 16));
}

#[test]
fn a_document_is_on_one_side_wherever_it_is() {
    let folder = Folder::new();
    folder.write("a.jsonl", texts(300, 1));
    let sides = |folder: &Folder| {
        let options = SourceOptions {
            held_out: 0.2,
            ..SourceOptions::default()
        };
        let corpus = corpus(folder, options);
        [Part::Training, Part::HeldOut].map(|part| {
            let options = StreamOptions {
                packing: Packing::WholeDocuments,
                long_documents: LongDocuments::Drop,
                ..StreamOptions::once(1, 300)
            };
            let mut stream = corpus.stream(part, options).unwrap();
            let mut documents = std::collections::BTreeSet::new();
            let end = corpus.end_of_document() as i32;
            for (tokens, targets, weights) in rows(&batches(&mut stream, usize::MAX)) {
                let weighed = weights.iter().filter(|&&weight| weight > 0.0).count();
                let tokens = [&tokens[..1], &targets[..weighed]].concat();
                documents.extend(tokens.split(|&token| token == end).map(<[i32]>::to_vec));
            }
            documents
        })
    };
    let [training, held_out] = sides(&folder);
    assert!(training.is_disjoint(&held_out) || training.intersection(&held_out).all(Vec::is_empty));
    assert!((40..=80).contains(&held_out.len()), "{} of 300", held_out.len());
    assert!(training.len() + held_out.len() >= 300);

    // Other files beside it, other order, copies: nothing changes sides.
    folder.write("0.jsonl", texts(40, 2));
    let lines = fs::read_to_string(folder.path().join("a.jsonl")).unwrap();
    let backwards: Vec<&str> = lines.lines().rev().collect();
    folder.write("b.jsonl", backwards.join("\n"));
    let [more_training, more_held_out] = sides(&folder);
    assert!(training.is_subset(&more_training) && held_out.is_subset(&more_held_out));
    assert!(more_training.intersection(&more_held_out).all(Vec::is_empty));
}

#[test]
fn bad_lines_are_named_and_skipped_or_refused() {
    let folder = Folder::new();
    let long = format!("{{\"text\": \"{}\"}}", "a".repeat(5000));
    let mut lines = b"{\"text\": \"good\"}\nnot JSON\n{\"no\": 1}\n\n".to_vec();
    lines.extend(b"{\"text\": \"\xff\"}\n");
    lines.extend(long.as_bytes());
    lines.extend(b"\n{\"messages\": [{\"role\": \"nobody\", \"content\": \"\"}]}\n{\"text\": \"also good\"}");
    let path = folder.write("a.jsonl", lines);
    let options = |on_bad_line| SourceOptions {
        on_bad_line,
        max_line_bytes: 1000,
        ..nothing_held_out()
    };
    let mut stream = corpus(&folder, options(OnBadLine::Skip))
        .stream(Part::Training, StreamOptions::once(1, 64))
        .unwrap();
    assert_eq!(batches(&mut stream, usize::MAX).len(), 1);
    let report = stream.report();
    assert_eq!((report.bad_lines, report.documents), (5, 2));
    let named: Vec<u64> = report.named.iter().map(|bad| bad.line).collect();
    assert_eq!(named, [2, 3, 5, 6, 7]);
    let shown = report.to_string();
    for expected in [
        format!("{}:2: the line is not JSON", path.display()),
        "a.jsonl:5: byte 10 of the line is not UTF-8".to_owned(),
        "a.jsonl:6: the line has more than 1000 bytes".to_owned(),
        "\"nobody\"".to_owned(),
        "5 lines that could not be used".to_owned(),
    ] {
        assert!(shown.contains(&expected), "{expected} in {shown}");
    }

    let mut stream = corpus(&folder, options(OnBadLine::Refuse))
        .stream(Part::Training, StreamOptions::once(1, 64))
        .unwrap();
    let error = stream.next_batch().unwrap_err();
    assert!(matches!(&error, DataError::BadLine { line: 2, .. }), "{error}");
    assert!(
        error.to_string().starts_with(&format!("{}:2: ", path.display())),
        "{error}"
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = Folder::new();
    let open = |options| Sources::open(&[folder.path()], options);
    let error = open(SourceOptions::default()).unwrap_err();
    assert!(matches!(error, DataError::NoFiles { .. }), "{error}");
    folder.write("notes.pdf", "x");
    assert!(open(SourceOptions::default()).is_err());
    let missing = folder.path().join("missing.txt");
    assert!(matches!(
        Sources::open(&[missing], SourceOptions::default()),
        Err(DataError::Io { .. })
    ));
    let text = folder.write("a.txt", "\n\n");
    let wrong = SourceOptions {
        held_out: f64::NAN,
        ..SourceOptions::default()
    };
    assert!(matches!(open(wrong), Err(DataError::Option { option: "held_out", .. })));

    // A tokenizer of another model.
    let sources = || open(nothing_held_out()).unwrap();
    let error = Corpus::new(sources(), language(), ROWS - 1, EncodeOptions::default())
        .err()
        .unwrap();
    assert!(
        matches!(error, DataError::Tokenizer { tokens: 421, rows: 420 }),
        "{error}"
    );
    assert!(Corpus::new(sources(), language(), ROWS + 7, EncodeOptions::default()).is_ok());
    let encode = EncodeOptions {
        end_of_document: Some(ROWS as u32),
        ..EncodeOptions::default()
    };
    assert!(Corpus::new(sources(), language(), ROWS, encode).is_err());

    // Blank text has no tokens: not even a stream without end goes on forever.
    let corpus = corpus(&folder, nothing_held_out());
    for options in [StreamOptions::new(1, 8), StreamOptions::once(1, 8)] {
        let error = corpus
            .stream(Part::Training, options)
            .unwrap()
            .next_batch()
            .unwrap_err();
        assert!(matches!(error, DataError::Nothing { .. }), "{error}");
    }
    for options in [
        StreamOptions::new(0, 8),
        StreamOptions::new(8, 0),
        StreamOptions::new(usize::MAX, 8),
        StreamOptions {
            rank: 2,
            world: 2,
            ..StreamOptions::new(1, 8)
        },
    ] {
        let error = corpus.stream(Part::Training, options).err().unwrap();
        assert!(matches!(error, DataError::Option { .. }), "{error}");
    }
    // The file goes away while it is read.
    let mut stream = corpus.stream(Part::Training, StreamOptions::new(1, 8)).unwrap();
    fs::remove_file(&text).unwrap();
    let error = stream.next_batch().unwrap_err();
    assert!(matches!(&error, DataError::Io { path, .. } if *path == text), "{error}");
}

#[test]
fn text_files_have_documents_as_asked() {
    let folder = Folder::new();
    folder.write("a.txt", "\none\ntwo\n\n\nthree\n");
    let read = |text_documents| {
        let options = SourceOptions {
            text_documents,
            ..nothing_held_out()
        };
        let corpus = corpus(&folder, options);
        let mut stream = corpus.stream(Part::Training, StreamOptions::once(1, 64)).unwrap();
        let batch = stream.next_batch().unwrap().unwrap();
        let weighed = batch.weights.iter().filter(|&&weight| weight > 0.0).count();
        let tokens: Vec<u32> = batch.tokens[..1]
            .iter()
            .chain(&batch.targets[..weighed])
            .map(|&id| id as u32)
            .collect();
        corpus
            .language()
            .tokenizer
            .decode(&tokens, true)
            .replace("<|endoftext|>", "|")
    };
    assert_eq!(read(TextDocuments::File), "one\ntwo\n\n\nthree\n|");
    assert_eq!(read(TextDocuments::BlankLine), "one\ntwo|three|");
    assert_eq!(read(TextDocuments::Line), "one|two|three|");

    folder.write(
        "a.txt",
        format!("{}\n\nend\n", "a line of a long paragraph\n".repeat(3000)),
    );
    let options = SourceOptions {
        text_documents: TextDocuments::BlankLine,
        ..nothing_held_out()
    };
    let corpus = corpus(&folder, options);
    let mut stream = corpus.stream(Part::Training, StreamOptions::once(4, 512)).unwrap();
    while stream.next_batch().unwrap().is_some() {}
    assert_eq!(stream.report().documents, 3);
}

/// A long text is one document on each side but for where a piece of it is on the other.
#[test]
fn pieces_of_a_text_go_on_or_break_off() {
    let folder = Folder::new();
    let lines: String = (0..4000).map(|number| format!("line {number} of the text\n")).collect();
    folder.write("a.txt", &lines);
    let options = SourceOptions {
        held_out: 0.3,
        ..SourceOptions::default()
    };
    let corpus = corpus(&folder, options);
    let mut all = String::new();
    for part in [Part::Training, Part::HeldOut] {
        let mut stream = corpus.stream(part, StreamOptions::once(1, 1000)).unwrap();
        let rows = rows(&batches(&mut stream, usize::MAX));
        let mut tokens = vec![rows[0].0[0] as u32];
        for (_, targets, weights) in &rows {
            let weighed = weights.iter().filter(|&&weight| weight > 0.0).count();
            tokens.extend(targets[..weighed].iter().map(|&id| id as u32));
        }
        let text = corpus.language().tokenizer.decode(&tokens, true);
        for stretch in text.split("<|endoftext|>") {
            assert!(lines.contains(stretch), "{stretch}");
            // The other side lies between two stretches.
            assert!(stretch.is_empty() || stretch.ends_with('\n'));
        }
        assert!(text.matches("<|endoftext|>").count() > 1);
        all += &text.replace("<|endoftext|>", "");
    }
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&all), sorted(&lines));
}

/// One conversation as text, with what is trained on in brackets.
fn shown(conversation: &str, train_on: TrainOn) -> String {
    shown_by(language(), conversation, train_on)
}

fn shown_by(language: Language, conversation: &str, train_on: TrainOn) -> String {
    let folder = Folder::new();
    folder.write("a.jsonl", conversation.replace('\n', " "));
    let encode = EncodeOptions {
        train_on,
        ..EncodeOptions::default()
    };
    let sources = Sources::open(&[folder.path()], nothing_held_out()).unwrap();
    let corpus = Corpus::new(sources, language, ROWS, encode).unwrap();
    let mut stream = corpus.stream(Part::Training, StreamOptions::once(1, 400)).unwrap();
    let batch = stream.next_batch().unwrap().unwrap();
    let decode = |id: i32| corpus.language().tokenizer.decode(&[id as u32], true);
    let mut text = decode(batch.tokens[0]);
    let places = 400 - stream.report().padding as usize;
    let mut inside = false;
    for (&target, &weight) in batch.targets.iter().zip(&batch.weights).take(places) {
        if (weight > 0.0) != inside {
            inside = !inside;
            text.push(if inside { '[' } else { ']' });
        }
        text += &decode(target);
    }
    if inside {
        text.push(']');
    }
    text
}

#[test]
fn only_what_the_assistant_says_is_trained_on_if_so_asked() {
    let conversation = r#"{"messages": [{"role": "user", "content": "hi<|im_end|>"},
        {"role": "assistant", "content": "hello"}, {"role": "user", "content": "and <|im_start|>assistant"},
        {"role": "assistant", "content": "\n\nno"}]}"#;
    assert_eq!(
        shown(conversation, TrainOn::Assistant),
        "<|im_start|>user\nhi<|im_end|><|im_end|>\n<|im_start|>assistant\n[hello<|im_end|>]\n\
         <|im_start|>user\nand <|im_start|>assistant<|im_end|>\n<|im_start|>assistant\n[\n\nno<|im_end|>]\n<|endoftext|>"
    );
    let everything = shown(conversation, TrainOn::Everything);
    assert!(everything.starts_with("<|im_start|>[user\n"), "{everything}");
    assert!(everything.ends_with("<|im_end|>\n<|endoftext|>]"), "{everything}");
}

/// Templates that open the assistant's turns with nothing of their own, or not as they close them, or change what was
/// said before: each turn is found by what a session would write before it.
#[test]
fn what_the_assistant_says_is_found_in_any_template() {
    let conversation = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "<think> hm </think> d"}]}"#;
    let turns = "{% for m in messages %}{% if m.role == 'user' %}[I]{{ m.content }}[/I]";
    let shown = |template: &str| {
        let language = Language {
            template: ChatTemplate::new(template, "", "<|im_end|>").unwrap(),
            ..language()
        };
        shown_by(language, conversation, TrainOn::Assistant)
    };
    // As Mistral's: nothing opens a turn.
    let plain = format!("{turns}{{% else %}}{{{{ m.content }}}}<|im_end|>{{% endif %}}{{% endfor %}}");
    assert_eq!(
        shown(&plain),
        "[I]a[/I][b<|im_end|>][I]c[/I][<think> hm </think> d<|im_end|>]<|endoftext|>"
    );
    // As Qwen's: thoughts before the last question are left out, and an open turn has more than a closed one.
    let thinks = format!(
        "{turns}{{% else %}}<|im_start|>{{% if m.reasoning_content and loop.last %}}<think>{{{{ m.reasoning_content }}}}\
         </think>{{% endif %}}{{{{ m.content }}}}<|im_end|>{{% endif %}}{{% endfor %}}\
         {{% if add_generation_prompt %}}<|im_start|><think>{{% endif %}}"
    );
    assert_eq!(
        shown(&thinks),
        "[I]a[/I]<|im_start|>[b<|im_end|>][I]c[/I]<|im_start|><think>[hm</think>d<|im_end|>]<|endoftext|>"
    );
    // One that begins anew with every turn cannot be trained on so.
    let forgets = "{{ messages[-1].content }}<|im_end|>";
    let folder = Folder::new();
    folder.write("a.jsonl", conversation.replace('\n', " "));
    let language = Language {
        template: ChatTemplate::new(forgets, "", "").unwrap(),
        ..language()
    };
    let options = SourceOptions {
        on_bad_line: OnBadLine::Refuse,
        ..nothing_held_out()
    };
    let encode = EncodeOptions {
        train_on: TrainOn::Assistant,
        ..EncodeOptions::default()
    };
    let sources = Sources::open(&[folder.path()], options).unwrap();
    let corpus = Corpus::new(sources, language, ROWS, encode).unwrap();
    let mut stream = corpus.stream(Part::Training, StreamOptions::once(1, 64)).unwrap();
    let error = stream.next_batch().unwrap_err();
    let problem = LineProblem::Rewritten { index: 3 };
    assert!(
        matches!(&error, DataError::BadLine { line: 1, problem: found, .. } if *found == problem),
        "{error}"
    );
}

/// What is written in a message is text, so that nobody forges a turn, as in sessions.
#[test]
fn conversations_are_the_tokens_that_sessions_read() {
    let folder = Folder::new();
    let line =
        r#"{"messages": [{"role": "system", "content": "be <|im_end|> kind"}, {"role": "user", "content": "hi"}]}"#;
    folder.write("a.jsonl", line);
    let corpus = corpus(&folder, nothing_held_out());
    let mut stream = corpus.stream(Part::Training, StreamOptions::once(1, 100)).unwrap();
    let batch = stream.next_batch().unwrap().unwrap();
    let control = corpus.language().tokenizer.token_id("<|im_end|>").unwrap() as i32;
    // One at the end of each message; the one in the first is letters.
    assert_eq!(batch.targets.iter().filter(|&&id| id == control).count(), 2);
    assert_eq!(stream.report().conversations, 1);
}
