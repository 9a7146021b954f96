//! Fills in a form: `cargo run --release -p halfpi --example structured -- MODEL.gguf`.

use halfpi::constrain::Constraint;
use halfpi::engine::{Engine, EngineOptions};
use halfpi::sampler::SamplerOptions;
use halfpi::session::{FinishReason, GenerateOptions, SessionOptions};
use serde::Deserialize;
use std::ops::ControlFlow;

/// The answer has no more than these, in this order.
const SCHEMA: &str = r#"{
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "people": {"type": "integer", "minimum": 1, "maximum": 20},
        "day": {"enum": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]}
    },
    "required": ["name", "people", "day"],
    "additionalProperties": false
}"#;

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "it is only printed")]
struct Booking {
    name: String,
    people: u32,
    day: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: structured MODEL.gguf")?;
    let engine = Engine::open(path, EngineOptions::default())?;
    let mut session = engine.session(SessionOptions::default())?;
    let options = GenerateOptions {
        sampler: SamplerOptions::greedy(),
        max_tokens: Some(200),
        constraint: Some(Constraint::json_schema(SCHEMA)?),
        ..GenerateOptions::default()
    };
    // The constraint holds the model to the form; the question has to say what it is about.
    let question =
        "Hi, this is Ada. A table for four on Friday, please.\n\nWrite the booking as JSON: name, people, day.";
    let answer = session.send(question, &options, &mut |_: &str| ControlFlow::Continue(()))?;
    if answer.finish != FinishReason::EndOfTurn {
        return Err(format!("the answer was cut: {:?}", answer.finish).into());
    }
    println!("{}", answer.text);
    let booking: Booking = serde_json::from_str(&answer.text)?;
    println!("{booking:?}");
    Ok(())
}
