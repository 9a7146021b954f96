//! A model that may ask for the weather: `cargo run --release -p halfpi --example tools -- MODEL.gguf`.
//!
//! Small models call tools rarely, and not always well; Qwen3 does it from 0.6 billion parameters on.

use halfpi::engine::{Engine, EngineOptions};
use halfpi::sampler::SamplerOptions;
use halfpi::session::{GenerateOptions, Listener, SessionOptions};
use halfpi::template::{Message, Role};
use halfpi::tools::{ToolCall, ToolDeclaration};
use std::io::{Write, stdout};
use std::ops::ControlFlow;

/// Calls and thoughts come apart from the text.
struct Printer;

impl Listener for Printer {
    fn on_text(&mut self, text: &str) -> ControlFlow<()> {
        print!("{text}");
        // A print that fails is found out with the next line.
        let _ = stdout().flush();
        ControlFlow::Continue(())
    }

    fn on_thinking(&mut self, text: &str) -> ControlFlow<()> {
        eprint!("{text}");
        ControlFlow::Continue(())
    }

    fn on_tool_call(&mut self, call: &ToolCall) -> ControlFlow<()> {
        println!("[{} {}]", call.name, call.arguments);
        ControlFlow::Continue(())
    }
}

/// The app's side: arguments are what a model wrote, so nothing about them is certain.
fn run(call: &ToolCall) -> String {
    let arguments: serde_json::Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    match (call.name.as_str(), arguments["city"].as_str()) {
        ("weather", Some(city)) => format!("Sunny and 24 degrees in {city}."),
        ("weather", None) => "error: the argument city is missing".into(),
        (name, _) => format!("error: there is no tool {name}"),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: tools MODEL.gguf")?;
    let engine = Engine::open(path, EngineOptions::default())?;
    println!(
        "the template has a place for tools: {}",
        engine.template().supports_tools()
    );
    let mut session = engine.session(SessionOptions {
        tools: vec![ToolDeclaration {
            name: "weather".into(),
            description: "The weather in a city, now.".into(),
            parameters: r#"{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}"#
                .into(),
        }],
        ..SessionOptions::default()
    })?;
    let options = GenerateOptions {
        sampler: SamplerOptions::greedy(),
        max_tokens: Some(128),
        ..GenerateOptions::default()
    };
    let mut answer = session.send("What is the weather in Rome?", &options, &mut Printer)?;
    // A model could ask forever.
    for _ in 0..4 {
        if answer.tool_calls.is_empty() {
            break;
        }
        let results = answer.tool_calls.iter().map(|call| Message::new(Role::Tool, run(call)));
        answer = session.send_messages(results.collect(), &options, &mut Printer)?;
    }
    println!("\n[{:?}]", answer.finish);
    Ok(())
}
