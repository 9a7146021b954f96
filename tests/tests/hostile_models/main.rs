//! Valid GGUF files that are no models, models with broken parts, and damage of all kinds: each is refused with an
//! error that says what is wrong and in which file, or runs; nothing panics.

mod changed;
mod damage;
mod files;
mod metadata;
mod packed;
mod tensors;
mod tokenizer;

use halfpi::Error;
use halfpi::engine::{Engine, EngineOptions};
use halfpi::gguf::ModelFile;
use halfpi::sampler::SamplerOptions;
use halfpi::session::{Answer, GenerateOptions, SessionOptions};
use halfpi_tests::alloc::CountingAllocator;
use std::ops::ControlFlow;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The file must be refused with an error that matches.
macro_rules! refused {
    ($file:expr, $pattern:pat $(if $guard:expr)?) => {{
        let error = crate::load($file).map(drop).expect_err("this model must be refused");
        crate::assert_readable(&error);
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
    }};
}
use refused;

fn load(file: impl AsRef<[u8]>) -> Result<Engine, Error> {
    Engine::load(ModelFile::from_bytes(file)?, one_thread())
}

fn one_thread() -> EngineOptions {
    EngineOptions {
        threads: Some(1),
        ..EngineOptions::default()
    }
}

/// A message for people: not empty, not endless, nothing that a terminal obeys.
fn assert_readable(error: &Error) {
    let message = error.to_string();
    assert!(
        (15..600).contains(&message.len()) && !message.contains(char::is_control),
        "{message:?}"
    );
}

fn generate(engine: &Engine) -> Result<Answer, Error> {
    let options = GenerateOptions {
        sampler: SamplerOptions::greedy(),
        max_tokens: Some(4),
        ..GenerateOptions::default()
    };
    let mut session = engine.session(SessionOptions::default())?;
    session.send("Hello", &options, &mut |_: &str| ControlFlow::Continue(()))
}
