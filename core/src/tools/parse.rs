//! From what a model wrote between the marks of a call to the call.

use super::ToolCall;
use serde_json::{Map, Value};

/// Why a text is no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCall {
    /// It may become one.
    Unfinished,
    /// It is something else.
    Malformed,
}

/// The calls in `text`: JSON objects with a name and arguments, one after another or in lists, or Mistral's newer
/// `name[ARGS]{…}`; at least one, and nothing else.
pub(crate) fn calls(text: &str) -> Result<Vec<ToolCall>, NoCall> {
    let mut calls = Vec::new();
    let mut rest = text.trim_start_matches(is_between);
    while !rest.is_empty() {
        let mut name = None;
        if !rest.starts_with(['{', '[']) {
            let end = rest.find('{').ok_or(NoCall::Malformed)?;
            name = Some(bare_name(&rest[..end]).ok_or(NoCall::Malformed)?);
            rest = &rest[end..];
        }
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let value = match values.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) if !error.is_eof() => return Err(NoCall::Malformed),
            Some(Err(_)) | None => return Err(NoCall::Unfinished),
        };
        rest = rest[values.byte_offset()..].trim_start_matches(is_between);
        let pushed = match name {
            Some(name) => call(name, Some(value)).map(|call| calls.push(call)),
            None => push(value, &mut calls),
        };
        pushed.ok_or(NoCall::Malformed)?;
    }
    if calls.is_empty() {
        Err(NoCall::Malformed)
    } else {
        Ok(calls)
    }
}

/// Whether an answer that begins like this may be a call without a mark before it.
pub(crate) fn may_be_call(text: &str) -> bool {
    let begins = |whole: &str| {
        let mut text = text.chars().filter(|c| !c.is_whitespace());
        whole.chars().all(|c| text.next().is_none_or(|got| got == c))
    };
    [r#"{"name":"#, r#"{"type":"function""#, r#"{"function":"#]
        .iter()
        .any(|whole| begins(whole))
}

/// What stands between calls.
fn is_between(c: char) -> bool {
    c.is_whitespace() || c == ';' || c == ','
}

/// The name in `name`, `name[ARGS]` and `name[CALL_ID]…[ARGS]`.
fn bare_name(text: &str) -> Option<String> {
    let name = text.split('[').next().unwrap_or_default().trim();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
}

fn push(value: Value, calls: &mut Vec<ToolCall>) -> Option<()> {
    match value {
        Value::Array(values) => values.into_iter().try_for_each(|value| push(value, calls)),
        Value::Object(mut keys) => {
            // Some write what the template shows of the whole conversation: {"type": "function", "function": {…}}.
            if let Some(Value::Object(inner)) = keys.remove("function") {
                keys = inner;
            }
            let arguments = ["arguments", "parameters"].iter().find_map(|key| keys.remove(*key));
            let name = keys.remove("name")?;
            calls.push(call(name.as_str()?.to_owned(), arguments)?);
            Some(())
        }
        _ => None,
    }
}

fn call(name: String, arguments: Option<Value>) -> Option<ToolCall> {
    let arguments = match arguments {
        None | Some(Value::Null) => Value::Object(Map::new()),
        // Written as a text in the text.
        Some(Value::String(text)) => serde_json::from_str(&text).ok()?,
        Some(value) => value,
    };
    (!name.is_empty() && arguments.is_object()).then(|| ToolCall {
        name,
        arguments: arguments.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Vec<(String, String)>> {
        Some(
            calls(text)
                .ok()?
                .into_iter()
                .map(|call| (call.name, call.arguments))
                .collect(),
        )
    }

    #[test]
    fn all_ways_to_write_a_call() {
        let call = |name: &str, arguments: &str| (name.to_owned(), arguments.to_owned());
        let weather = || Some(vec![call("weather", r#"{"city":"Rome","days":2}"#)]);
        for text in [
            r#"{"name": "weather", "arguments": {"city": "Rome", "days": 2}}"#,
            "\n {\"name\": \"weather\", \"parameters\": {\"city\": \"Rome\", \"days\": 2}}\n",
            r#"{"arguments": {"city": "Rome", "days": 2}, "name": "weather", "id": "123456789"}"#,
            r#"[{"name": "weather", "arguments": {"city": "Rome", "days": 2}}]"#,
            r#"{"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome", "days": 2}}}"#,
            r#"{"name": "weather", "arguments": "{\"city\": \"Rome\", \"days\": 2}"}"#,
            r#"weather[ARGS]{"city": "Rome", "days": 2}"#,
            r#"weather[CALL_ID]123456789[ARGS]{"city": "Rome", "days": 2}"#,
            r#"weather {"city": "Rome", "days": 2}"#,
        ] {
            assert_eq!(parsed(text), weather(), "{text}");
        }
        let two = Some(vec![call("a", "{}"), call("b", r#"{"x":[1,{"y":null}]}"#)]);
        for text in [
            r#"[{"name": "a"}, {"name": "b", "arguments": {"x": [1, {"y": null}]}}]"#,
            r#"{"name": "a", "parameters": null}; {"name": "b", "parameters": {"x": [1, {"y": null}]}}"#,
            "{\"name\": \"a\", \"arguments\": {}}\n{\"name\": \"b\", \"arguments\": {\"x\": [1, {\"y\": null}]}}",
            r#"a{}b{"x": [1, {"y": null}]}"#,
        ] {
            assert_eq!(parsed(text), two, "{text}");
        }
    }

    #[test]
    fn what_is_no_call() {
        for text in [
            "",
            " \n;",
            "{",
            r#"{"name": "a""#,
            r#"{"name": "a"} and more"#,
            r#"{"name": 5}"#,
            r#"{"name": ""}"#,
            r#"{"arguments": {}}"#,
            r#"{"name": "a", "arguments": [1]}"#,
            r#"{"name": "a", "arguments": "not JSON"}"#,
            r#"{"name": "a", "arguments": 5}"#,
            "[]",
            "[1]",
            "5",
            "a b{}",
            "[ARGS]{}",
            r#"brave_search.call(query="x")"#,
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert_eq!(
            calls(r#"{"name": "a", "arguments": {"x": "in a text "#),
            Err(NoCall::Unfinished)
        );
        assert_eq!(calls("{\"name\": }"), Err(NoCall::Malformed));
        // As deep as it likes: the parser gives up.
        assert_eq!(parsed(&"[".repeat(100_000)), None);
        assert_eq!(parsed(&"{\"name\":".repeat(100_000)), None);
    }
}
