//! From a schema to a grammar.

use super::vocabulary::Vocabulary;
use super::{Guide, SchemaError, explain, limits, schema};
use llguidance::Matcher;
use llguidance::api::{GrammarInit, TopLevelGrammar};
use serde_json::{Value, json};
use std::sync::Arc;
use std::thread;

/// The longest accepted schema, in bytes of text.
const MAX_SCHEMA_BYTES: usize = 256 * 1024;

/// What compiling a schema may take of the stack: schemas within schemas recurse, 128 deep at most.
const STACK_BYTES: usize = 16 << 20;

/// Spaces between the parts of a value: none, one, or a new line with an indentation. Without an end to it, a small
/// model goes on with spaces forever.
const WHITESPACE: &str = r" |\n {0,24}";

/// A compiled schema.
#[derive(Clone)]
pub(in crate::constrain) struct Grammar(Arc<GrammarInit>);

impl Grammar {
    pub(in crate::constrain) fn json_schema(text: &str) -> Result<Self, SchemaError> {
        if text.len() > MAX_SCHEMA_BYTES {
            let detail = format!("{} bytes of text, at most {MAX_SCHEMA_BYTES} are read", text.len());
            return Err(SchemaError::TooComplex { detail });
        }
        let mut schema: Value = serde_json::from_str(text).map_err(|error| SchemaError::NotJson {
            line: error.line(),
            column: error.column(),
            detail: error
                .to_string()
                .split(" at line ")
                .next()
                .unwrap_or_default()
                .to_owned(),
        })?;
        schema::check(&schema)?;
        if let Some(object) = schema.as_object_mut() {
            // llguidance takes its options from here, and nobody else shall give it any.
            let options = json!({ "whitespace_pattern": WHITESPACE });
            object.insert("x-guidance".into(), options);
        }
        on_large_stack(|| {
            let init = GrammarInit::Serialized(TopLevelGrammar::from_json_schema(schema));
            let (grammar, lexer) = init.to_internal(None, limits()).map_err(|error| explain(&error))?;
            Ok(Grammar(Arc::new(GrammarInit::Internal(grammar, lexer))))
        })
    }

    /// An answer's way through the grammar, from the beginning.
    pub(in crate::constrain) fn start(&self, vocabulary: &Vocabulary) -> Result<Guide, SchemaError> {
        let init = GrammarInit::clone(&self.0);
        let parser = vocabulary.factory().create_parser_from_init_default(init);
        let parser = parser.map_err(|error| explain(&error))?;
        Ok(Guide::new(Matcher::new(Ok(parser))))
    }
}

/// Threads of an app have as little as 512 KB of stack.
fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, SchemaError> + Send) -> Result<T, SchemaError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        let failed = |detail: String| Err(SchemaError::TooComplex { detail });
        match thread.map(|thread| thread.join()) {
            Ok(Ok(result)) => result,
            // A defect of the compiler must not be one of the app.
            Ok(Err(_)) => failed("the schema's compiler failed".into()),
            Err(error) => failed(format!("no thread to compile it on ({error})")),
        }
    })
}
