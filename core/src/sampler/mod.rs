//! (being written)

/// Why the sampler refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {}
