//! Schemas that answers cannot be held to, each with its reason.

use crate::{ask, engine, options};
use halfpi::Error;
use halfpi::constrain::{Constraint, SchemaError};
use halfpi::session::{GenerateOptions, SessionOptions};
use serde_json::{Value, json};
use std::ops::ControlFlow;

fn refusal(schema: &str) -> SchemaError {
    match Constraint::json_schema(schema) {
        Ok(_) => panic!("{} was accepted", &schema[..schema.len().min(200)]),
        Err(error) => error,
    }
}

#[test]
fn what_is_not_json() {
    match refusal("{\n \"type\": }") {
        SchemaError::NotJson { line, column, detail } => {
            assert_eq!((line, column), (2, 10), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(refusal(""), SchemaError::NotJson { .. }));
    // Nested deeper than any parser should follow.
    assert!(matches!(
        refusal(&"{\"items\":".repeat(100_000)),
        SchemaError::TooComplex { .. }
    ));
    assert!(matches!(
        refusal(&"{\"items\":".repeat(10_000)),
        SchemaError::NotJson { .. }
    ));
}

#[test]
fn what_cannot_be_satisfied() {
    for (schema, word) in [
        (json!({"type": "integer", "minimum": 5, "maximum": 3}), "minimum"),
        (
            json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
            "'a'",
        ),
        (json!({"allOf": [{"type": "string"}, {"type": "integer"}]}), "types"),
        (json!({"type": "string", "pattern": "^a$", "minLength": 3}), ""),
        (json!(false), "false"),
        (json!({"anyOf": []}), ""),
    ] {
        match refusal(&schema.to_string()) {
            SchemaError::Unsatisfiable { detail } => assert!(detail.contains(word), "{schema}: {detail}"),
            other => panic!("{schema}: {other:?}"),
        }
    }
}

/// Values that contain themselves are fine as long as they can end.
#[test]
fn what_contains_itself() {
    let object = |value: Value| json!({"type": "object", "properties": {"next": value}, "required": ["next"]});
    let list = |least: u64, items: Value| json!({"type": "array", "minItems": least, "items": items});
    let root = json!({"$ref": "#"});
    let defined = |first: Value, second: Value| json!({"$ref": "#/$defs/a", "$defs": {"a": first, "b": second}});
    let (a, b) = (json!({"$ref": "#/$defs/a"}), json!({"$ref": "#/$defs/b"}));
    for endless in [
        root.clone(),
        object(root.clone()),
        list(1, root.clone()),
        object(list(2, root.clone())),
        defined(object(b.clone()), list(1, a.clone())),
        json!({"anyOf": [object(root.clone()), list(1, root.clone())]}),
    ] {
        assert!(
            matches!(refusal(&endless.to_string()), SchemaError::Unsatisfiable { .. }),
            "{endless}"
        );
    }
    for ending in [
        json!({"type": "object", "properties": {"next": root}}),
        list(0, root.clone()),
        object(json!({"anyOf": [{"type": "null"}, root]})),
        defined(object(b.clone()), list(0, a.clone())),
        defined(json!({"anyOf": [a.clone(), {"type": "integer"}]}), b),
    ] {
        assert!(Constraint::json_schema(&ending.to_string()).is_ok(), "{ending}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    for (schema, word) in [
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"not": {"type": "string"}}), "not"),
        (json!({"if": {"type": "string"}, "then": {"minLength": 3}}), "if"),
        (json!({"type": "frob"}), "frob"),
        (json!({"type": "string", "format": "frob"}), "frob"),
        (
            json!({"$ref": "https://example.com/schema"}),
            "https://example.com/schema",
        ),
        (json!({"$ref": "#/$defs/missing"}), "missing"),
        (json!({"type": "string", "pattern": "("}), ""),
        (json!(5), "object"),
        (json!("type"), "object"),
    ] {
        match refusal(&schema.to_string()) {
            SchemaError::Unsupported { detail } => assert!(detail.contains(word), "{schema}: {detail}"),
            other => panic!("{schema}: {other:?}"),
        }
    }
}

/// An author of schemas gets no switches of the compiler.
#[test]
fn options_in_a_schema_are_not_followed() {
    let schema = json!({"type": "array", "uniqueItems": true, "x-guidance": {"lenient": true}});
    assert!(matches!(refusal(&schema.to_string()), SchemaError::Unsupported { .. }));
}

fn repeated(count: usize, item: impl Fn(usize) -> Value) -> Vec<Value> {
    (0..count).map(item).collect()
}

/// Schemas that would take forever, or all memory: refused, or followed with little of both. They run on the stack of
/// a phone's background thread.
#[test]
fn hostile_schemas_end() {
    let options_of = |k: usize| {
        let option = move |i| json!({"type": "object", "properties": {format!("p{k}_{i}"): {"type": "integer"}}, "required": [format!("p{k}_{i}")]});
        json!({"anyOf": repeated(8, option)})
    };
    let mut deep = json!({"type": "null"});
    for _ in 0..60 {
        deep = json!({"type": "object", "properties": {"a": deep}, "required": ["a"], "additionalProperties": false});
    }
    let hostile = [
        ("product of options", json!({"allOf": repeated(9, options_of)})),
        ("one large multiple", json!({"type": "integer", "multipleOf": 999_983})),
        (
            "many multiples",
            json!({"anyOf": repeated(50, |i| json!({"type": "integer", "multipleOf": 901 + 2 * i}))}),
        ),
        ("many properties", {
            let properties: serde_json::Map<_, _> = (0..9000).map(|i| (format!("p{i}"), json!({}))).collect();
            json!({"type": "object", "properties": properties})
        }),
        (
            "many values",
            json!({"enum": repeated(20_000, |i| json!(format!("{i}")))}),
        ),
        (
            "exponential pattern",
            json!({"type": "string", "pattern": "^(a|b)*a(a|b){200}$"}),
        ),
        (
            "repeated repetitions",
            json!({"type": "string", "pattern": "((a{0,500}){0,500}){0,500}b"}),
        ),
        (
            "patterns at once",
            json!({"type": "string", "allOf": repeated(9, |i| json!({"pattern": format!("a.{{{}}}b", 20 + i)}))}),
        ),
        ("endless reference", json!({"$ref": "#"})),
        (
            "references at once",
            json!({"$ref": "#/$defs/a", "$defs": {
                "a": {"allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]},
                "b": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}
            }}),
        ),
        ("a long chain of references", {
            let link = |i: usize| match i {
                2999 => (format!("d{i:05}"), json!({"type": "null"})),
                i => (format!("d{i:05}"), json!({"$ref": format!("#/$defs/d{:05}", i + 1)})),
            };
            let defs: serde_json::Map<_, _> = (0..3000).map(link).collect();
            json!({"$ref": "#/$defs/d00000", "$defs": defs})
        }),
        (
            "long string",
            json!({"type": "string", "minLength": 1_000_000_000, "maxLength": 2_000_000_000}),
        ),
        (
            "long array",
            json!({"type": "array", "items": {}, "minItems": 1_000_000_000}),
        ),
        ("deep", deep),
    ];
    let engine = engine();
    let (mut refused, mut followed) = (0, 0);
    for (name, schema) in hostile {
        let text = schema.to_string();
        let engine = engine.clone();
        let run = move || {
            let options = GenerateOptions {
                constraint: Some(Constraint::json_schema(&text)?),
                ..options(&json!({}), 3, 40)
            };
            let mut session = engine.session(SessionOptions::default())?;
            session.send("Hello", &options, &mut |_: &str| ControlFlow::Continue(()))
        };
        let thread = std::thread::Builder::new().stack_size(512 * 1024).spawn(run).unwrap();
        match thread.join().unwrap() {
            Ok(_) => followed += 1,
            Err(Error::Schema(error)) => {
                println!("{name}: {error}");
                refused += 1;
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert!(refused > 4 && followed > 2, "{refused} refused, {followed} followed");
}

/// After a refusal the engine goes on as if it had not been asked.
#[test]
fn a_refusal_changes_nothing() {
    let engine = engine();
    let mut session = engine.session(SessionOptions::default()).unwrap();
    // Too much only when it comes to the first token.
    let properties: serde_json::Map<_, _> = (0..9000).map(|i| (format!("p{i}"), json!({}))).collect();
    let schema = json!({"type": "object", "properties": properties}).to_string();
    let demanding = GenerateOptions {
        constraint: Some(Constraint::json_schema(&schema).unwrap()),
        ..GenerateOptions::default()
    };
    let result = session.send("Hello", &demanding, &mut |_: &str| ControlFlow::Continue(()));
    assert!(
        matches!(result, Err(Error::Schema(SchemaError::TooComplex { .. }))),
        "{result:?}"
    );
    assert!(session.messages().is_empty());
    ask(&engine, &options(&json!({"type": "boolean"}), 0, 20));
}
