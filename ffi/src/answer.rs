//! What is said, as records.

use halfpi::session;
use halfpi::template::{Message, Role};
use halfpi::tools;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ChatRole {
    /// Instructions that hold for the whole conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool the model called.
    Tool,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
    /// What the model thought before it said this.
    #[uniffi(default = None)]
    pub thinking: Option<String>,
    /// The tools that the model called. Their results follow, each in a message of its own, in the same order.
    #[uniffi(default = [])]
    pub tool_calls: Vec<ToolCall>,
}

/// A function of the app that the model may call.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ToolDeclaration {
    /// The function's name.
    pub name: String,
    /// What it does and when to call it, for the model.
    pub description: String,
    /// The JSON schema of its arguments: an object with `properties`.
    pub parameters_json_schema: String,
}

/// A call of a tool, as the model wrote it: the tool need not exist and the arguments need not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ToolCall {
    /// The function's name.
    pub name: String,
    /// Its arguments: a JSON object.
    pub arguments_json: String,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum FinishReason {
    /// The model ended its turn, or the answer is all that its JSON schema asks for.
    EndOfTurn,
    /// The model ended its turn with calls of tools and waits for their results.
    ToolCalls,
    /// One of the stop texts came.
    StopString,
    /// The answer has as many tokens as were allowed.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// It was cancelled.
    Cancelled,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, uniffi::Record)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Those of them that were cached.
    pub cached_tokens: u64,
    /// Those of them that were read now: all the others, unless the answer was cancelled meanwhile.
    pub prefill_tokens: u64,
    /// Tokens of the answer, the end of turn counted.
    pub generated_tokens: u64,
    /// Reading the prompt.
    pub prefill_seconds: f64,
    /// From the beginning of the work to the first token of the answer; 0 if there is none.
    pub time_to_first_token_seconds: f64,
    /// Making the tokens after the first.
    pub decode_seconds: f64,
    /// The seed that was used: with it the same question gets the same answer.
    pub seed: u64,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Answer {
    /// All of its text.
    pub text: String,
    /// What the model thought before, if it did.
    pub thinking: Option<String>,
    /// The tools that the model calls, in order.
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended.
    pub finish: FinishReason,
    /// What it took.
    pub usage: Usage,
}

impl From<session::Answer> for Answer {
    fn from(answer: session::Answer) -> Self {
        Answer {
            text: answer.text,
            thinking: answer.thinking,
            tool_calls: answer.tool_calls.into_iter().map(ToolCall::from).collect(),
            finish: answer.finish.into(),
            usage: answer.usage.into(),
        }
    }
}

impl From<session::FinishReason> for FinishReason {
    fn from(reason: session::FinishReason) -> Self {
        match reason {
            session::FinishReason::EndOfTurn => FinishReason::EndOfTurn,
            session::FinishReason::ToolCalls => FinishReason::ToolCalls,
            session::FinishReason::StopString => FinishReason::StopString,
            session::FinishReason::MaxTokens => FinishReason::MaxTokens,
            session::FinishReason::ContextFull => FinishReason::ContextFull,
            session::FinishReason::Cancelled => FinishReason::Cancelled,
        }
    }
}

impl From<session::Usage> for Usage {
    fn from(usage: session::Usage) -> Self {
        Usage {
            prompt_tokens: usage.prompt_tokens as u64,
            cached_tokens: usage.cached_tokens as u64,
            prefill_tokens: usage.prefill_tokens as u64,
            generated_tokens: usage.generated_tokens as u64,
            prefill_seconds: usage.prefill.as_secs_f64(),
            time_to_first_token_seconds: usage.time_to_first_token.as_secs_f64(),
            decode_seconds: usage.decode.as_secs_f64(),
            seed: usage.seed,
        }
    }
}

impl From<ChatMessage> for Message {
    fn from(message: ChatMessage) -> Self {
        let role = match message.role {
            ChatRole::System => Role::System,
            ChatRole::User => Role::User,
            ChatRole::Assistant => Role::Assistant,
            ChatRole::Tool => Role::Tool,
        };
        Message {
            role,
            content: message.content,
            thinking: message.thinking,
            tool_calls: message.tool_calls.into_iter().map(tools::ToolCall::from).collect(),
        }
    }
}

impl From<&Message> for ChatMessage {
    fn from(message: &Message) -> Self {
        let role = match message.role {
            Role::System => ChatRole::System,
            Role::User => ChatRole::User,
            Role::Assistant => ChatRole::Assistant,
            Role::Tool => ChatRole::Tool,
        };
        ChatMessage {
            role,
            content: message.content.clone(),
            thinking: message.thinking.clone(),
            tool_calls: message.tool_calls.iter().cloned().map(ToolCall::from).collect(),
        }
    }
}

impl From<tools::ToolCall> for ToolCall {
    fn from(call: tools::ToolCall) -> Self {
        ToolCall {
            name: call.name,
            arguments_json: call.arguments,
        }
    }
}

impl From<ToolCall> for tools::ToolCall {
    fn from(call: ToolCall) -> Self {
        tools::ToolCall {
            name: call.name,
            arguments: call.arguments_json,
        }
    }
}

impl From<ToolDeclaration> for tools::ToolDeclaration {
    fn from(tool: ToolDeclaration) -> Self {
        tools::ToolDeclaration {
            name: tool.name,
            description: tool.description,
            parameters: tool.parameters_json_schema,
        }
    }
}
