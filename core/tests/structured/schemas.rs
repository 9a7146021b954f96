//! Random schemas, and a validator for what they say, written apart from the one under test.

use serde_json::{Map, Value, json};

/// A linear congruential generator.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A schema whose values are short, `depth` levels deep at most.
pub fn random_schema(random: &mut Random, depth: usize) -> Value {
    let kinds = if depth == 0 { 6 } else { 10 };
    match random.below(kinds) {
        0 => json!({"type": "boolean"}),
        1 => json!({"type": "null"}),
        2 => {
            let low = random.below(2000) as i64 - 1000;
            json!({"type": "integer", "minimum": low, "maximum": low + random.below(500) as i64})
        }
        3 => json!({"type": "number", "minimum": -1.5, "maximum": random.below(100)}),
        4 => {
            let least = random.below(3);
            match random.below(3) {
                0 => json!({"type": "string", "pattern": "^[A-Z][a-z]{2,6}$"}),
                1 => json!({"enum": ["one", "tw\"o", "drei ✓", 4, null]}),
                _ => json!({"type": "string", "minLength": least, "maxLength": least + random.below(8)}),
            }
        }
        5 => json!({"const": {"fixed": [1, 2, "three"]}}),
        6 => {
            let least = random.below(3);
            json!({"type": "array", "items": random_schema(random, depth - 1), "minItems": least, "maxItems": least + random.below(3)})
        }
        7 => json!({"anyOf": [random_schema(random, depth - 1), random_schema(random, depth - 1)]}),
        _ => {
            let mut properties = Map::new();
            let mut required = Vec::new();
            for i in 0..1 + random.below(4) {
                let name = format!("{}{i}", ["a", "the key ", "ключ", "q\"uote"][random.below(4)]);
                if random.yes() {
                    required.push(name.clone());
                }
                properties.insert(name, random_schema(random, depth - 1));
            }
            json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
        }
    }
}

/// Whether a value satisfies a schema that uses nothing but what [`random_schema`] and the tests use.
pub fn satisfies(value: &Value, schema: &Value) -> Result<(), String> {
    let keys = schema.as_object().ok_or("not a schema")?;
    keys.iter().try_for_each(|(key, limit)| {
        if holds(key, value, limit, schema)? {
            Ok(())
        } else {
            Err(format!("{value} fails {key}: {limit}"))
        }
    })
}

fn holds(key: &str, value: &Value, limit: &Value, schema: &Value) -> Result<bool, String> {
    let items = value.as_array();
    let object = value.as_object();
    let text = value.as_str();
    let (number, bound) = (value.as_f64(), limit.as_f64().unwrap_or_default());
    let property = |name: &String| schema["properties"].get(name);
    Ok(match key {
        "type" => match limit.as_str().unwrap_or_default() {
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "integer" => number.is_some_and(|number| number.fract() == 0.0),
            "number" => value.is_number(),
            "string" => text.is_some(),
            "array" => items.is_some(),
            "object" => object.is_some(),
            other => return Err(format!("type {other}")),
        },
        "const" => value == limit,
        "enum" => limit.as_array().is_some_and(|values| values.contains(value)),
        "anyOf" => limit
            .as_array()
            .is_some_and(|schemas| schemas.iter().any(|schema| satisfies(value, schema).is_ok())),
        "minimum" => number.is_none_or(|number| number >= bound),
        "maximum" => number.is_none_or(|number| number <= bound),
        "minLength" => text.is_none_or(|text| text.chars().count() as f64 >= bound),
        "maxLength" => text.is_none_or(|text| text.chars().count() as f64 <= bound),
        "pattern" => text.is_none_or(|text| matches_pattern(text, limit.as_str().unwrap_or_default())),
        "items" => items.is_none_or(|items| items.iter().all(|item| satisfies(item, limit).is_ok())),
        "minItems" => items.is_none_or(|items| items.len() as f64 >= bound),
        "maxItems" => items.is_none_or(|items| items.len() as f64 <= bound),
        "properties" => object.is_none_or(|object| {
            let known = object.iter().filter_map(|(name, value)| Some((value, property(name)?)));
            known
                .into_iter()
                .all(|(value, schema)| satisfies(value, schema).is_ok())
        }),
        "required" => object.is_none_or(|object| {
            let names = limit.as_array().into_iter().flatten().filter_map(Value::as_str);
            names.into_iter().all(|name| object.contains_key(name))
        }),
        "additionalProperties" => object.is_none_or(|object| object.keys().all(|name| property(name).is_some())),
        other => return Err(format!("no validator for {other}")),
    })
}

/// The two patterns of these tests.
fn matches_pattern(text: &str, pattern: &str) -> bool {
    let lower = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase());
    match pattern {
        "^[A-Z][a-z]{2,6}$" => {
            text.len() >= 3 && text.len() <= 7 && text.as_bytes()[0].is_ascii_uppercase() && lower(&text[1..])
        }
        "^[a-z]{1,5}$" => (1..=5).contains(&text.len()) && lower(text),
        other => panic!("no matcher for {other}"),
    }
}

#[test]
fn the_validator_can_say_no() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "maximum": 3}}, "required": ["a"], "additionalProperties": false});
    assert!(satisfies(&json!({"a": 3}), &schema).is_ok());
    for bad in [
        json!({"a": 4}),
        json!({"a": 1.5}),
        json!({}),
        json!({"a": 1, "b": 2}),
        json!([1]),
    ] {
        assert!(satisfies(&bad, &schema).is_err(), "{bad}");
    }
    let schema = json!({"anyOf": [{"type": "string", "pattern": "^[a-z]{1,5}$"}, {"type": "array", "items": {"type": "null"}, "minItems": 2}]});
    assert!(satisfies(&json!("abc"), &schema).is_ok() && satisfies(&json!([null, null]), &schema).is_ok());
    for bad in [json!("aBc"), json!([null]), json!([null, 1]), json!(null)] {
        assert!(satisfies(&bad, &schema).is_err(), "{bad}");
    }
}
