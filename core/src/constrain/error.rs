//! Why an answer cannot be held to a schema.

/// What is wrong with a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// It is not JSON.
    #[error("the schema is not JSON, line {line}, column {column}: {detail}")]
    NotJson {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What the parser says.
        detail: String,
    },
    /// It says something that answers cannot be held to.
    #[error("the schema cannot be followed: {detail}")]
    Unsupported {
        /// What and where.
        detail: String,
    },
    /// No value satisfies it.
    #[error("nothing satisfies the schema: {detail}")]
    Unsatisfiable {
        /// What contradicts what.
        detail: String,
    },
    /// It is larger than allowed, or takes more time or memory than allowed, to compile or to follow.
    #[error("the schema is too large or too complex: {detail}; make it smaller")]
    TooComplex {
        /// Which limit.
        detail: String,
    },
    /// The model's vocabulary cannot write what the schema asks for.
    #[error("the model's vocabulary cannot follow schemas: {detail}")]
    Vocabulary {
        /// What it lacks.
        detail: String,
    },
    /// halfpi was built without the feature `structured`.
    #[error("this build of halfpi has no structured output: build it with the feature `structured`")]
    NotBuilt,
}
