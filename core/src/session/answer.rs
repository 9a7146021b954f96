use super::CancelToken;
use crate::constrain::Constraint;
use crate::sampler::SamplerOptions;
use crate::tools::ToolCall;
use std::time::Duration;

/// How an answer is made.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions {
    /// How tokens are chosen.
    pub sampler: SamplerOptions,
    /// The most tokens of an answer; `None` for as many as the context is long. 0 only reads the prompt.
    pub max_tokens: Option<usize>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// What the answer has to be. Such an answer calls no tools.
    pub constraint: Option<Constraint>,
    /// Stops the answer from another thread.
    pub cancel: Option<CancelToken>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn, or the answer is all that its [`Constraint`] asks for.
    EndOfTurn,
    /// The model ended its turn with calls of tools ([`Answer::tool_calls`]) and waits for their results.
    ToolCalls,
    /// One of the stop texts came.
    StopString,
    /// The answer has as many tokens as were allowed.
    MaxTokens,
    /// The context is full ([`Overflow::Stop`](super::Overflow::Stop)).
    ContextFull,
    /// It was cancelled, by the token or by the listener.
    Cancelled,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were cached.
    pub cached_tokens: usize,
    /// Those of them that were read now: all the others, unless the answer was cancelled meanwhile.
    pub prefill_tokens: usize,
    /// Tokens of the answer, the end of turn counted.
    pub generated_tokens: usize,
    /// Reading the prompt.
    pub prefill: Duration,
    /// From the call to the first token of the answer; 0 if there is none.
    pub time_to_first_token: Duration,
    /// Making the tokens after the first.
    pub decode: Duration,
    /// The seed that was used.
    pub seed: u64,
}

impl Usage {
    /// Prompt tokens read in a second, those that were cached not counted.
    pub fn prefill_tokens_per_second(&self) -> f64 {
        per_second(self.prefill_tokens, self.prefill)
    }

    /// Tokens made in a second, the first not counted: it came with the prompt.
    pub fn decode_tokens_per_second(&self) -> f64 {
        per_second(self.generated_tokens.saturating_sub(1), self.decode)
    }
}

fn per_second(count: usize, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        count as f64 / time.as_secs_f64()
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
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
