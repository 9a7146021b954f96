//! Stands in for what the feature `structured` builds.

use super::SchemaError;
use crate::tokenizer::Tokenizer;

/// There are none.
#[derive(Clone)]
pub(super) enum Grammar {}

impl Grammar {
    pub(super) fn json_schema(_: &str) -> Result<Self, SchemaError> {
        Err(SchemaError::NotBuilt)
    }

    pub(super) fn start(&self, _: &Vocabulary) -> Result<Guide, SchemaError> {
        match *self {}
    }
}

/// There are none.
pub(crate) enum Vocabulary {}

impl Vocabulary {
    pub(crate) fn new(_: &Tokenizer) -> Result<Self, SchemaError> {
        Err(SchemaError::NotBuilt)
    }
}

/// There are none.
pub(crate) enum Guide {}

impl Guide {
    pub(crate) fn restrict(&mut self, _: &mut [f32]) -> Result<(), SchemaError> {
        match *self {}
    }

    pub(crate) fn accept(&mut self, _: &Tokenizer, _: u32) -> Result<bool, SchemaError> {
        match *self {}
    }
}
