//! What a line of JSON says: a text or a conversation, in the forms that datasets have.

use halfpi::template::{Message, Role};
use halfpi::tools::{ToolCall, ToolDeclaration};
use serde_json::value::RawValue;

use super::error::LineProblem;
use super::json::{each, fields, is_null, normalized, raw, text};

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
        let no_content = || LineProblem::NoContent {
            field: text_field.to_owned(),
        };
        let names = ["messages", "conversations", "tools", text_field];
        let [messages, conversations, tools, found] = fields(raw(line)?, names)?.ok_or_else(no_content)?;
        for (messages, field, form) in [(messages, names[0], &OPENAI), (conversations, names[1], &SHAREGPT)] {
            if let Some(messages) = messages {
                return Ok(Self::Chat(Chat {
                    messages: form.messages(messages, field)?,
                    tools: self::tools(tools)?,
                }));
            }
        }
        match found {
            Some(found) => text(Some(found))?
                .map(Self::Text)
                .ok_or_else(|| wrong(text_field, "a text")),
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
    fn messages(&self, list: &RawValue, field: &str) -> Result<Vec<Message>, LineProblem> {
        let (mut messages, mut found) = (Vec::new(), 0);
        let take = |message| {
            if found < MAX_MESSAGES {
                messages.push(self.message(message, found, &format!("{field}[{found}]"))?);
            }
            found += 1;
            Ok(())
        };
        each(list, take).ok_or_else(|| wrong(field, "a list"))??;
        match found {
            0 => Err(wrong(field, "a list with a message in it")),
            found if found > MAX_MESSAGES => Err(LineProblem::TooManyMessages {
                found,
                limit: MAX_MESSAGES,
            }),
            _ => Ok(messages),
        }
    }

    fn message(&self, message: &RawValue, index: usize, place: &str) -> Result<Message, LineProblem> {
        let thoughts = ["reasoning_content", "thinking", "reasoning"];
        let names = [
            self.role,
            self.content,
            "tool_calls",
            thoughts[0],
            thoughts[1],
            thoughts[2],
        ];
        let found = fields(message, names)?.ok_or_else(|| wrong(place, "an object"))?;
        let [role, said, calls, thoughts @ ..] = found;
        let role = text(role)?.ok_or_else(|| wrong(&format!("{place}.{}", self.role), "a text"))?;
        let role = role_of(&role).ok_or(LineProblem::Role { index, role })?;
        let tool_calls = match calls.filter(|calls| !is_null(calls)) {
            None => Vec::new(),
            Some(calls) => tool_calls(calls, &format!("{place}.tool_calls"))?,
        };
        let content = content(said, !tool_calls.is_empty())?
            .ok_or_else(|| wrong(&format!("{place}.{}", self.content), "a text"))?;
        let mut thinking = None;
        for thought in thoughts {
            if thinking.is_none() {
                thinking = text(thought)?.filter(|text| !text.is_empty());
            }
        }
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
fn content(said: Option<&RawValue>, has_calls: bool) -> Result<Option<String>, LineProblem> {
    let Some(said) = said.filter(|said| !is_null(said)) else {
        return Ok(has_calls.then(String::new));
    };
    let mut whole = Some(String::new());
    let take = |part| {
        let said = match fields(part, ["text"])? {
            Some([said]) => text(said)?,
            None => None,
        };
        whole = whole.take().zip(said).map(|(whole, said)| whole + &said);
        Ok(())
    };
    match each(said, take) {
        Some(taken) => taken.map(|()| whole),
        None => text(Some(said)),
    }
}

fn tool_calls(list: &RawValue, place: &str) -> Result<Vec<ToolCall>, LineProblem> {
    let wanted = || wrong(place, "a list of calls, each with a name and arguments");
    let mut calls = Vec::new();
    let take = |call| {
        let [name, arguments] = function(call, ["name", "arguments"])?.ok_or_else(wanted)?;
        let name = text(name)?.ok_or_else(wanted)?;
        let arguments = match (text(arguments)?, arguments.filter(|arguments| !is_null(arguments))) {
            (Some(text), _) => text,
            (None, Some(other)) => normalized(other, &format!("{place}.arguments"))?,
            (None, None) => "{}".to_owned(),
        };
        calls.push(ToolCall { name, arguments });
        Ok(())
    };
    each(list, take).ok_or_else(|| wrong(place, "a list"))??;
    Ok(calls)
}

fn tools(list: Option<&RawValue>) -> Result<Vec<ToolDeclaration>, LineProblem> {
    let Some(list) = list.filter(|list| !is_null(list)) else {
        return Ok(Vec::new());
    };
    // Some datasets have it as a text, because their columns have one type.
    let written = text(Some(list))?;
    let no_list = || wrong("tools", "a list");
    let list = match &written {
        Some(text) if text.trim().is_empty() => return Ok(Vec::new()),
        Some(text) => raw(text).map_err(|_| no_list())?,
        None => list,
    };
    let wanted = || wrong("tools", "a list of functions, each with a name");
    let mut tools = Vec::new();
    let take = |tool| {
        let [name, description, parameters] =
            function(tool, ["name", "description", "parameters"])?.ok_or_else(wanted)?;
        tools.push(ToolDeclaration {
            name: text(name)?.ok_or_else(wanted)?,
            description: text(description)?.unwrap_or_default(),
            parameters: match parameters.filter(|parameters| parameters.get().starts_with('{')) {
                Some(parameters) => normalized(parameters, "tools.parameters")?,
                None => "{}".to_owned(),
            },
        });
        Ok(())
    };
    each(list, take).ok_or_else(no_list)??;
    Ok(tools)
}

/// What a function has under `names`, in `{"type": "function", "function": {…}}` or alone.
fn function<'a, const N: usize>(
    json: &'a RawValue,
    names: [&str; N],
) -> Result<Option<[Option<&'a RawValue>; N]>, LineProblem> {
    match fields(json, ["function"])? {
        Some([Some(inner)]) => fields(inner, names),
        _ => fields(json, names),
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
        // As deep as it likes: nothing is held of it, and the parser gives up where it would be.
        assert!(matches!(parse(&"[".repeat(100_000)), Err(LineProblem::NotJson { .. })));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let beside = parse(&format!("{{\"text\": \"a\", \"meta\": {deep}}}"));
        assert_eq!(beside, Ok(Content::Text("a".to_owned())));
        let call = |arguments: &str| {
            let calls = format!("[{{\"name\": \"f\", \"arguments\": {arguments}}}]");
            parse(&format!(
                "{{\"messages\": [{{\"role\": \"assistant\", \"tool_calls\": {calls}}}]}}"
            ))
        };
        assert!(matches!(call(&deep), Err(LineProblem::NotJson { .. })));
        let problem = call(&format!("[{}0]", "0,".repeat(1 << 19))).unwrap_err().to_string();
        assert!(problem.contains("arguments is not JSON of at most 1 MiB"), "{problem}");
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
