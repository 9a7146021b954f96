//! The fuzz targets of fuzz/, all at once, each for a bounded time.

use std::collections::VecDeque;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::apt;
use crate::context::Context;
use crate::outcome::{Outcome, Stop, output, run};

const CARGO_FUZZ: &str = "0.13.2";

/// Builds every target, then runs each for HALFPI_FUZZ_SECONDS, as many at a time as there are cores.
pub fn run_all(context: &Context) -> Outcome {
    let seconds = match env::var("HALFPI_FUZZ_SECONDS") {
        Ok(text) => text
            .parse::<u32>()
            .map_err(|_| format!("HALFPI_FUZZ_SECONDS={text} is not a number of seconds"))?,
        Err(_) => 45,
    };
    // libFuzzer is C++.
    apt::require(&[("c++", "g++")])?;
    let tools = install(context)?;
    let targets = output(&mut cargo_fuzz(context, &tools, ["list"]))?;
    let targets: Vec<&str> = targets.lines().collect();
    if targets.is_empty() {
        return Err(Stop::Failed("fuzz/ names no targets".to_string()));
    }
    run(&mut cargo_fuzz(context, &tools, ["build"]))?;

    let logs = context.root.join("target/xtask/fuzz");
    fs::create_dir_all(&logs).map_err(|e| format!("{}: {e}", logs.display()))?;
    let workers = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "fuzzing {} for {seconds} s each, {workers} at a time",
        targets.join(", ")
    );
    let queue = Mutex::new(VecDeque::from(targets));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(target) = lock(&queue).pop_front() {
                    match fuzz(context, &tools, target, seconds, &logs) {
                        Ok(summary) => println!("{target}: {summary}"),
                        Err(failure) => {
                            println!("{target}: {failure}");
                            lock(&failures).push(target);
                        }
                    }
                }
            });
        }
    });
    let failures = lock(&failures);
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Stop::Failed(format!("{} failed, see above", failures.join(", "))))
    }
}

/// Runs one target. Returns libFuzzer's last word, or what it printed from the first error on, which names the
/// input that failed.
fn fuzz(context: &Context, tools: &Path, target: &str, seconds: u32, logs: &Path) -> Result<String, String> {
    let path = logs.join(format!("{target}.log"));
    let io = |e: std::io::Error| format!("{}: {e}", path.display());
    let log = File::create(&path).map_err(io)?;
    let corpus = context.root.join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus).map_err(io)?;
    let mut fuzz = cargo_fuzz(context, tools, ["run", target]);
    fuzz.arg(corpus);
    // Committed inputs, which the fuzzer starts from and does not add to.
    let seeds = context.root.join("tests/corpus").join(target);
    if seeds.is_dir() {
        fuzz.arg(seeds);
    }
    fuzz.arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=10", "-rss_limit_mb=512"]);
    let status = fuzz
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(io)?)
        .stderr(log)
        .status()
        .map_err(io)?;
    let text = String::from_utf8_lossy(&fs::read(&path).map_err(io)?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    match lines.iter().rfind(|line| line.starts_with("Done ")) {
        Some(done) if status.success() => Ok(done.to_string()),
        _ => {
            let begin = lines
                .iter()
                .position(|line| line.contains("panicked at") || line.contains("ERROR: "));
            let first = begin.unwrap_or(lines.len().saturating_sub(60));
            Err(format!(
                "{status}\n{}\nall of it: {}",
                lines[first..].join("\n"),
                path.display()
            ))
        }
    }
}

/// `cargo fuzz ARGS…`.
fn cargo_fuzz<const N: usize>(context: &Context, tools: &Path, args: [&str; N]) -> Command {
    let mut command = Command::new(tools.join("cargo-fuzz"));
    // The sanitizer's flags are for nightly compilers; this lets the stable one take them.
    command
        .arg("fuzz")
        .args(args)
        .current_dir(&context.root)
        .env("RUSTC_BOOTSTRAP", "1");
    command
}

/// The directory of cargo-fuzz's executable, installed if it is not there.
fn install(context: &Context) -> Outcome<PathBuf> {
    let bin = context.cache.join("bin");
    let is_current = Command::new(bin.join("cargo-fuzz"))
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim_end().ends_with(CARGO_FUZZ));
    if !is_current {
        let mut install = context.cargo([
            "install",
            "cargo-fuzz",
            "--version",
            CARGO_FUZZ,
            "--locked",
            "--force",
            "--root",
        ]);
        run(install.arg(&context.cache))?;
    }
    Ok(bin)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
