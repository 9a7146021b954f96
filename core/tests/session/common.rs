//! Tiny models, engines and questions.

use halfpi::engine::{Engine, EngineOptions};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::sampler::SamplerOptions;
use halfpi::session::{Answer, GenerateOptions, Overflow, Session, SessionOptions};
use halfpi::template::{Message, Role};
use halfpi::tokenizer::Special;
use halfpi::transformer::Architecture;
use std::ops::ControlFlow;

pub const LONG: &str = "Tell me about the time when you had more to say than there was room for, and how it ended.";

pub fn storage(name: &str) -> Storage {
    Storage::by_name(name).unwrap()
}

pub fn tiny() -> SyntheticModel {
    SyntheticModel::tiny(Architecture::Llama).with_storage(storage("q4_0"))
}

pub fn engine_of(model: &SyntheticModel, options: EngineOptions) -> Engine {
    Engine::load(model.to_model_file().unwrap(), options).unwrap()
}

/// A tiny model on one thread, which reads prompts in chunks of 16.
pub fn engine() -> Engine {
    engine_of(&tiny(), one_thread())
}

pub fn one_thread() -> EngineOptions {
    EngineOptions {
        threads: Some(1),
        prefill_chunk: 16,
        ..EngineOptions::default()
    }
}

pub fn session(engine: &Engine) -> Session {
    engine.session(SessionOptions::default()).unwrap()
}

pub fn short_session(engine: &Engine, context_length: usize, overflow: Overflow) -> Session {
    let options = SessionOptions {
        context_length: Some(context_length),
        overflow,
        system: Some("Be brief.".into()),
        ..SessionOptions::default()
    };
    engine.session(options).unwrap()
}

pub fn greedy(max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        sampler: SamplerOptions::greedy(),
        max_tokens: Some(max_tokens),
        ..GenerateOptions::default()
    }
}

pub fn seeded(seed: u64, max_tokens: usize) -> GenerateOptions {
    let sampler = SamplerOptions {
        temperature: 1.0,
        seed: Some(seed),
        ..SamplerOptions::default()
    };
    GenerateOptions {
        sampler,
        ..greedy(max_tokens)
    }
}

/// Asks, and checks that what was streamed is the answer.
pub fn send(session: &mut Session, text: &str, options: &GenerateOptions) -> Answer {
    let mut streamed = String::new();
    let answer = session.send(text, options, &mut |piece: &str| {
        assert!(!piece.is_empty());
        streamed.push_str(piece);
        ControlFlow::Continue(())
    });
    let answer = answer.unwrap();
    assert_eq!(streamed, answer.text);
    answer
}

pub fn respond(session: &mut Session, messages: &[Message], options: &GenerateOptions) -> Answer {
    session
        .respond(messages, options, &mut |_: &str| ControlFlow::Continue(()))
        .unwrap()
}

pub fn user(text: &str) -> Message {
    Message::new(Role::User, text)
}

pub fn assistant(text: &str) -> Message {
    Message::new(Role::Assistant, text)
}

/// The tokens of a conversation that waits for an answer, found apart from the session.
pub fn prompt(engine: &Engine, messages: &[Message]) -> Vec<u32> {
    let text = engine.template().render(messages, true).unwrap();
    engine.tokenizer().encode(&text, Special::Parse)
}

pub fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Scores to compare bit for bit.
pub fn bits(logits: &[f32]) -> Vec<u32> {
    assert!(logits.iter().all(|score| score.is_finite()));
    logits.iter().map(|score| score.to_bits()).collect()
}

/// What a session that has read nothing says of the tokens.
pub fn fresh_logits(engine: &Engine, tokens: &[u32]) -> Vec<u32> {
    let mut fresh = session(engine);
    assert_eq!(fresh.prefill(tokens, None).unwrap(), Some(0));
    bits(fresh.logits())
}
