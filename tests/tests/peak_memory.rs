//! What a chat with the real model takes of a machine's memory.

use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use halfpi::engine::{Engine, EngineOptions};
use halfpi::session::{GenerateOptions, SessionOptions};

/// Set in the process that is measured.
const CHILD: &str = "HALFPI_TEST_IS_MEASURED";
/// What halfpi may take besides the file's bytes and the cache's.
const ALLOWED: u64 = 24 << 20;

#[test]
fn a_chat_takes_little_more_than_the_file_and_the_cache() {
    let Some(model) = env::var_os("HALFPI_TEST_MODEL") else {
        println!("SKIPPED: set HALFPI_TEST_MODEL to a GGUF file to run this test");
        return;
    };
    if !cfg!(target_os = "linux") {
        println!("SKIPPED: only Linux tells a process how much memory it took at most");
        return;
    }
    if env::var_os(CHILD).is_some() {
        let cache = chat(Path::new(&model));
        println!("\ncache {cache}\npeak {}", peak());
        return;
    }
    // A process of its own, so that nothing of other tests counts.
    let child = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "a_chat_takes_little_more_than_the_file_and_the_cache",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{output}{}",
        String::from_utf8_lossy(&child.stderr)
    );
    let figure = |name: &str| -> u64 {
        let line = output.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}in {output}")).parse().unwrap()
    };
    let (file, cache, peak) = (fs::metadata(&model).unwrap().len(), figure("cache "), figure("peak "));
    println!(
        "file {file}, cache {cache}, peak {peak}: {} bytes more",
        peak as i64 - (file + cache) as i64
    );
    assert!(peak > file / 2, "the weights themselves are not counted");
    assert!(peak <= file + cache + ALLOWED);
}

/// A turn whose prompt and answer fill most of the cache. Returns the cache's bytes.
fn chat(model: &Path) -> u64 {
    let engine = Engine::open(model, EngineOptions::default()).unwrap();
    let options = SessionOptions {
        context_length: Some(2048),
        ..SessionOptions::default()
    };
    let mut session = engine.session(options).unwrap();
    let options = GenerateOptions {
        max_tokens: Some(32),
        ..GenerateOptions::default()
    };
    let question = "Sum up what follows. ".repeat(350);
    let answer = session
        .send(&question, &options, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert!(answer.usage.generated_tokens > 0);
    assert!((1500..2048).contains(&session.cached_tokens().len()));
    session.kv_bytes() as u64
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
