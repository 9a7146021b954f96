//! Constraints by [llguidance](https://github.com/guidance-ai/llguidance): an Earley parser over a lexer of derivatives,
//! walked along the trie of the vocabulary.

mod grammar;
mod guide;
mod schema;
mod vocabulary;

pub(crate) use guide::Guide;
pub(crate) use vocabulary::Vocabulary;

pub(super) use grammar::Grammar;

use super::SchemaError;
use llguidance::api::ParserLimits;

/// What a grammar may take. The defaults are for servers: half a gigabyte of lexer states, among others.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2000,
        initial_lexer_fuel: 500_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        // One or two kilobytes each.
        max_lexer_states: 20_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}

/// Words of the errors at limits.
const TOO_COMPLEX: [&str; 9] = [
    "too large",
    "too big",
    "fuel",
    "Unable to determine",
    "exceeded",
    "limit",
    "TooComplex",
    "max is",
    "panic",
];

/// What llguidance says, sorted by what can be done about it. Its errors have no types.
fn explain(error: &impl std::fmt::Display) -> SchemaError {
    let text = format!("{error:#}");
    let detail = text.split("\n<").next().unwrap_or_default().trim().to_owned();
    if detail.contains("Unsatisfiable schema") {
        let detail = detail.replace("Unsatisfiable schema: ", "");
        SchemaError::Unsatisfiable { detail }
    } else if detail.contains("NoExtension") {
        let detail = "nothing can follow what has been said".to_owned();
        SchemaError::Unsatisfiable { detail }
    } else if TOO_COMPLEX.iter().any(|word| detail.contains(word)) {
        SchemaError::TooComplex { detail }
    } else {
        SchemaError::Unsupported { detail }
    }
}
