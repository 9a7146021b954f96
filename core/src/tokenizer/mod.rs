//! (being written)

/// Why the tokenizer refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {}
