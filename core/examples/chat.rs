//! Asks a model two questions and streams its answers: `cargo run --release --example chat -- MODEL.gguf`.

use halfpi::engine::{Engine, EngineOptions};
use halfpi::sampler::SamplerOptions;
use halfpi::session::{GenerateOptions, SessionOptions};
use std::io::Write;
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: chat MODEL.gguf")?;
    let engine = Engine::open(path, EngineOptions::default())?;
    let mut session = engine.session(SessionOptions::default())?;
    let options = GenerateOptions {
        sampler: SamplerOptions::greedy(),
        max_tokens: Some(64),
        ..Default::default()
    };
    for question in ["What is the capital of France?", "And of Italy?"] {
        println!("> {question}");
        let answer = session.send(question, &options, &mut |text| {
            print!("{text}");
            let _ = std::io::stdout().flush();
            ControlFlow::Continue(())
        })?;
        println!("\n[{:?}, {:?}]", answer.finish, answer.usage);
    }
    Ok(())
}
