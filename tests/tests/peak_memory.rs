//! What chatting and packing take of a machine's memory.

use std::env;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{self, Command};

use halfpi::engine::{Engine, EngineOptions};
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::pack::{Format, Options, Source, pack};
use halfpi::session::{GenerateOptions, SessionOptions};
use halfpi::transformer::Architecture;

/// The model, in the process that is measured.
const CHILD: &str = "HALFPI_TEST_IS_MEASURED";
/// What a chat may take besides the file's bytes and the cache's.
const ALLOWED: u64 = 24 << 20;

#[test]
fn a_chat_takes_little_more_than_the_file_and_the_cache() {
    let Some(model) = env::var_os("HALFPI_TEST_MODEL") else {
        println!("SKIPPED: set HALFPI_TEST_MODEL to a GGUF file to run this test");
        return;
    };
    let this = "a_chat_takes_little_more_than_the_file_and_the_cache";
    let work = || format!("cache {}", chat(Path::new(&model)));
    let Some(output) = measured(this, Path::new(&model), work) else {
        return;
    };
    let cache = figure(&output, "cache ");
    let (file, peak) = (fs::metadata(&model).unwrap().len(), figure(&output, "peak "));
    println!(
        "file {file}, cache {cache}, peak {peak}: {} bytes more",
        peak as i64 - (file + cache) as i64
    );
    assert!(peak > file / 2, "the weights themselves are not counted");
    assert!(peak <= file + cache + ALLOWED);
}

#[test]
fn packing_with_a_report_takes_less_than_two_tensors_and_the_output() {
    let this = "packing_with_a_report_takes_less_than_two_tensors_and_the_output";
    let directory = env::temp_dir().join(format!("halfpi-peak-{}", process::id()));
    let path = match env::var_os(CHILD) {
        Some(path) => path.into(),
        None => directory.join("model.gguf"),
    };
    let largest = 16384 * 512 * 4;
    let work = || {
        let source = Source::open(&path).unwrap();
        let options = Options {
            survey: true,
            threads: 4,
            ..Options::new(Format::Q8)
        };
        let output = path.with_extension("packed");
        let report = pack(&source, &options, &output, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(report.tensors.iter().all(|tensor| tensor.weights * 4 <= largest));
        format!("output {}", report.file_bytes)
    };
    if env::var_os(CHILD).is_none() {
        let mut model = SyntheticModel::tiny(Architecture::Llama);
        (model.config.vocab_size, model.config.embedding_length) = (16384, 512);
        (model.config.feed_forward_length, model.config.block_count) = (2048, 4);
        fs::create_dir_all(&directory).unwrap();
        model.save(&path).unwrap();
    }
    if let Some(output) = measured(this, &path, work) {
        let (file, packed) = (fs::metadata(&path).unwrap().len(), figure(&output, "output "));
        let (peak, allowed) = (figure(&output, "peak "), 2 * largest + packed);
        println!("file {file}, largest tensor {largest}, output {packed}, peak {peak}");
        assert!(file > allowed, "a model that may be in memory as a whole shows nothing");
        assert!(peak <= allowed, "{peak} bytes, not at most {allowed}");
    }
    if env::var_os(CHILD).is_none() {
        let _ = fs::remove_dir_all(directory);
    }
}

/// Runs the test `name` in a process of its own, so that nothing of other tests counts, with `path` for [`CHILD`]. There
/// it does `work` and prints what that returns, and its peak. Returns what was printed; `None` in that process, and where
/// nothing can be measured.
fn measured(name: &str, path: &Path, work: impl FnOnce() -> String) -> Option<String> {
    if !cfg!(target_os = "linux") {
        println!("SKIPPED: only Linux tells a process how much memory it took at most");
        return None;
    }
    if env::var_os("QEMU_CPU").is_some() {
        println!("SKIPPED: an emulator's own memory would be counted");
        return None;
    }
    if env::var_os(CHILD).is_some() {
        println!("\n{}\npeak {}", work(), peak());
        return None;
    }
    let mut child = Command::new(env::current_exe().unwrap());
    let child = child.args(["--exact", name, "--nocapture"]).env(CHILD, path);
    let child = child.output().unwrap();
    let output = String::from_utf8_lossy(&child.stdout).into_owned();
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{output}{errors}");
    Some(output)
}

/// The number after `name` in what [`measured`] returned.
fn figure(output: &str, name: &str) -> u64 {
    let line = output.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}in {output}")).parse().unwrap()
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
        .send(&question, &options, &mut |_: &str| ControlFlow::Continue(()))
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
