//! Renders any text as a chat template. Template and messages are separated by NUL bytes: the first piece is the
//! template, the others are messages by turns; a tool, calls and thoughts are made of them too. It must end within libFuzzer's -timeout (use a few seconds) and below
//! its -rss_limit_mb, with text no longer than the limits of `halfpi::template` allow, or with an error.
#![no_main]

use halfpi::template::{ChatTemplate, Conversation, Message, Role};
use halfpi::tools::{ToolCall, ToolDeclaration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut pieces = text.split('\0');
    let source = pieces.next().unwrap_or_default();
    let template = match ChatTemplate::new(source, "<s>", "</s>") {
        Ok(template) => template.with_now(1_738_584_000),
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let roles = [Role::User, Role::Assistant, Role::Tool, Role::System];
    let messages: Vec<Message> = pieces
        .zip(roles.iter().cycle())
        .map(|(text, &role)| Message::new(role, text))
        .collect();
    for add_generation_prompt in [false, true] {
        match template.render(&messages, add_generation_prompt) {
            Ok(prompt) => assert!(prompt.len() <= (8 << 20) + 64 * (text.len() + 512 * messages.len())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    // Everything else that a template may be given: JSON or not, from whoever wrote it.
    let Some(last) = messages.last() else { return };
    let tool = ToolDeclaration {
        name: last.content.clone(),
        description: last.content.clone(),
        parameters: last.content.clone(),
    };
    let call = ToolCall {
        name: last.content.clone(),
        arguments: last.content.clone(),
    };
    let calls = messages.iter().map(|message| Message {
        thinking: Some(last.content.clone()),
        tool_calls: vec![call.clone(); usize::from(message.role == Role::Assistant)],
        ..message.clone()
    });
    let rendered = template.render_conversation(&Conversation {
        messages: &calls.collect::<Vec<_>>(),
        tools: &[tool],
        thinking: Some(true),
        add_generation_prompt: true,
    });
    if let Err(error) = rendered {
        assert!(!error.to_string().is_empty());
    }
    let _ = (template.supports_tools(), template.supports_thinking());
});
