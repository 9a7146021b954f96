//! What llguidance would not refuse by itself, or only after a long time.

use super::SchemaError;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;

/// A number is a multiple if an automaton with as many states says so, for all `multipleOf` together.
const MAX_MULTIPLE: u64 = 10_000;

/// Schemas looked at in the search for one that has no end; a schema of ordinary size has some hundreds.
const MAX_VISITS: usize = 1_000_000;

pub(super) fn check(schema: &Value) -> Result<(), SchemaError> {
    check_multiples(schema)?;
    check_ends(schema)
}

fn check_multiples(schema: &Value) -> Result<(), SchemaError> {
    let mut multiple = 1;
    for_each_multiple(schema, &mut |number| {
        multiple = least_common_multiple(multiple, coefficient(number));
        if multiple > MAX_MULTIPLE {
            let detail = format!("the least common multiple of every multipleOf is over {MAX_MULTIPLE}");
            return Err(SchemaError::TooComplex { detail });
        }
        Ok(())
    })
}

fn for_each_multiple(
    schema: &Value,
    each: &mut impl FnMut(&serde_json::Number) -> Result<(), SchemaError>,
) -> Result<(), SchemaError> {
    match schema {
        Value::Array(schemas) => schemas.iter().try_for_each(|schema| for_each_multiple(schema, each)),
        Value::Object(keys) => keys.iter().try_for_each(|(key, value)| match value {
            Value::Number(number) if key == "multipleOf" => each(number),
            value => for_each_multiple(value, each),
        }),
        _ => Ok(()),
    }
}

/// A number's digits, without the zeros at its ends and the point: powers of ten cost nothing.
fn coefficient(number: &serde_json::Number) -> u64 {
    let text = number.to_string();
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    match digits.trim_matches('0') {
        "" => 1,
        digits => digits.parse().unwrap_or(u64::MAX),
    }
}

fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).saturating_mul(b)
}

/// Refuses a schema whose values would have to contain values of the same schema without end.
fn check_ends(schema: &Value) -> Result<(), SchemaError> {
    let mut ends = Ends {
        known: BTreeMap::from([("#", false)]),
        visits: Cell::new(0),
    };
    collect_references(schema, &mut ends.known);
    let references: Vec<&str> = ends.known.keys().copied().collect();
    // What ends by itself, then what ends because that does, until nothing is added.
    let mut is_new = true;
    while std::mem::take(&mut is_new) {
        for &reference in &references {
            let target = || schema.pointer(reference.trim_start_matches('#'));
            if !ends.known[reference] && target().is_none_or(|target| ends.has_end(target)) {
                ends.known.insert(reference, true);
                is_new = true;
            }
        }
    }
    if ends.known["#"] {
        return Ok(());
    }
    let detail = "its values would have to contain themselves, without end".to_owned();
    Err(SchemaError::Unsatisfiable { detail })
}

/// Which references have finite values.
struct Ends<'s> {
    known: BTreeMap<&'s str, bool>,
    /// Schemas looked at.
    visits: Cell<usize>,
}

fn collect_references<'s>(schema: &'s Value, ends: &mut BTreeMap<&'s str, bool>) {
    match schema {
        Value::Array(schemas) => schemas.iter().for_each(|schema| collect_references(schema, ends)),
        Value::Object(keys) => {
            if let Some(Value::String(reference)) = keys.get("$ref") {
                // What is elsewhere is not supported, which is said later.
                ends.insert(reference, !reference.starts_with('#'));
            }
            keys.values().for_each(|schema| collect_references(schema, ends));
        }
        _ => {}
    }
}

impl Ends<'_> {
    /// Whether there may be a finite value, as far as is known. In doubt there is one.
    fn has_end(&self, schema: &Value) -> bool {
        self.visits.set(self.visits.get() + 1);
        let Some(keys) = schema.as_object() else { return true };
        if self.visits.get() > MAX_VISITS || keys.contains_key("const") || keys.contains_key("enum") {
            return true;
        }
        let has_end = |schema: &Value| self.has_end(schema);
        let list = |key: &str| keys.get(key).and_then(Value::as_array).filter(|list| !list.is_empty());
        let reference = keys.get("$ref").and_then(Value::as_str);
        if reference.is_some_and(|reference| self.known.get(reference) == Some(&false))
            || list("allOf").is_some_and(|schemas| !schemas.iter().all(has_end))
            || list("anyOf").is_some_and(|schemas| !schemas.iter().any(has_end))
            || list("oneOf").is_some_and(|schemas| !schemas.iter().any(has_end))
        {
            return false;
        }
        match keys.get("type").and_then(Value::as_str) {
            Some("object") => {
                let names = list("required").into_iter().flatten().filter_map(Value::as_str);
                let needed = names.filter_map(|name| keys.get("properties")?.get(name));
                needed.into_iter().all(has_end)
            }
            Some("array") => {
                let least = keys.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                let first = list("prefixItems").map_or(&[][..], Vec::as_slice);
                let mut needed = first.iter().take(usize::try_from(least).unwrap_or(usize::MAX));
                needed.all(has_end) && (least <= first.len() as u64 || keys.get("items").is_none_or(has_end))
            }
            _ => true,
        }
    }
}
