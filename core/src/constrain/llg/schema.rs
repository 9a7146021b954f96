//! What llguidance would not refuse by itself, or only after a long time.

use super::SchemaError;
use serde_json::Value;

/// A number is a multiple if an automaton with as many states says so, for all `multipleOf` together.
const MAX_MULTIPLE: u64 = 10_000;

pub(super) fn check(schema: &Value) -> Result<(), SchemaError> {
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
