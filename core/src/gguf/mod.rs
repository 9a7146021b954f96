//! (being written)

/// Why the gguf refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {}
