//! Makes the default corpus of a package that was unpacked, and a tokenizer for models from nothing.
//!
//!     cargo run -p halfpi-data --example corpus -- PACKAGE OUT [TOKENS]
//!
//! Writes `OUT/chitchat.jsonl` and `OUT/tokenizer`. `cargo xtask corpus` gets the package and calls this.

use std::path::Path;
use std::process::ExitCode;

use halfpi::pack::Blueprint;
use halfpi::pack::synthetic::SyntheticModel;
use halfpi::transformer::{Architecture, Config};
use halfpi_data::{
    Corpus, EncodeOptions, Language, Part, SourceOptions, Sources, StreamOptions, TokenizerOptions, TrainedTokenizer,
    prepare_chitchat,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [package, out] => run(package.as_ref(), out.as_ref(), 4096),
        [package, out, tokens] => match tokens.parse() {
            Ok(tokens) => run(package.as_ref(), out.as_ref(), tokens),
            Err(error) => Err(format!("{tokens} is no number of tokens: {error}").into()),
        },
        _ => Err("usage: corpus PACKAGE OUT [TOKENS]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(package: &Path, out: &Path, vocab_size: usize) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(out)?;
    let chats = out.join("chitchat.jsonl");
    let made = prepare_chitchat(package, &chats)?;
    println!(
        "{} conversations, {} of them of two people: {} messages, {} bytes of text",
        made.conversations, made.written, made.messages, made.bytes
    );

    let sources = Sources::open(&[&chats], SourceOptions::default())?;
    let options = TokenizerOptions {
        vocab_size,
        ..TokenizerOptions::default()
    };
    let (tokenizer, _) = TrainedTokenizer::train(&sources, &options)?;
    let directory = out.join("tokenizer");
    tokenizer.write(&directory)?;

    // A tokenizer is read as a part of a model, whatever its shape.
    let config = Config {
        vocab_size: tokenizer.vocab_size(),
        ..SyntheticModel::tiny(Architecture::Llama).config
    };
    let language = Language::of(&Blueprint::new(&config, &directory)?)?;
    let corpus = Corpus::new(sources, language, config.vocab_size, EncodeOptions::default())?;
    for (name, part) in [("training", Part::Training), ("held out", Part::HeldOut)] {
        let mut stream = corpus.stream(part, StreamOptions::once(16, 256))?;
        while stream.next_batch()?.is_some() {}
        let report = stream.report();
        let (documents, tokens) = (report.documents - report.other_part, report.tokens);
        println!(
            "{name}: {documents} documents, {tokens} tokens of {}",
            config.vocab_size
        );
    }
    Ok(())
}
