//! The tokens of a conversation: for sessions, and for the trainer, which has to show a model what sessions will.

use crate::Result;
use crate::template::{ChatTemplate, Conversation, Message};
use crate::tokenizer::Tokenizer;
use crate::tools::{Dialect, ToolCall, ToolDeclaration, mark_json};

/// How conversations are written for a model: its template, with tools and thinking as it was taught them.
pub struct Prompt {
    /// Its tools, if there are any.
    dialect: Option<Dialect>,
    thinking: Option<bool>,
}

impl Prompt {
    /// With tools that the model may call, and whether it thinks before it answers; `None` leaves that to the template.
    ///
    /// # Errors
    /// [`ToolError`](crate::tools::ToolError) for tools that cannot be declared.
    pub fn new(
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        tools: &[ToolDeclaration],
        thinking: Option<bool>,
    ) -> Result<Self> {
        let dialect = Dialect::new(template, tools, &|text: &str| tokenizer.mark(text))?;
        Ok(Self { dialect, thinking })
    }

    pub(super) fn dialect(&self) -> Option<&Dialect> {
        self.dialect.as_ref()
    }

    /// The tokens of a conversation; `generation_prompt` opens the assistant's turn at the end. Only the template writes
    /// control tokens: in messages they are text, or people would forge turns.
    ///
    /// # Errors
    /// [`TemplateError`](crate::template::TemplateError) where the template does not take the conversation.
    pub fn tokens(
        &self,
        tokenizer: &Tokenizer,
        template: &ChatTemplate,
        messages: &[Message],
        generation_prompt: bool,
    ) -> Result<Vec<u32>> {
        let messages = match &self.dialect {
            Some(dialect) => dialect.adapt(messages.to_vec()),
            None => messages.to_vec(),
        };
        let mark = |text: &str| tokenizer.mark(text);
        let messages: Vec<Message> = messages.iter().map(|message| marked(message, &mark)).collect();
        let text = template.render_conversation(&Conversation {
            messages: &messages,
            tools: self.dialect.as_ref().map_or(&[], |dialect| &dialect.declared),
            thinking: self.thinking,
            add_generation_prompt: generation_prompt,
        })?;
        let mut tokens = tokenizer.encode_marked(&text);
        // Templates usually write the BOS token themselves.
        let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
        if let Some(bos) = bos.filter(|&bos| tokens.first() != Some(&bos)) {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }
}

/// A message with a mark in every text of it.
fn marked(message: &Message, mark: &dyn Fn(&str) -> String) -> Message {
    let call = |call: &ToolCall| ToolCall {
        name: mark(&call.name),
        arguments: mark_json(&call.arguments, mark),
    };
    Message {
        role: message.role,
        content: mark(&message.content),
        thinking: message.thinking.as_deref().map(mark),
        tool_calls: message.tool_calls.iter().map(call).collect(),
    }
}
