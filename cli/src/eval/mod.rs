//! `halfpi eval`: judges models and tokenizers on texts.

mod compare;
mod perplexity;
mod scores;
mod tokens;

use std::error::Error;
use std::path::Path;

use clap::Subcommand;

use crate::output::Outcome;

/// Judge a model on a text
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Perplexity(perplexity::Args),
    Compare(compare::Args),
    Tokens(tokens::Args),
}

pub fn run(args: &Args) -> Outcome {
    match &args.what {
        What::Perplexity(args) => perplexity::run(args),
        What::Compare(args) => compare::run(args),
        What::Tokens(args) => tokens::run(args),
    }
}

fn too_short(text: &Path) -> Box<dyn Error> {
    format!(
        "{} has fewer than two tokens, so there is nothing to predict",
        text.display()
    )
    .into()
}
