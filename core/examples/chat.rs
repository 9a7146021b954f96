//! A conversation of two turns, streamed: `cargo run --release -p halfpi --example chat -- MODEL.gguf`.

use halfpi::engine::{Engine, EngineOptions};
use halfpi::sampler::SamplerOptions;
use halfpi::session::{GenerateOptions, SessionOptions};
use std::io::{Write, stdout};
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: chat MODEL.gguf")?;
    // Heavy: maps the file, checks all of it, packs what needs packing. All sessions share it.
    let engine = Engine::open(path, EngineOptions::default())?;
    // Light: has its own memory of what was said.
    let mut session = engine.session(SessionOptions::default())?;
    session.prewarm()?;

    let options = GenerateOptions {
        sampler: SamplerOptions::greedy(),
        max_tokens: Some(64),
        ..GenerateOptions::default()
    };
    for question in ["What is the capital of France?", "And of Italy?"] {
        writeln!(stdout(), "> {question}")?;
        let answer = session.send(question, &options, &mut |text: &str| {
            let written = write!(stdout(), "{text}").and_then(|()| stdout().flush());
            match written {
                Ok(()) => ControlFlow::Continue(()),
                // Nobody listens any more.
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        let usage = answer.usage;
        writeln!(
            stdout(),
            "\n[{:?}: {} tokens read, {} known already; {} said, {:.0} a second]",
            answer.finish,
            usage.prefill_tokens,
            usage.cached_tokens,
            usage.generated_tokens,
            usage.decode_tokens_per_second()
        )?;
    }
    Ok(())
}
