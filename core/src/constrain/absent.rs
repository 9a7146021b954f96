//! Stands in for what the feature `structured` builds.

use super::SchemaError;

/// There are none.
#[derive(Clone)]
pub(super) enum Grammar {}

impl Grammar {
    pub(super) fn json_schema(_: &str) -> Result<Self, SchemaError> {
        Err(SchemaError::NotBuilt)
    }
}
