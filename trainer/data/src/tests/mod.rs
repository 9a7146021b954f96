//! The way from files to batches, whole.

mod chats;
mod sources;
mod stream;

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
