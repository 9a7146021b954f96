//! Tools: functions of the app that the model may call.
//!
//! The app declares them ([`ToolDeclaration`]), the model's chat template writes them into the prompt, and what the
//! model writes to call one comes back as a [`ToolCall`], apart from the text. The app runs the tool and answers with a
//! message of [`Role::Tool`](crate::template::Role::Tool), which is text from outside like any other: it writes no
//! control tokens.
//!
//! Where a template has no place for tools ([`ChatTemplate::supports_tools`](crate::template::ChatTemplate)), the system
//! message describes them in the form that Hermes models were trained with, calls are written as those models write
//! them, and results are messages of the user within `<tool_response>`. Any model can be asked that way; those that were
//! never trained to call tools will rarely do it well.

mod dialect;
mod format;
pub(crate) mod parse;

pub use format::ToolFormat;

pub(crate) use dialect::{Dialect, mark_json};

use serde::{Deserialize, Serialize};

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDeclaration {
    /// The function's name.
    pub name: String,
    /// What it does and when to call it, for the model.
    pub description: String,
    /// The JSON schema of its arguments: an object with `properties`, as JSON text.
    pub parameters: String,
}

/// A call of a tool, as the model wrote it: the tool need not exist and the arguments need not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The function's name.
    pub name: String,
    /// Its arguments: a JSON object, as text.
    pub arguments: String,
}

/// Why a tool cannot be declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// Its name is empty, or another tool has it.
    #[error("the tool name {name:?} is empty or taken: every tool needs a name of its own")]
    Name {
        /// The name.
        name: String,
    },
    /// Its parameters are not a JSON object.
    #[error("the parameters of the tool {tool} are not a JSON schema: {detail}")]
    Parameters {
        /// The tool.
        tool: String,
        /// What is wrong with them.
        detail: String,
    },
}
