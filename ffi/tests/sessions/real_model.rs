use crate::common::Ears;
use halfpi::engine::EngineOptions;
use halfpi::sampler::SamplerOptions;
use halfpi::session::{GenerateOptions, SessionOptions};
use halfpi_ffi::{Engine, EngineConfig, GenerationOptions, ModelSource, SessionConfig};
use std::ops::ControlFlow;

/// What a real model says through ffi is what it says to the core, turn after turn.
#[test]
fn a_conversation_with_the_demo_model() {
    let Ok(path) = std::env::var("HALFPI_TEST_MODEL") else {
        eprintln!("skipped: HALFPI_TEST_MODEL is not set");
        return;
    };
    const SYSTEM: &str = "You are a geographer who answers in one sentence.";
    const QUESTIONS: [&str; 2] = ["What is the capital of France?", "Which river flows through it?"];
    let core = halfpi::engine::Engine::open(&path, EngineOptions::default()).unwrap();
    let mut core = core
        .session(SessionOptions {
            system: Some(SYSTEM.to_owned()),
            ..SessionOptions::default()
        })
        .unwrap();
    let engine = Engine::load(ModelSource::Path { path }, EngineConfig::default(), None).unwrap();
    let session = engine
        .session(SessionConfig {
            system: Some(SYSTEM.to_owned()),
            ..SessionConfig::default()
        })
        .unwrap();
    for question in QUESTIONS {
        let options = GenerateOptions {
            sampler: SamplerOptions {
                seed: Some(3),
                ..SamplerOptions::default()
            },
            max_tokens: Some(32),
            ..GenerateOptions::default()
        };
        let expected = core
            .send(question, &options, &mut |_: &str| ControlFlow::Continue(()))
            .unwrap();
        let options = GenerationOptions {
            seed: Some(3),
            max_tokens: Some(32),
            ..GenerationOptions::default()
        };
        let ears = Ears::new();
        let generation = session.generate(question.to_owned(), options, ears.clone()).unwrap();
        let answer = generation.wait().unwrap();
        println!("{question} {}", answer.text);
        assert!(!answer.text.is_empty());
        assert_eq!((&answer.text, &ears.text()), (&expected.text, &expected.text));
        assert_eq!(answer.usage.cached_tokens, expected.usage.cached_tokens as u64);
    }
}
