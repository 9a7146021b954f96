//! Reads a file of text or of JSON lines as training does: documents, tokens, sequences; again from the middle, and by
//! two ranks.
//!
//! The first byte chooses how the file is read; the rest is the file.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Blueprint, Source};
use halfpi::transformer::Architecture;
use halfpi_data::{
    Batch, Corpus, DataError, EncodeOptions, Language, LongDocuments, Packing, Part, SourceOptions, Sources, Stream,
    StreamOptions, TextDocuments, TrainOn,
};
use libfuzzer_sys::fuzz_target;

/// Tokens of the model that reads.
static ROWS: LazyLock<usize> = LazyLock::new(|| SyntheticModel::tiny(Architecture::Llama).config.vocab_size);

/// Nothing, as a model with a byte-level vocabulary and ChatML reads it with each of the options.
static CORPORA: LazyLock<Vec<Corpus>> = LazyLock::new(|| {
    let file = SyntheticModel::tiny(Architecture::Llama).to_model_file().unwrap();
    let model = Blueprint::of(&Source::from_model_file(file)).unwrap();
    let empty = FOLDER.join("empty.txt");
    fs::write(&empty, "").unwrap();
    let corpus = |choice: u8| {
        let options = EncodeOptions {
            train_on: if choice & 1 == 0 {
                TrainOn::Everything
            } else {
                TrainOn::Assistant
            },
            parse_special: choice & 2 != 0,
            ..EncodeOptions::default()
        };
        let sources = Sources::open(&[&empty], SourceOptions::default()).unwrap();
        Corpus::new(sources, Language::of(&model).unwrap(), *ROWS, options).unwrap()
    };
    (0..4).map(corpus).collect()
});

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("halfpi-fuzz-corpus-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, text)) = bytes.split_first() else {
        return;
    };
    let is = |bit: u8| choice & 1 << bit != 0;
    let file = FOLDER.join(if is(0) { "corpus.txt" } else { "corpus.jsonl" });
    fs::write(&file, text).unwrap();
    let options = SourceOptions {
        text_documents: match choice >> 1 & 3 {
            0 => TextDocuments::File,
            1 => TextDocuments::BlankLine,
            _ => TextDocuments::Line,
        },
        max_line_bytes: if is(3) { 64 } else { 1 << 20 },
        held_out: 0.25,
        ..SourceOptions::default()
    };
    let sources = Sources::open(&[&file], options).unwrap();
    let corpus = CORPORA[usize::from(choice >> 4 & 3)].with_sources(sources);
    let options = StreamOptions {
        packing: if is(6) {
            Packing::WholeDocuments
        } else {
            Packing::Continuous
        },
        long_documents: if is(7) {
            LongDocuments::Drop
        } else {
            LongDocuments::Split
        },
        shuffle: 4,
        epochs: Some(2),
        ..StreamOptions::new(2, 16)
    };
    for part in [Part::Training, Part::HeldOut] {
        let stream = |options: &StreamOptions| corpus.stream(part, options.clone()).unwrap();
        let Some(whole) = all(&mut stream(&options)) else {
            continue;
        };
        for batch in &whole {
            assert!(
                batch
                    .tokens
                    .iter()
                    .chain(&batch.targets)
                    .all(|&token| (token as usize) < *ROWS)
            );
        }
        let mut begun = stream(&options);
        let middle = whole.len() / 2;
        for batch in &whole[..middle] {
            assert_eq!(begun.next_batch().unwrap().as_ref(), Some(batch));
        }
        let mut resumed = stream(&options);
        resumed.resume(&begun.position()).unwrap();
        assert_eq!(all(&mut resumed).unwrap(), whole[middle..]);

        for rank in 0..2 {
            let shared = StreamOptions {
                batch: 1,
                rank,
                world: 2,
                ..options.clone()
            };
            let share = all(&mut stream(&shared)).unwrap();
            assert_eq!(share.len(), whole.len());
            for (share, whole) in share.iter().zip(&whole) {
                assert_eq!(share.tokens, whole.tokens[16 * rank..16 * (rank + 1)]);
            }
        }
    }
});

/// What is left of a stream; `None` if there never was anything.
fn all(stream: &mut Stream) -> Option<Vec<Batch>> {
    let mut batches = Vec::new();
    loop {
        match stream.next_batch() {
            Ok(Some(batch)) => batches.push(batch),
            Ok(None) => return Some(batches),
            Err(DataError::Nothing { .. }) => return None,
            Err(error) => panic!("{error}"),
        }
    }
}
