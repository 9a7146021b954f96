use super::BACKEND_VARIABLE;
use crate::transformer::ForwardError;

/// Why an engine or a session refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A backend was asked for that this processor does not run.
    #[error("{BACKEND_VARIABLE} is {name:?}, which does not run here; these do: {available}")]
    Backend {
        /// The name asked for.
        name: String,
        /// The names of those that run.
        available: String,
    },
    /// The prompt, or prompt and answer, do not fit in the context.
    #[error("{needed} tokens do not fit in a context of {context_length}: shorten the prompt or take a longer context")]
    ContextOverflow {
        /// Tokens needed.
        needed: usize,
        /// Tokens that fit.
        context_length: usize,
    },
    /// There is nothing to answer.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// The context length is 0, or longer than the model was trained for.
    #[error("a context of {asked} tokens: this model has 1 to {most}")]
    ContextLength {
        /// Tokens asked for.
        asked: usize,
        /// Tokens that the model was trained for.
        most: usize,
    },
    /// There is no memory for a session.
    #[error(
        "no memory for {bytes} bytes of a session ({source}): take a shorter context, int8 elements or smaller chunks"
    )]
    Memory {
        /// Bytes asked for.
        bytes: usize,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Weights, or a session beside what is there already, would take more than the engine may
    /// ([`EngineOptions::memory_budget`](super::EngineOptions)). Nothing was loaded.
    #[error(
        "{needed} bytes are needed and {budget} are allowed: take a smaller model, a shorter context or int8 elements, \
         or close sessions"
    )]
    MemoryBudget {
        /// Bytes of everything together.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
    },
    /// The model's scores are infinite or not a number.
    #[error("the model computes numbers that are not finite: its file is damaged, get it again")]
    NotFinite,
    /// The transformer refused.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}
