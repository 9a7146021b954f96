//! Token by token, for callers that choose tokens themselves.

use super::{CancelToken, Session};
use crate::Result;

impl Session {
    /// Makes the cache hold exactly `tokens`, of which the longest cached prefix is not read again, and leaves the
    /// scores of what may follow in [`logits`](Self::logits). Returns how many tokens were cached, or `None` if it was
    /// cancelled. The messages of the conversation are untouched.
    ///
    /// # Errors
    /// [`EngineError::ContextOverflow`](crate::engine::EngineError::ContextOverflow),
    /// [`EngineError::EmptyPrompt`](crate::engine::EngineError::EmptyPrompt),
    /// [`EngineError::Forward`](crate::engine::EngineError::Forward) for an unknown token, and
    /// [`EngineError::NotFinite`](crate::engine::EngineError::NotFinite).
    pub fn prefill(&mut self, tokens: &[u32], cancel: Option<&CancelToken>) -> Result<Option<usize>> {
        let reading = self.read(tokens, cancel)?;
        Ok((!reading.cancelled).then_some(reading.cached))
    }

    /// Appends one token to the cache and returns the scores of what may follow, `[vocab_size]`.
    ///
    /// # Errors
    /// As [`prefill`](Self::prefill).
    pub fn decode(&mut self, token: u32) -> Result<&[f32]> {
        self.forward(&[token], true)?;
        Ok(&self.logits)
    }

    /// The scores of what may follow the last token that ran, `[vocab_size]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
}
