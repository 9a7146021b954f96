//! `halfpi eval perplexity`: how well a model predicts a text.

use std::path::PathBuf;
use std::time::Instant;

use halfpi::session::SessionOptions;
use halfpi::tokenizer::Special;
use serde::Serialize;

use super::scores::{Score, windows};
use crate::engine::EngineArgs;
use crate::output::{Outcome, print, print_json, read_text};
use crate::progress;

/// Measure how well a model predicts a text
///
/// The text is cut into windows of --context tokens that are judged apart; the first token of each is not counted.
/// Special tokens in the text are parsed.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  halfpi eval perplexity --model model.gguf --text story.txt --activations f32")]
pub struct Args {
    /// Model file (GGUF)
    #[arg(long, short, value_name = "MODEL")]
    model: PathBuf,
    /// Text file (UTF-8)
    #[arg(long, short, value_name = "FILE")]
    text: PathBuf,
    /// Tokens of a window
    #[arg(long, short, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..))]
    context: u32,
    #[command(flatten)]
    engine: EngineArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    tokens: usize,
    mean_nll: f64,
    perplexity: f64,
    tokens_per_second: f64,
}

pub fn run(args: &Args) -> Outcome {
    let text = read_text(&args.text)?;
    let engine = args.engine.open(&args.model)?;
    let context = (args.context as usize).min(engine.config().context_length);
    let ids = engine.tokenizer().encode(&text, Special::Parse);
    let windows = windows(&engine, &ids, context);
    if windows.is_empty() {
        return Err(super::too_short(&args.text));
    }
    let mut session = engine.session(SessionOptions {
        context_length: Some(context),
        ..SessionOptions::default()
    })?;
    let bar = progress::bar(windows.iter().map(|window| window.len() as u64 - 1).sum(), "tokens");
    let mut score = Score::default();
    let start = Instant::now();
    for window in &windows {
        session.evaluate(window, |position, logits| {
            if let Some(&next) = window.get(position + 1) {
                score.add(logits, next);
                bar.inc(1);
            }
        })?;
    }
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let report = Report {
        tokens: score.tokens,
        mean_nll: score.mean_nll(),
        perplexity: score.perplexity(),
        tokens_per_second: score.tokens as f64 / seconds,
    };
    if args.json {
        return print_json(&report);
    }
    print(&format!(
        "perplexity {:.4} (mean negative log-likelihood {:.5} nats) over {} tokens, {:.1} tokens/s\n",
        report.perplexity, report.mean_nll, report.tokens, report.tokens_per_second
    ))
}
