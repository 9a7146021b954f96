//! What stays in memory: nothing of sessions and engines that are gone, little of what was given back. Linux only.
//!
//! One test, because the memory of the whole process is counted.

use halfpi::engine::{Engine, EngineOptions, TrimLevel};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::sampler::SamplerOptions;
use halfpi::session::{GenerateOptions, SessionOptions};
use halfpi::transformer::Architecture;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

const CYCLES: usize = 1000;
/// What they may add up to, in bytes.
const ALLOWED: i64 = 1 << 20;

#[test]
fn memory_comes_back() {
    if !cfg!(target_os = "linux") {
        println!("SKIPPED: only Linux tells a process how much memory it has");
        return;
    }
    if std::env::var_os("QEMU_CPU").is_some() {
        println!("SKIPPED: an emulator's own memory would be counted");
        return;
    }
    let directory = std::env::temp_dir().join(format!("halfpi-resident-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    cycles_leave_nothing(&directory);
    trimming_gives_back(&directory);
    fs::remove_dir_all(&directory).unwrap();
}

fn cycles_leave_nothing(directory: &Path) {
    let (model, state) = (directory.join("tiny.gguf"), directory.join("chat.hpst"));
    let storage = Storage::by_name("q4_0").unwrap();
    SyntheticModel::tiny(Architecture::Llama)
        .with_storage(storage)
        .save(&model)
        .unwrap();
    let cycle = || {
        let options = EngineOptions {
            threads: Some(2),
            ..EngineOptions::default()
        };
        let engine = Engine::open(&model, options).unwrap();
        let mut session = engine.session(SessionOptions::default()).unwrap();
        let options = GenerateOptions {
            sampler: SamplerOptions::greedy(),
            max_tokens: Some(4),
            ..GenerateOptions::default()
        };
        let mut listener = |_: &str| ControlFlow::Continue(());
        session.send("Hello", &options, &mut listener).unwrap();
        session.save(&state).unwrap();
        session.fork().unwrap().restore(&state).unwrap();
    };
    // The allocator and the system take their own first.
    (0..50).for_each(|_| cycle());
    let before = resident();
    (0..CYCLES).for_each(|_| cycle());
    let grown = resident() - before;
    println!("{CYCLES} times opened, asked, saved, forked, restored, closed: {grown} bytes more");
    assert!(grown < ALLOWED, "{grown} bytes stayed");
}

fn trimming_gives_back(directory: &Path) {
    let path = directory.join("larger.gguf");
    let mut model = SyntheticModel::tiny(Architecture::Llama).with_storage(Storage::by_name("q8").unwrap());
    (model.config.embedding_length, model.config.feed_forward_length) = (512, 2048);
    (model.config.head_dim, model.config.rope_dimension_count) = (128, 128);
    (model.config.vocab_size, model.config.block_count) = (8192, 4);
    model.config.context_length = 8192;
    model.save(&path).unwrap();
    let engine = Engine::open(&path, EngineOptions::default()).unwrap();
    let mut session = engine.session(SessionOptions::default()).unwrap();
    let tokens: Vec<u32> = (0..4000).map(|i| i % 200).collect();
    session.prefill(&tokens, None).unwrap();

    let report = engine.memory();
    assert!(report.resident_bytes.unwrap().abs_diff(resident() as u64) < 1 << 20);
    let (file, cache) = (report.file_bytes as i64, report.sessions[0].cached_bytes as i64);
    assert!(file > 20 << 20 && cache > 10 << 20, "{report:?}");
    let full = resident();
    engine.trim(TrimLevel::Moderate);
    let moderate = resident();
    engine.trim(TrimLevel::Critical);
    let critical = resident();
    println!(
        "file {file}, cache {cache}: {full} in memory, {moderate} after a moderate trim, {critical} after a critical one"
    );
    // (Nearly: pages at edges, and what the reporting itself takes.)
    assert!(full - moderate > file * 9 / 10, "the file's pages are still there");
    assert!(moderate - critical > cache * 9 / 10, "the cache is still there");
    session.prefill(&tokens, None).unwrap();
    assert_eq!(session.cached_tokens(), tokens);
}

/// Bytes of this process in memory.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: i64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * page_bytes()
}

/// What a page has: `VmRSS` counts the same in kilobytes.
fn page_bytes() -> i64 {
    // The value of AT_PAGESZ (6) in the auxiliary vector.
    let words: Vec<u64> = fs::read("/proc/self/auxv")
        .unwrap()
        .chunks_exact(size_of::<usize>())
        .map(|word| word.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
        .collect();
    words.chunks_exact(2).find(|pair| pair[0] == 6).unwrap()[1] as i64
}
