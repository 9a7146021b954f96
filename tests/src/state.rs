//! Saved conversations of a tiny model, which the fuzzer starts from: `tests/corpus/state`.
//!
//! `HALFPI_BLESS=1 cargo test -p halfpi-tests --test state_corpus` writes them anew.

use halfpi::Result;
use halfpi::engine::{Engine, EngineOptions};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::session::{Session, SessionOptions};
use halfpi::template::{Message, Role};
use halfpi::transformer::Architecture;
use halfpi_kernels::ops::KvElement;
use std::path::PathBuf;

/// Where they are committed.
pub fn corpus_directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "corpus", "state"].iter().collect()
}

/// A session of 64 tokens for each way of storing keys and values, on the smallest model.
///
/// # Errors
/// If the model or a session cannot be made.
pub fn sessions() -> Result<Vec<(&'static str, Session)>> {
    let mut model = SyntheticModel::tiny(Architecture::Llama);
    if let Some(storage) = Storage::by_name("q8_0") {
        model = model.with_storage(storage);
    }
    model.config.block_count = 1;
    let options = EngineOptions {
        threads: Some(1),
        ..EngineOptions::default()
    };
    let engine = Engine::load(model.to_model_file()?, options)?;
    let session = |kv_element| {
        engine.session(SessionOptions {
            context_length: Some(64),
            kv_element,
            ..SessionOptions::default()
        })
    };
    Ok(vec![
        ("f16", session(KvElement::F16)?),
        ("int8", session(KvElement::Int8)?),
    ])
}

/// Names of files, and what is in them.
///
/// # Errors
/// As [`sessions`].
pub fn seeds() -> Result<Vec<(String, Vec<u8>)>> {
    let mut seeds = Vec::new();
    for (name, mut session) in sessions()? {
        for tokens in [0, 3, 17] {
            session.set_messages(vec![
                Message::new(Role::User, "Is this π?"),
                Message::new(Role::Assistant, "No: π/2."),
            ]);
            if tokens > 0 {
                session.prefill(&(5..5 + tokens).collect::<Vec<_>>(), None)?;
            }
            let mut bytes = Vec::new();
            session.save_to(&mut bytes)?;
            seeds.push((format!("{name}_{tokens}"), bytes));
        }
    }
    Ok(seeds)
}

/// The same file with lengths and checksums that are right, so that what they guard is looked at too.
pub fn repaired(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let end = bytes.len().checked_sub(4)?;
    let length = u32::from_le_bytes(*bytes.get(12..)?.first_chunk()?) as usize;
    let header = length.min(end.checked_sub(20)?);
    bytes[12..16].copy_from_slice(&(header as u32).to_le_bytes());
    let sum = crc32fast::hash(&bytes[20..20 + header]);
    bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
    Some(bytes)
}
