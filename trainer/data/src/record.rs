//! What a line of JSON says: a text or a conversation, in the forms that datasets have.

use halfpi::template::{Message, Role};
use halfpi::tools::{ToolCall, ToolDeclaration};
use serde_json::{Map, Value};

use super::error::LineProblem;

/// Messages of a conversation. With some templates, what the assistant says at each turn is found by writing everything
/// before it, so that the time grows with the square.
const MAX_MESSAGES: usize = 1024;

/// A document, before it is made of tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// A conversation.
    Chat(Chat),
}

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chat {
    /// What was said.
    pub messages: Vec<Message>,
    /// What the assistant could call.
    pub tools: Vec<ToolDeclaration>,
}

impl Content {
    /// Reads a line of JSON: an object with `messages` (`role`, `content`, and as they are there `tool_calls`,
    /// `reasoning_content`) or `conversations` (`from`, `value`), with `tools` beside them, or with a text under
    /// `text_field`.
    ///
    /// # Errors
    /// [`LineProblem`]: the line is something else.
    pub fn parse(line: &[u8], text_field: &str) -> Result<Self, LineProblem> {
        let line = str::from_utf8(line).map_err(|error| LineProblem::NotUtf8 {
            at: error.valid_up_to(),
        })?;
        let value: Value = serde_json::from_str(line).map_err(|error| LineProblem::NotJson {
            message: error.to_string(),
        })?;
        let no_content = || LineProblem::NoContent {
            field: text_field.to_owned(),
        };
        let Value::Object(mut fields) = value else {
            return Err(no_content());
        };
        for (field, form) in [("messages", &OPENAI), ("conversations", &SHAREGPT)] {
            if let Some(messages) = fields.remove(field) {
                return Ok(Self::Chat(Chat {
                    messages: form.messages(messages, field)?,
                    tools: tools(fields.remove("tools"))?,
                }));
            }
        }
        match fields.remove(text_field) {
            Some(Value::String(text)) => Ok(Self::Text(text)),
            Some(_) => Err(wrong(text_field, "a text")),
            None => Err(no_content()),
        }
    }

    /// Every text in it, one after another.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => vec![text],
            Self::Chat(chat) => {
                let mut texts = Vec::with_capacity(chat.messages.len());
                for message in &chat.messages {
                    texts.extend(message.thinking.as_deref());
                    texts.push(&message.content);
                    texts.extend(message.tool_calls.iter().map(|call| call.arguments.as_str()));
                }
                texts
            }
        }
    }
}

/// How a dataset names the parts of a message.
struct Form {
    role: &'static str,
    content: &'static str,
}

const OPENAI: Form = Form {
    role: "role",
    content: "content",
};
const SHAREGPT: Form = Form {
    role: "from",
    content: "value",
};

impl Form {
    fn messages(&self, messages: Value, list: &str) -> Result<Vec<Message>, LineProblem> {
        let Value::Array(messages) = messages else {
            return Err(wrong(list, "a list"));
        };
        if messages.is_empty() {
            return Err(wrong(list, "a list with a message in it"));
        }
        if messages.len() > MAX_MESSAGES {
            return Err(LineProblem::TooManyMessages {
                found: messages.len(),
                limit: MAX_MESSAGES,
            });
        }
        let messages = messages.into_iter().enumerate();
        messages
            .map(|(index, message)| self.message(message, index, &format!("{list}[{index}]")))
            .collect()
    }

    fn message(&self, message: Value, index: usize, place: &str) -> Result<Message, LineProblem> {
        let Value::Object(mut fields) = message else {
            return Err(wrong(place, "an object"));
        };
        let role = match fields.remove(self.role) {
            Some(Value::String(role)) => role,
            _ => return Err(wrong(&format!("{place}.{}", self.role), "a text")),
        };
        let role = role_of(&role).ok_or(LineProblem::Role { index, role })?;
        let tool_calls = match fields.remove("tool_calls") {
            None | Some(Value::Null) => Vec::new(),
            Some(calls) => tool_calls(calls, &format!("{place}.tool_calls"))?,
        };
        let has_calls = !tool_calls.is_empty();
        let content = content(fields.remove(self.content), has_calls)
            .ok_or_else(|| wrong(&format!("{place}.{}", self.content), "a text"))?;
        let names = ["reasoning_content", "thinking", "reasoning"];
        let thinking = names.iter().find_map(|name| match fields.remove(*name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        });
        Ok(Message {
            thinking,
            tool_calls,
            ..Message::new(role, content)
        })
    }
}

fn role_of(name: &str) -> Option<Role> {
    Some(match name {
        "system" | "developer" => Role::System,
        "user" | "human" => Role::User,
        "assistant" | "gpt" | "model" | "bot" | "chatgpt" => Role::Assistant,
        "tool" | "function" | "observation" | "function_response" => Role::Tool,
        _ => return None,
    })
}

/// A text, or a list of parts of which all are texts. A message that calls tools need not say anything.
fn content(value: Option<Value>, has_calls: bool) -> Option<String> {
    match value {
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(parts)) => parts.iter().map(|part| part["text"].as_str()).collect(),
        None | Some(Value::Null) if has_calls => Some(String::new()),
        _ => None,
    }
}

fn tool_calls(calls: Value, place: &str) -> Result<Vec<ToolCall>, LineProblem> {
    let Value::Array(calls) = calls else {
        return Err(wrong(place, "a list"));
    };
    let call = |call: Value| {
        let mut fields = function(call)?;
        let name = string(fields.remove("name")?)?;
        let arguments = match fields.remove("arguments") {
            Some(Value::String(text)) => text,
            Some(Value::Null) | None => "{}".to_owned(),
            Some(other) => other.to_string(),
        };
        Some(ToolCall { name, arguments })
    };
    let calls: Option<Vec<_>> = calls.into_iter().map(call).collect();
    calls.ok_or_else(|| wrong(place, "a list of calls, each with a name and arguments"))
}

fn tools(tools: Option<Value>) -> Result<Vec<ToolDeclaration>, LineProblem> {
    let tools = match tools {
        None | Some(Value::Null) => return Ok(Vec::new()),
        // Some datasets have it as a text, because their columns have one type.
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Vec::new()),
        Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or_default(),
        Some(tools) => tools,
    };
    let Value::Array(tools) = tools else {
        return Err(wrong("tools", "a list"));
    };
    let tool = |tool: Value| {
        let mut fields = function(tool)?;
        Some(ToolDeclaration {
            name: string(fields.remove("name")?)?,
            description: fields.remove("description").and_then(string).unwrap_or_default(),
            parameters: match fields.remove("parameters") {
                Some(parameters @ Value::Object(_)) => parameters.to_string(),
                _ => "{}".to_owned(),
            },
        })
    };
    let tools: Option<Vec<_>> = tools.into_iter().map(tool).collect();
    tools.ok_or_else(|| wrong("tools", "a list of functions, each with a name"))
}

/// A function, in `{"type": "function", "function": {…}}` or alone.
fn function(value: Value) -> Option<Map<String, Value>> {
    let Value::Object(mut fields) = value else { return None };
    match fields.remove("function") {
        Some(Value::Object(inner)) => Some(inner),
        Some(_) => None,
        None => Some(fields),
    }
}

fn string(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn wrong(field: &str, wanted: &'static str) -> LineProblem {
    LineProblem::Type {
        field: field.to_owned(),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn parse(line: &str) -> Result<Content, LineProblem> {
        Content::parse(line.as_bytes(), "text")
    }

    fn said(content: &Content) -> Vec<(Role, &str)> {
        match content {
            Content::Text(_) => Vec::new(),
            Content::Chat(chat) => chat
                .messages
                .iter()
                .map(|message| (message.role, message.content.as_str()))
                .collect(),
        }
    }

    #[test]
    fn the_usual_forms_are_read() {
        assert_eq!(
            parse(r#"{"text": "a\nb", "meta": {}}"#),
            Ok(Content::Text("a\nb".to_owned()))
        );
        let body = Content::parse(br#"{"text": "a", "body": "b"}"#, "body");
        assert_eq!(body, Ok(Content::Text("b".to_owned())));

        let expected = [(Role::System, "s"), (Role::User, "u"), (Role::Assistant, "a")];
        for line in [
            r#"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"},
                {"role": "assistant", "content": "a"}]}"#,
            r#"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "u"},
                {"from": "gpt", "value": "a"}]}"#,
            r#"{"messages": [{"role": "developer", "content": [{"type": "text", "text": "s"}]},
                {"role": "user", "content": "u"}, {"role": "model", "content": "a"}], "text": "not this"}"#,
        ] {
            assert_eq!(said(&parse(line).unwrap()), expected, "{line}");
        }
    }

    #[test]
    fn thoughts_tools_and_calls_are_read() {
        let line = r#"{"tools": [{"type": "function", "function": {"name": "f", "description": "d",
            "parameters": {"type": "object"}}}], "messages": [{"role": "user", "content": "u"},
            {"role": "assistant", "content": null, "reasoning_content": "hm",
             "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
                            {"name": "g", "arguments": {"y": 2}}]},
            {"role": "tool", "content": "3"}]}"#;
        let Ok(Content::Chat(chat)) = parse(line) else {
            panic!("no conversation")
        };
        assert_eq!(chat.tools[0].name, "f");
        assert_eq!(chat.tools[0].parameters, r#"{"type":"object"}"#);
        let answer = &chat.messages[1];
        assert_eq!(answer.thinking.as_deref(), Some("hm"));
        assert_eq!(answer.tool_calls[0].arguments, r#"{"x": 1}"#);
        assert_eq!(answer.tool_calls[1].arguments, r#"{"y":2}"#);
        assert_eq!(chat.messages[2].role, Role::Tool);
        let content = Content::Chat(chat);
        assert_eq!(content.texts(), ["u", "hm", "", r#"{"x": 1}"#, r#"{"y":2}"#, "3"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("", "not JSON"),
            ("{", "column 1"),
            ("[1]", "neither \"text\""),
            (r#"{"content": "a"}"#, "neither \"text\""),
            (r#"{"text": 5}"#, "text is not a text"),
            (r#"{"messages": {}}"#, "messages is not a list"),
            (r#"{"messages": []}"#, "a message in it"),
            (r#"{"messages": [7]}"#, "messages[0] is not an object"),
            (r#"{"messages": [{"content": "a"}]}"#, "messages[0].role is not a text"),
            (
                r#"{"messages": [{"role": "user"}]}"#,
                "messages[0].content is not a text",
            ),
            (r#"{"messages": [{"role": "king", "content": "a"}]}"#, "by \"king\""),
            (
                r#"{"conversations": [{"from": "gpt", "value": 1}]}"#,
                "conversations[0].value",
            ),
            (
                r#"{"messages": [{"role": "assistant", "tool_calls": [{"name": 1}]}]}"#,
                "messages[0].tool_calls is not",
            ),
            (
                r#"{"messages": [{"role": "user", "content": "a"}], "tools": 1}"#,
                "tools is not a list",
            ),
        ];
        for (line, expected) in cases {
            let problem = parse(line).unwrap_err().to_string();
            assert!(problem.contains(expected), "{line}: {problem}");
        }
        assert_eq!(
            Content::parse(b"{\"text\": \"\xff\"}", "text"),
            Err(LineProblem::NotUtf8 { at: 10 })
        );
        let many = vec![r#"{"role": "user", "content": ""}"#; MAX_MESSAGES + 1].join(",");
        let problem = parse(&format!("{{\"messages\": [{many}]}}"));
        assert!(matches!(problem, Err(LineProblem::TooManyMessages { found: 1025, .. })));
        // As deep as it likes: the parser gives up.
        assert!(matches!(parse(&"[".repeat(100_000)), Err(LineProblem::NotJson { .. })));
    }

    /// Valid lines with bytes changed, cut and doubled: a value or an error, never a panic.
    #[test]
    fn any_bytes_give_a_value_or_an_error() {
        let line: &[u8] = br#"{"tools":[{"function":{"name":"f","parameters":{}}}],"messages":[{"role":"user","content":
            [{"text":"u"}]},{"role":"assistant","content":null,"tool_calls":[{"name":"f","arguments":{"a":[1,null]}}]}]}"#;
        let mut random = Random::new(3);
        let mut read = 0;
        for _ in 0..3000 {
            let mut bytes = line.to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(4) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes.truncate(at.max(1)),
                    2 => bytes[at] = b"{}[]\",:"[random.below(7) as usize],
                    _ => bytes = [&bytes[..at], &bytes[at / 2..]].concat(),
                }
            }
            read += usize::from(Content::parse(&bytes, "text").is_ok());
        }
        assert!(read > 0 && read < 3000, "{read} of 3000 are conversations");
    }
}
