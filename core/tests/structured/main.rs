//! Answers held to a JSON schema, on random models: whatever the weights, the text satisfies the schema.

mod refused;
mod schemas;

use halfpi::constrain::Constraint;
use halfpi::engine::{Engine, EngineOptions};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::sampler::SamplerOptions;
use halfpi::session::{Answer, FinishReason, GenerateOptions, SessionOptions};
use halfpi::transformer::Architecture;
use schemas::{Random, random_schema, satisfies};
use serde_json::{Value, json};
use std::ops::ControlFlow;

fn engine() -> Engine {
    let model = SyntheticModel::tiny(Architecture::Qwen3).with_storage(Storage::by_name("q4_0").unwrap());
    let options = EngineOptions {
        threads: Some(1),
        ..EngineOptions::default()
    };
    Engine::load(model.to_model_file().unwrap(), options).unwrap()
}

fn options(schema: &Value, seed: u64, max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        sampler: SamplerOptions {
            temperature: 1.5,
            seed: Some(seed),
            ..SamplerOptions::default()
        },
        max_tokens: Some(max_tokens),
        constraint: Some(Constraint::json_schema(&schema.to_string()).unwrap()),
        ..GenerateOptions::default()
    }
}

fn ask(engine: &Engine, options: &GenerateOptions) -> Answer {
    let mut session = engine.session(SessionOptions::default()).unwrap();
    let mut streamed = String::new();
    let answer = session.send("Describe a cat as JSON.", options, &mut |text: &str| {
        streamed.push_str(text);
        ControlFlow::Continue(())
    });
    let answer = answer.unwrap();
    assert_eq!(streamed, answer.text);
    answer
}

fn cat() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "color": {"enum": ["black", "white", "ginger"]},
            "lives": {"type": "integer", "minimum": 1, "maximum": 9},
            "toys": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{1,5}$"}, "maxItems": 3}
        },
        "required": ["name", "color", "lives", "toys"],
        "additionalProperties": false
    })
}

#[test]
fn random_models_satisfy_random_schemas() {
    let engine = engine();
    let (mut complete, mut kinds) = (0, [0; 4]);
    for seed in 0..120 {
        let schema = random_schema(&mut Random::new(seed), 3);
        let answer = ask(&engine, &options(&schema, seed, 600));
        if answer.finish == FinishReason::MaxTokens {
            continue;
        }
        assert_eq!(answer.finish, FinishReason::EndOfTurn);
        let value: Value =
            serde_json::from_str(&answer.text).unwrap_or_else(|e| panic!("{e}: {} for {schema}", answer.text));
        satisfies(&value, &schema).unwrap_or_else(|e| panic!("{e}: {value} for {schema}"));
        complete += 1;
        kinds[match value {
            Value::Object(_) => 0,
            Value::Array(_) => 1,
            Value::String(_) => 2,
            _ => 3,
        }] += 1;
    }
    assert!(
        complete > 100 && kinds.iter().all(|&count| count > 2),
        "{complete} of 120: {kinds:?}"
    );
}

#[test]
fn every_tokenizer_and_architecture_follows() {
    for architecture in Architecture::ALL {
        let model = SyntheticModel::tiny(architecture);
        let engine = Engine::load(model.to_model_file().unwrap(), EngineOptions::default()).unwrap();
        let answer = ask(&engine, &options(&cat(), 7, 400));
        assert_eq!(answer.finish, FinishReason::EndOfTurn, "{}", answer.text);
        satisfies(&serde_json::from_str(&answer.text).unwrap(), &cat()).unwrap();
    }
}

/// All ways to choose tokens choose among those that are allowed.
#[test]
fn every_sampler_follows() {
    let engine = engine();
    let samplers = [
        SamplerOptions::greedy(),
        SamplerOptions {
            temperature: 50.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..SamplerOptions::default()
        },
        SamplerOptions {
            repetition_penalty: 5.0,
            frequency_penalty: 3.0,
            presence_penalty: -3.0,
            top_k: 1,
            ..SamplerOptions::default()
        },
    ];
    for sampler in samplers {
        let options = GenerateOptions {
            sampler: SamplerOptions {
                seed: Some(3),
                ..sampler
            },
            ..options(&cat(), 0, 400)
        };
        let answer = ask(&engine, &options);
        assert_eq!(answer.finish, FinishReason::EndOfTurn, "{}", answer.text);
        satisfies(&serde_json::from_str(&answer.text).unwrap(), &cat()).unwrap();
    }
}

#[test]
fn an_answer_that_is_cut_is_the_beginning_of_one() {
    let engine = engine();
    let whole = ask(&engine, &options(&cat(), 1, 400));
    assert_eq!(whole.finish, FinishReason::EndOfTurn);
    for most in 1..whole.usage.generated_tokens {
        let cut = ask(&engine, &options(&cat(), 1, most));
        assert_eq!(cut.finish, FinishReason::MaxTokens);
        assert!(whole.text.starts_with(cut.text.trim_end_matches('\u{fffd}')));
        assert!(serde_json::from_str::<Value>(&cut.text).is_err());
    }
}

/// The constraint of one answer is none of the next.
#[test]
fn answers_without_a_constraint_are_as_before() {
    let engine = engine();
    let free = |session: &mut halfpi::session::Session| {
        session.reset();
        let options = GenerateOptions {
            constraint: None,
            ..options(&cat(), 5, 30)
        };
        let answer = session.send("Hello", &options, &mut |_: &str| ControlFlow::Continue(()));
        answer.unwrap().text
    };
    let mut session = engine.session(SessionOptions::default()).unwrap();
    let before = free(&mut session);
    session
        .send("Hello", &options(&cat(), 5, 400), &mut |_: &str| {
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(free(&mut session), before);
}

/// Nothing but a value of the schema: what a stop text cuts is reported as such.
#[test]
fn stop_texts_still_stop() {
    let engine = engine();
    let options = GenerateOptions {
        stop: vec!["color".into()],
        ..options(&cat(), 2, 400)
    };
    let answer = ask(&engine, &options);
    assert_eq!(answer.finish, FinishReason::StopString);
    assert!(
        answer.text.starts_with('{') && answer.text.ends_with('"'),
        "{}",
        answer.text
    );
}

/// With trained weights the content makes sense too.
#[test]
fn a_real_model_fills_in_a_form() {
    let Some(path) = std::env::var_os("HALFPI_TEST_MODEL") else {
        println!("SKIPPED: set HALFPI_TEST_MODEL to a GGUF file of a chat model");
        return;
    };
    let engine = Engine::open(path, EngineOptions::default()).unwrap();
    let schema = json!({
        "type": "object",
        "properties": {
            "country": {"type": "string", "maxLength": 40},
            "capital": {"type": "string", "maxLength": 40},
            "inhabitants": {"type": "integer", "minimum": 0},
            "continent": {"enum": ["Africa", "America", "Asia", "Europe", "Oceania"]}
        },
        "required": ["country", "capital", "inhabitants", "continent"],
        "additionalProperties": false
    });
    let mut session = engine.session(SessionOptions::default()).unwrap();
    let options = GenerateOptions {
        sampler: SamplerOptions::greedy(),
        ..options(&schema, 0, 200)
    };
    let question = "Describe France as JSON with its capital, its inhabitants and its continent.";
    let answer = session.send(question, &options, &mut |_: &str| ControlFlow::Continue(()));
    let answer = answer.unwrap();
    assert_eq!(answer.finish, FinishReason::EndOfTurn, "{}", answer.text);
    let value: Value = serde_json::from_str(&answer.text).unwrap();
    satisfies(&value, &schema).unwrap();
    println!("{value}");
    for seed in 0..10 {
        let schema = random_schema(&mut Random::new(seed), 2);
        session.reset();
        let answer = session.send(
            "Make up an example.",
            &self::options(&schema, seed, 300),
            &mut |_: &str| ControlFlow::Continue(()),
        );
        let answer = answer.unwrap();
        if answer.finish == FinishReason::EndOfTurn {
            let value = serde_json::from_str(&answer.text).unwrap_or_else(|e| panic!("{e}: {}", answer.text));
            satisfies(&value, &schema).unwrap_or_else(|e| panic!("{e}: {value} for {schema}"));
        } else {
            assert_eq!(answer.finish, FinishReason::MaxTokens);
        }
    }
}
