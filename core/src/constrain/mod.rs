//! Structured output: answers that are held to a JSON schema, token by token.
//!
//! A [`Constraint`] says which texts an answer may be. Before a token is chosen, all those that cannot go on with such
//! a text are taken out, so whatever the model and the sampling options, what comes out is one, or the beginning of one
//! if the answer was cut ([`FinishReason::MaxTokens`](crate::session::FinishReason::MaxTokens)). It does not tell the
//! model what is wanted: the prompt should.
//!
//! The first constraint of an engine makes a trie of its vocabulary; after that a schema is compiled in a fraction of a
//! millisecond, and a token costs microseconds. (With the 49,152 tokens of SmolLM2 the trie takes 11 MB and 50 ms, with
//! three times as many 31 MB and 0.2 s, on one core of a server.)
//!
//! Built with the feature `structured`. Without it there are no constraints, only [`SchemaError::NotBuilt`].

#[cfg(not(feature = "structured"))]
mod absent;
mod error;
#[cfg(feature = "structured")]
mod llg;

#[cfg(not(feature = "structured"))]
use absent as imp;
#[cfg(feature = "structured")]
use llg as imp;

pub(crate) use imp::{Guide, Vocabulary};

pub use error::SchemaError;

use std::fmt;

/// What an answer has to be. Cloning shares it.
#[derive(Clone)]
pub struct Constraint(imp::Grammar);

impl Constraint {
    /// An answer that is a JSON value of a JSON schema (draft 2020-12, as JSON text): no prose around it.
    ///
    /// The value may be written on one line, with single spaces, or indented; properties come in the order of the
    /// schema. What a schema can say is what llguidance can hold an answer to; anything else is refused, rather than
    /// ignored.
    ///
    /// # Errors
    /// [`SchemaError`]; a schema that takes too much to follow is found out only when it is used.
    pub fn json_schema(schema: &str) -> Result<Self, SchemaError> {
        imp::Grammar::json_schema(schema).map(Constraint)
    }

    /// An answer's way through it, from the beginning.
    pub(crate) fn start(&self, vocabulary: &Vocabulary) -> Result<Guide, SchemaError> {
        self.0.start(vocabulary)
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Constraint").finish_non_exhaustive()
    }
}
