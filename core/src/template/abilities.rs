//! What a template teaches its model, found by looking at it.

use super::{ChatTemplate, Conversation, Message, Role};
use crate::tools::{ToolDeclaration, ToolFormat};

/// What a model puts around its thoughts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThinkingTags {
    /// Before them.
    pub open: &'static str,
    /// After them.
    pub close: &'static str,
}

/// Qwen3, DeepSeek-R1 and most others; Magistral.
const THINKING: [ThinkingTags; 2] = [
    ThinkingTags {
        open: "<think>",
        close: "</think>",
    },
    ThinkingTags {
        open: "[THINK]",
        close: "[/THINK]",
    },
];

impl ChatTemplate {
    /// Whether the template writes tools into the prompt and has its model call them in a way that is understood here.
    /// Where it does not, a session describes tools in the system message.
    pub fn supports_tools(&self) -> bool {
        self.tool_format().is_some()
    }

    /// Whether the model thinks before it answers, or can.
    pub fn supports_thinking(&self) -> bool {
        self.thinking_tags().is_some()
    }

    /// What the model puts around its thoughts; `None` if it has none.
    pub fn thinking_tags(&self) -> Option<ThinkingTags> {
        // Some only take old thoughts away, and name but the end.
        THINKING.into_iter().find(|tags| self.source.contains(tags.close))
    }

    /// The way in which the model calls tools; `None` if the template shows it none.
    pub fn tool_format(&self) -> Option<ToolFormat> {
        let format = ToolFormat::of_template(&self.source)?;
        const NAME: &str = "tool_a7f3";
        let tool = ToolDeclaration {
            name: NAME.into(),
            description: "Looks something up.".into(),
            parameters: r#"{"type": "object", "properties": {"of": {"type": "string"}}}"#.into(),
        };
        let shown = self.render_conversation(&Conversation {
            messages: &[Message::new(Role::User, "Hello")],
            tools: &[tool],
            add_generation_prompt: true,
            ..Conversation::default()
        });
        shown.is_ok_and(|text| text.contains(NAME)).then_some(format)
    }
}
