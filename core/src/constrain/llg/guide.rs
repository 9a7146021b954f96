//! The way of one answer through a grammar.

use super::{SchemaError, explain};
use crate::tokenizer::Tokenizer;
use llguidance::Matcher;

/// Knows what may come next.
pub(crate) struct Guide(Matcher);

impl Guide {
    pub(super) fn new(matcher: Matcher) -> Self {
        Guide(matcher)
    }

    /// Makes every token impossible that may not come next.
    pub(crate) fn restrict(&mut self, logits: &mut [f32]) -> Result<(), SchemaError> {
        let mask = self.0.compute_mask().map_err(|error| explain(&error))?;
        // Matrices are padded to more rows than there are tokens.
        for (id, logit) in logits.iter_mut().enumerate() {
            if id >= mask.len() || !mask.is_allowed(id as u32) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes the token that came, which was allowed. Says whether the answer is complete with it.
    pub(crate) fn accept(&mut self, tokenizer: &Tokenizer, token: u32) -> Result<bool, SchemaError> {
        self.0.consume_token(token).map_err(|error| explain(&error))?;
        if self.0.is_stopped() {
            return Ok(true);
        }
        // Behind a closed value there could only be spaces.
        let is_closed = matches!(
            tokenizer.token_bytes(token, false).trim_ascii_end().last(),
            Some(b'}' | b']' | b'"')
        );
        Ok(is_closed && self.0.is_accepting().map_err(|error| explain(&error))?)
    }
}
