//! How models write calls.

/// The way a model was taught to call tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, once for each call: Hermes, Qwen2.5, Qwen3.
    Hermes,
    /// An answer that is nothing but `{"name": …, "parameters": {…}}`, or begins with `<|python_tag|>`: Llama 3.
    Llama,
    /// `[TOOL_CALLS]` and a list of calls at the end of the answer: Mistral.
    Mistral,
}

impl ToolFormat {
    /// The format that a chat template teaches; `None` if it teaches none of these.
    pub(crate) fn of_template(source: &str) -> Option<Self> {
        let says = |words: &[&str]| words.iter().any(|word| source.contains(word));
        if says(&["<tool_call>"]) {
            Some(ToolFormat::Hermes)
        } else if says(&["[TOOL_CALLS]"]) {
            Some(ToolFormat::Mistral)
        } else if says(&["<|python_tag|>", r#""parameters": "#, r#"\"parameters\": "#]) {
            Some(ToolFormat::Llama)
        } else {
            None
        }
    }

    /// What a call begins with.
    pub(crate) fn open(self) -> &'static str {
        match self {
            ToolFormat::Hermes => "<tool_call>",
            ToolFormat::Llama => "<|python_tag|>",
            ToolFormat::Mistral => "[TOOL_CALLS]",
        }
    }

    /// What a call ends with; `None` if it goes on to the end of the answer.
    pub(crate) fn close(self) -> Option<&'static str> {
        match self {
            ToolFormat::Hermes => Some("</tool_call>"),
            ToolFormat::Llama | ToolFormat::Mistral => None,
        }
    }
}
