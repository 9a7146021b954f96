//! A conversation that outlives the app: saved with its cache, taken up again, and forked.
//!
//! `cargo run --release -p halfpi --example saved -- MODEL.gguf`

use halfpi::engine::{Engine, EngineOptions, TrimLevel};
use halfpi::gguf::ModelFile;
use halfpi::model::ModelInfo;
use halfpi::sampler::SamplerOptions;
use halfpi::session::{Answer, GenerateOptions, Session, SessionOptions};
use std::fs;
use std::io::{Write, stdout};
use std::ops::ControlFlow;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: saved MODEL.gguf")?;
    let mut out = stdout();

    // What it takes is known before anything is loaded.
    let mut options = EngineOptions::default();
    let session_options = SessionOptions {
        context_length: Some(2048),
        system: Some(format!(
            "You are a guide. {}",
            "Answer in one short sentence. ".repeat(170)
        )),
        ..SessionOptions::default()
    };
    let file = ModelFile::open(&path)?;
    let needed = ModelInfo::of(&file, &options)?.memory_needed(&options, &session_options)?;
    // Room for two sessions: the second takes up what the first has saved.
    options.memory_budget = Some(needed.total() + needed.session);
    writeln!(out, "needed: {} MB", needed.total() >> 20)?;

    let engine = Engine::load_with(file, options, &mut |progress| {
        let shown = write!(stdout(), "\rloading {:.0}%", 100.0 * progress.fraction());
        if shown.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;

    let mut session = engine.session(session_options.clone())?;
    let answer = ask(&mut session, "What is the capital of France?")?;
    let (read, took) = (answer.usage.prefill_tokens, answer.usage.prefill);
    writeln!(out, "\n> {}\n[{read} tokens read in {took:.0?}]", answer.text)?;

    let saved = std::env::temp_dir().join(format!("halfpi-example-{}.hpst", std::process::id()));
    let start = Instant::now();
    session.save(&saved)?;
    let (took, bytes) = (start.elapsed(), fs::metadata(&saved)?.len());
    writeln!(out, "[saved: {bytes} bytes in {took:.1?}]")?;

    // The app was killed meanwhile. (The first time, the model's fingerprint had to be made.)
    let mut later = engine.session(session_options)?;
    let start = Instant::now();
    later.restore(&saved)?;
    writeln!(out, "[restored in {:.1?}]", start.elapsed())?;
    fs::remove_file(&saved)?;
    let answer = ask(&mut later, "And of Italy?")?;
    let (cached, read) = (answer.usage.cached_tokens, answer.usage.prefill_tokens);
    writeln!(out, "> {}\n[{cached} tokens known already, {read} read]", answer.text)?;
    assert_eq!(answer.text, ask(&mut session, "And of Italy?")?.text);

    // The system is short of memory: the text stays, the cache goes.
    drop(later);
    engine.trim(TrimLevel::Critical);
    writeln!(out, "[{} tokens cached after a trim]", session.cached_tokens().len())?;
    Ok(())
}

fn ask(session: &mut Session, question: &str) -> halfpi::Result<Answer> {
    let options = GenerateOptions {
        sampler: SamplerOptions::greedy(),
        max_tokens: Some(32),
        ..GenerateOptions::default()
    };
    session.send(question, &options, &mut |_: &str| ControlFlow::Continue(()))
}
