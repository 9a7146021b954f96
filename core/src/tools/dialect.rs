//! The tools of a session, in the way its model understands.

use super::{ToolDeclaration, ToolError, ToolFormat};
use crate::template::{ChatTemplate, Message, Role};
use serde_json::{Value, json};
use std::fmt::Write;

/// Objects and lists within each other that parameters may have; templates look no deeper.
const MAX_DEPTH: usize = 12;

/// Tools and how to speak of them.
pub(crate) struct Dialect {
    /// In the template's `tools`; empty if the template has no place for them.
    pub(crate) declared: Vec<ToolDeclaration>,
    /// How the model calls them.
    pub(crate) format: ToolFormat,
    /// Their names.
    pub(crate) names: Vec<String>,
    /// What the system message says of them, where the template has no place for them.
    instructions: Option<String>,
}

impl Dialect {
    /// `None` if there are no tools. `mark` goes over every text that a template will see.
    pub(crate) fn new(
        template: &ChatTemplate,
        tools: &[ToolDeclaration],
        mark: &dyn Fn(&str) -> String,
    ) -> Result<Option<Self>, ToolError> {
        if tools.is_empty() {
            return Ok(None);
        }
        check(tools)?;
        let format = template.tool_format();
        let marked = |tool: &ToolDeclaration| ToolDeclaration {
            name: mark(&tool.name),
            description: mark(&tool.description),
            parameters: mark_json(&tool.parameters, mark),
        };
        Ok(Some(Dialect {
            declared: match format {
                Some(_) => tools.iter().map(marked).collect(),
                None => Vec::new(),
            },
            instructions: format.is_none().then(|| instructions(tools)),
            format: format.unwrap_or(ToolFormat::Hermes),
            names: tools.iter().map(|tool| tool.name.clone()).collect(),
        }))
    }

    /// The conversation as the template can take it.
    pub(crate) fn adapt(&self, messages: Vec<Message>) -> Vec<Message> {
        match (&self.instructions, self.format) {
            (Some(instructions), _) => spell_out(messages, instructions),
            // Its template takes one call in a message.
            (None, ToolFormat::Llama) => one_by_one(messages),
            (None, _) => messages,
        }
    }
}

fn check(tools: &[ToolDeclaration]) -> Result<(), ToolError> {
    for (i, tool) in tools.iter().enumerate() {
        if tool.name.trim().is_empty() || tools[..i].iter().any(|other| other.name == tool.name) {
            let name = tool.name.clone();
            return Err(ToolError::Name { name });
        }
        let failed = |detail: String| ToolError::Parameters {
            tool: tool.name.clone(),
            detail,
        };
        let value: Value = serde_json::from_str(&tool.parameters).map_err(|error| failed(error.to_string()))?;
        if !value.is_object() {
            return Err(failed("it has to be an object".into()));
        }
        if depth(&value) > MAX_DEPTH {
            return Err(failed(format!("it is nested more than {MAX_DEPTH} deep")));
        }
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(keys) => 1 + keys.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// JSON with a mark in every text of it; marked as it is where it is none.
pub(crate) fn mark_json(text: &str, mark: &dyn Fn(&str) -> String) -> String {
    fn marked(value: Value, mark: &dyn Fn(&str) -> String) -> Value {
        match value {
            Value::String(text) => Value::String(mark(&text)),
            Value::Array(items) => items.into_iter().map(|item| marked(item, mark)).collect(),
            Value::Object(keys) => {
                let keys = keys.into_iter().map(|(key, value)| (mark(&key), marked(value, mark)));
                Value::Object(keys.collect())
            }
            other => other,
        }
    }
    match serde_json::from_str(text) {
        Ok(value) => marked(value, mark).to_string(),
        Err(_) => mark(text),
    }
}

/// What Hermes models were trained with, and many after them: Nous Research, Hermes function calling.
fn instructions(tools: &[ToolDeclaration]) -> String {
    let mut text =
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with \
                    function signatures within <tools></tools> XML tags:\n<tools>\n"
            .to_owned();
    for tool in tools {
        let parameters: Value = serde_json::from_str(&tool.parameters).unwrap_or_default();
        let function = json!({"name": tool.name, "description": tool.description, "parameters": parameters});
        let _ = writeln!(text, "{}", json!({"type": "function", "function": function}));
    }
    text += "</tools>\n\nFor each function call, return a json object with function name and arguments within \
             <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": \
             <args-json-object>}\n</tool_call>";
    text
}

/// Tools, calls and results as text of messages, for templates that know of none.
fn spell_out(messages: Vec<Message>, instructions: &str) -> Vec<Message> {
    let mut plain: Vec<Message> = Vec::with_capacity(messages.len() + 1);
    if messages.first().is_none_or(|message| message.role != Role::System) {
        plain.push(Message::new(Role::System, instructions));
    }
    let mut is_result = false;
    for mut message in messages {
        let was_result = std::mem::replace(&mut is_result, message.role == Role::Tool);
        for call in std::mem::take(&mut message.tool_calls) {
            let separator = if message.content.is_empty() { "" } else { "\n" };
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            let call = json!({"name": call.name, "arguments": arguments});
            let _ = write!(message.content, "{separator}<tool_call>\n{call}\n</tool_call>");
        }
        if message.role == Role::System && plain.is_empty() {
            message.content = format!("{}\n\n{instructions}", message.content);
        }
        if message.role == Role::Tool {
            message.role = Role::User;
            message.content = format!("<tool_response>\n{}\n</tool_response>", message.content);
            if let Some(last) = plain.last_mut().filter(|_| was_result) {
                last.content = format!("{}\n{}", last.content, message.content);
                continue;
            }
        }
        plain.push(message);
    }
    plain
}

/// Each call in a message of its own, its result after it.
fn one_by_one(messages: Vec<Message>) -> Vec<Message> {
    let mut single = Vec::with_capacity(messages.len());
    let mut messages = messages.into_iter().peekable();
    while let Some(mut message) = messages.next() {
        if message.tool_calls.len() < 2 {
            single.push(message);
            continue;
        }
        for call in std::mem::take(&mut message.tool_calls) {
            single.push(Message {
                tool_calls: vec![call],
                ..message.clone()
            });
            single.extend(messages.next_if(|next| next.role == Role::Tool));
            message.content.clear();
            message.thinking = None;
        }
    }
    single
}
