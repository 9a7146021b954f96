//! What a template is given: messages, tools and switches, in the shape of Hugging Face's `apply_chat_template`.

use super::{Message, Role};
use crate::tools::{ToolCall, ToolDeclaration};
use minijinja::value::Value;
use serde_json::Value as Json;

/// What a template renders.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conversation<'a> {
    /// What has been said.
    pub messages: &'a [Message],
    /// What the model may call: `tools` in the template.
    pub tools: &'a [ToolDeclaration],
    /// `enable_thinking` in the template; not defined where it is `None`.
    pub thinking: Option<bool>,
    /// Opens the assistant's turn at the end.
    pub add_generation_prompt: bool,
}

impl Conversation<'_> {
    /// Bytes that were given, which a template may look at a number of times.
    pub(super) fn bytes(&self) -> usize {
        let call = |call: &ToolCall| call.name.len() + call.arguments.len() + 512;
        let message = |message: &Message| {
            let thinking = message.thinking.as_ref().map_or(0, String::len);
            message.content.len() + thinking + message.tool_calls.iter().map(call).sum::<usize>() + 512
        };
        let tool = |tool: &ToolDeclaration| tool.name.len() + tool.description.len() + tool.parameters.len() + 512;
        self.messages.iter().map(message).sum::<usize>() + self.tools.iter().map(tool).sum::<usize>()
    }

    /// Messages, calls and tools: what a template has loops over.
    pub(super) fn parts(&self) -> usize {
        let calls = self.messages.iter().map(|message| message.tool_calls.len());
        self.messages.len() + self.tools.len() + calls.sum::<usize>()
    }

    /// A list of `{role, content}`, with `tool_calls`, `tool_call_id`, `name` and `reasoning_content` where they are.
    pub(super) fn messages(&self) -> Value {
        // Calls and their results have the same order, so nobody has to keep numbers; templates may want some.
        let mut called = 0;
        let mut waiting = std::collections::VecDeque::new();
        let messages = self.messages.iter().map(|message| {
            let mut keys = vec![
                ("role", Value::from(message.role.as_str())),
                ("content", Value::from(message.content.as_str())),
            ];
            if let Some(thinking) = &message.thinking {
                keys.push(("reasoning_content", Value::from(thinking.as_str())));
            }
            if !message.tool_calls.is_empty() {
                waiting.clear();
                let calls = message.tool_calls.iter().map(|call| {
                    called += 1;
                    // Mistral's templates insist on nine letters and digits.
                    let id = format!("call{called:05}");
                    waiting.push_back((id.clone(), call.name.clone()));
                    tool_call(&id, call)
                });
                keys.push(("tool_calls", calls.collect()));
            }
            if message.role == Role::Tool
                && let Some((id, name)) = waiting.pop_front()
            {
                keys.push(("tool_call_id", Value::from(id)));
                keys.push(("name", Value::from(name)));
            }
            Value::from_pairs(keys)
        });
        messages.collect()
    }

    /// A list of `{"type": "function", "function": {name, description, parameters}}`; none where there are no tools.
    pub(super) fn tools(&self) -> Value {
        if self.tools.is_empty() {
            return Value::from(());
        }
        let tools = self.tools.iter().map(|tool| {
            let function = Value::from_pairs([
                ("name", Value::from(tool.name.as_str())),
                ("description", Value::from(tool.description.as_str())),
                ("parameters", json(&tool.parameters)),
            ]);
            Value::from_pairs([("type", Value::from("function")), ("function", function)])
        });
        tools.collect()
    }
}

fn tool_call(id: &str, call: &ToolCall) -> Value {
    let function = Value::from_pairs([
        ("name", Value::from(call.name.as_str())),
        ("arguments", json(&call.arguments)),
    ]);
    Value::from_pairs([
        ("id", Value::from(id)),
        ("type", Value::from("function")),
        ("function", function),
    ])
}

/// JSON text as a value; as a text where it is none.
fn json(text: &str) -> Value {
    serde_json::from_str(text).map_or_else(|_| Value::from(text), value)
}

fn value(json: Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(is) => Value::from(is),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text),
        Json::Array(items) => items.into_iter().map(value).collect(),
        Json::Object(keys) => Value::from_pairs(keys.into_iter().map(|(key, json)| (key, value(json)))),
    }
}
