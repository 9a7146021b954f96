//! The model's own chat template: Jinja text from the model file, rendered as Hugging Face's `apply_chat_template`
//! renders it.
//!
//! A template is a program that came with a download, so it runs under three limits: instructions ([`minijinja`]'s
//! fuel), bytes touched (the `meter`, for what one instruction can do), and nesting. It sees the messages and nothing
//! else: no files, no other templates, no environment.

mod abilities;
mod builtins;
mod conversation;
mod instrument;
mod meter;
mod slice;
mod strftime;
#[cfg(test)]
mod tests;
mod tojson;

pub use abilities::ThinkingTags;
pub use conversation::Conversation;

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::value::Value;
use minijinja::{ErrorKind, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};

use crate::tools::ToolCall;
use meter::{Meter, Stop};

/// Longest accepted template source in bytes; the longest known ones (with tool calls) are about 30 KB.
pub const MAX_SOURCE_BYTES: usize = 256 * 1024;

/// Instructions for a render: a fixed part and a part per message. Known templates need under 500 a message.
const FUEL_BASE: u64 = 500_000;
const FUEL_PER_MESSAGE: u64 = 5_000;
/// Frames of nested loops and macro calls. Each costs native stack, of which a phone's thread has 512 KB.
const RECURSION_LIMIT: usize = 64;

/// The ChatML format, which most small chat models without a template of their own were trained on.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] \
                      + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}\
                      {{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool the model called.
    Tool,
}

impl Role {
    /// The name that templates compare with.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// What the model thought before it said this. Templates leave it out, or out of all turns but the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// The tools that the model called. Their results follow, each in a message of [`Role::Tool`], in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message {
            role,
            content: content.into(),
            thinking: None,
            tool_calls: Vec::new(),
        }
    }
}

/// Why a chat template could not be read or rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The source is not a Jinja template.
    #[error(
        "the chat template is broken at line {line}: {message}; the model file needs a corrected tokenizer.chat_template"
    )]
    Syntax {
        /// 1-based line in the template source.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// The template uses something that is not offered to templates.
    #[error("the chat template uses {what}, which templates are not given here; supply another template")]
    Unsupported {
        /// The construct.
        what: String,
    },
    /// The template called `raise_exception`: it does not accept this conversation.
    #[error("the chat template refuses this conversation: {message}")]
    Refused {
        /// The template's own words.
        message: String,
    },
    /// An operation in the template failed, for example an attribute of an undefined value.
    #[error("the chat template failed at line {line}: {message}")]
    Failed {
        /// 1-based line in the template source, 0 where unknown.
        line: usize,
        /// What went wrong.
        message: String,
    },
    /// The template ran out of instructions or nested too deep: it loops, or means harm.
    #[error("the chat template takes too long ({limit}); it is broken or hostile: supply another template")]
    TooExpensive {
        /// The limit it ran into.
        limit: String,
    },
    /// The template made more text than the conversation justifies.
    #[error("the chat template makes more than {limit_bytes} bytes; it is broken or hostile: supply another template")]
    TooLarge {
        /// Bytes that a render of this conversation may touch.
        limit_bytes: u64,
    },
}

/// A chat template, checked when made and rendered once per turn.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    prepared: String,
    bos_token: String,
    eos_token: String,
    now: Option<i64>,
}

impl ChatTemplate {
    /// Checks `source` (GGUF's `tokenizer.chat_template`); `bos` and `eos` are the texts of the special tokens.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`], [`TemplateError::Unsupported`], or [`TemplateError::TooLarge`] for a source over
    /// [`MAX_SOURCE_BYTES`].
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TemplateError::TooLarge {
                limit_bytes: MAX_SOURCE_BYTES as u64,
            });
        }
        let prepared = instrument::prepare(source)?;
        instrument::compile(&prepared)?;
        Ok(ChatTemplate {
            source: source.into(),
            prepared,
            bos_token: bos.into(),
            eos_token: eos.into(),
            now: None,
        })
    }

    /// ChatML (`<|im_start|>role … <|im_end|>`), for models whose file carries no template.
    pub fn chatml() -> Self {
        Self::new(CHATML, "", "<|im_end|>").expect("the built-in template is valid")
    }

    /// The template's source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Fixes what `strftime_now` sees, in seconds since 1970 UTC, so that a prompt can be reproduced. Without it the
    /// clock is read; either way the date is UTC.
    pub fn with_now(mut self, unix_seconds: i64) -> Self {
        self.now = Some(unix_seconds);
        self
    }

    /// The prompt text for `messages`; `add_generation_prompt` opens the assistant's turn at the end.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] where the template itself rejects the conversation, [`TemplateError::TooExpensive`]
    /// and [`TemplateError::TooLarge`] at the limits, otherwise [`TemplateError::Failed`].
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TemplateError> {
        self.render_conversation(&Conversation {
            messages,
            add_generation_prompt,
            ..Conversation::default()
        })
    }

    /// The prompt text for a conversation with tools, or with a model that can think.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_conversation(&self, conversation: &Conversation<'_>) -> Result<String, TemplateError> {
        let meter = Meter::new(conversation.bytes());
        let mut env = builtins::environment(&meter, self.now.unwrap_or_else(unix_now));
        env.set_undefined_behavior(UndefinedBehavior::Lenient);
        env.set_recursion_limit(RECURSION_LIMIT);
        env.set_fuel(Some(
            FUEL_BASE.saturating_add(FUEL_PER_MESSAGE.saturating_mul(conversation.parts() as u64)),
        ));
        let context = context! {
            messages => conversation.messages(),
            add_generation_prompt => conversation.add_generation_prompt,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
            tools => conversation.tools(),
            // Templates ask whether it is defined.
            enable_thinking => conversation.thinking.map_or(Value::UNDEFINED, Value::from),
            documents => Value::from(()),
        };
        let program = instrument::compile(&self.prepared)?;
        instrument::run(&env, &program, context).map_err(|error| runtime_error(&error, &meter))
    }
}

fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs() as i64)
}

/// Our own reasons travel as sources of minijinja's errors, possibly wrapped several times.
fn runtime_error(error: &minijinja::Error, meter: &Meter) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        match current.downcast_ref::<Stop>() {
            Some(Stop::Refused(message)) => {
                return TemplateError::Refused {
                    message: message.clone(),
                };
            }
            Some(Stop::Unsupported(what)) => return TemplateError::Unsupported { what: what.clone() },
            Some(Stop::TooDeep) => {
                return TemplateError::TooExpensive {
                    limit: "nesting of values".into(),
                };
            }
            Some(Stop::TooLarge) => {
                return TemplateError::TooLarge {
                    limit_bytes: meter.limit(),
                };
            }
            None => {}
        }
        if let Some(error) = current.downcast_ref::<minijinja::Error>() {
            match error.kind() {
                ErrorKind::OutOfFuel => {
                    return TemplateError::TooExpensive {
                        limit: "number of instructions".into(),
                    };
                }
                ErrorKind::UnknownFilter
                | ErrorKind::UnknownTest
                | ErrorKind::UnknownFunction
                | ErrorKind::UnknownMethod => {
                    return TemplateError::Unsupported { what: describe(error) };
                }
                ErrorKind::InvalidOperation if error.detail() == Some("recursion limit exceeded") => {
                    return TemplateError::TooExpensive {
                        limit: "recursion".into(),
                    };
                }
                _ => {}
            }
        }
        cause = current.source();
    }
    TemplateError::Failed {
        line: error.line().unwrap_or(0),
        message: describe(error),
    }
}

fn describe(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_string(),
        None => error.kind().to_string(),
    }
}
