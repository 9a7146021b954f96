//! (being written)

/// Why the template refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {}
