//! `halfpi eval tokens`: what a model's tokenizer makes of a text.

use std::path::PathBuf;

use halfpi::gguf::ModelFile;
use halfpi::tokenizer::{Special, Tokenizer};
use serde::Serialize;

use crate::output::{Outcome, about, one_line, print, print_json, read_text, table};

/// Show the tokens of a text
///
/// Special tokens in the text, such as <|im_end|>, are parsed unless --no-special is given. A BOS token is put before
/// the text only if the model asks for it.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  halfpi eval tokens --model model.gguf --text story.txt --json")]
pub struct Args {
    /// Model file (GGUF)
    #[arg(long, short, value_name = "MODEL")]
    model: PathBuf,
    /// Text file (UTF-8)
    #[arg(long, short, value_name = "FILE")]
    text: PathBuf,
    /// Treat special tokens in the text as ordinary characters
    #[arg(long)]
    no_special: bool,
    /// Print {"ids": [...]}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    ids: Vec<u32>,
}

pub fn run(args: &Args) -> Outcome {
    let file = ModelFile::open(&args.model)?;
    let tokenizer = Tokenizer::from_gguf(&file.gguf()?).map_err(|error| about(&args.model, error.into()))?;
    let text = read_text(&args.text)?;
    let special = if args.no_special {
        Special::AsText
    } else {
        Special::Parse
    };
    let ids = tokenizer.encode_with_bos(&text, special);
    if args.json {
        return print_json(&Report { ids });
    }
    let row = |(place, &id): (usize, &u32)| {
        let piece = String::from_utf8_lossy(tokenizer.token_bytes(id, true)).into_owned();
        vec![
            place.to_string(),
            id.to_string(),
            format!("\"{}\"", one_line(&piece, 80)),
        ]
    };
    let rows: Vec<Vec<String>> = ids.iter().enumerate().map(row).collect();
    print(&table(&rows, 0))?;
    print(&format!("{} tokens, {} bytes of text\n", ids.len(), text.len()))
}
