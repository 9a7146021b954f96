//! `halfpi eval compare`: how far a model's predictions are from a reference's.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use halfpi::session::{Session, SessionOptions};
use halfpi::tokenizer::Special;
use serde::Serialize;

use super::scores::{Score, best, kl_divergence, windows};
use crate::engine::{Activations, EngineArgs};
use crate::output::{Outcome, print, print_json, read_text};
use crate::progress;

/// Positions by which the reference may be ahead: bounds the memory, whatever the length of the text.
const AHEAD: usize = 32;

/// Compare a model's predictions with a reference's
///
/// Both read the same text side by side, in windows of --context tokens. The models must have the same vocabulary.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  halfpi eval compare --model packed.gguf --reference original.gguf --text story.txt
  halfpi eval compare --model m.gguf --reference m.gguf --reference-activations f32 --text story.txt")]
pub struct Args {
    /// Model file (GGUF)
    #[arg(long, short, value_name = "MODEL")]
    model: PathBuf,
    /// Model file to compare with (GGUF)
    #[arg(long, short, value_name = "MODEL")]
    reference: PathBuf,
    /// Text file (UTF-8)
    #[arg(long, short, value_name = "FILE")]
    text: PathBuf,
    /// Tokens of a window
    #[arg(long, short, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..))]
    context: u32,
    #[command(flatten)]
    engine: EngineArgs,
    /// What the reference's weights are multiplied with
    #[arg(long, value_enum, default_value_t = Activations::Int8)]
    reference_activations: Activations,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    tokens: usize,
    /// Mean over all positions of the divergence from the reference, in nats.
    kl_divergence: f64,
    /// Share of positions where both have the same most likely token.
    top1_agreement: f64,
    perplexity: f64,
    reference_perplexity: f64,
}

pub fn run(args: &Args) -> Outcome {
    let text = read_text(&args.text)?;
    let engine = args.engine.open(&args.model)?;
    let reference = args.engine.open_with(&args.reference, args.reference_activations)?;
    let (ours, theirs) = (engine.config().vocab_size, reference.config().vocab_size);
    if ours != theirs {
        return Err(
            format!("the models have {ours} and {theirs} tokens: only models of one vocabulary compare").into(),
        );
    }
    let longest = engine.config().context_length.min(reference.config().context_length);
    let context = (args.context as usize).min(longest);
    let ids = engine.tokenizer().encode(&text, Special::Parse);
    let windows = windows(&engine, &ids, context);
    if windows.is_empty() {
        return Err(super::too_short(&args.text));
    }
    let options = SessionOptions {
        context_length: Some(context),
        ..SessionOptions::default()
    };
    let mut session = engine.session(options.clone())?;
    let reference_session = reference.session(options)?;

    let bar = progress::bar(windows.iter().map(|window| window.len() as u64 - 1).sum(), "tokens");
    let mut sums = Sums::default();
    std::thread::scope(|scope| -> Outcome {
        // Logits go over in buffers that come back empty.
        let (full, logits) = sync_channel(AHEAD);
        let (empty, buffers) = sync_channel(AHEAD);
        let all = &windows;
        let reader = scope.spawn(move || read_reference(reference_session, all, &full, &buffers));
        for window in &windows {
            session.evaluate(window, |position, ours| {
                // The reference sends nothing for a window's last position, so none must be taken.
                let Some(&next) = window.get(position + 1) else { return };
                let Ok(theirs) = logits.recv() else { return };
                sums.add(&theirs, ours, next);
                bar.inc(1);
                // Fails once the reference has all it needs.
                let _ = empty.try_send(theirs);
            })?;
        }
        drop(logits);
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(())
    })?;
    bar.finish_and_clear();
    sums.report(args.json)
}

/// Sends the reference's logits, position by position, for as long as somebody listens.
fn read_reference(
    mut session: Session,
    windows: &[Vec<u32>],
    full: &SyncSender<Vec<f32>>,
    buffers: &Receiver<Vec<f32>>,
) -> halfpi::Result<()> {
    let mut wanted = true;
    for window in windows.iter() {
        if !wanted {
            break;
        }
        session.evaluate(window, |position, logits| {
            if wanted && position + 1 < window.len() {
                let mut buffer = buffers.try_recv().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(logits);
                wanted = full.send(buffer).is_ok();
            }
        })?;
    }
    Ok(())
}

#[derive(Default)]
struct Sums {
    score: Score,
    reference: Score,
    kl_divergence: f64,
    agreed: usize,
}

impl Sums {
    fn add(&mut self, reference: &[f32], logits: &[f32], next: u32) {
        self.score.add(logits, next);
        self.reference.add(reference, next);
        self.kl_divergence += kl_divergence(reference, logits);
        self.agreed += usize::from(best(reference) == best(logits));
    }

    fn report(&self, json: bool) -> Outcome {
        let tokens = self.score.tokens as f64;
        let report = Report {
            tokens: self.score.tokens,
            kl_divergence: self.kl_divergence / tokens,
            top1_agreement: self.agreed as f64 / tokens,
            perplexity: self.score.perplexity(),
            reference_perplexity: self.reference.perplexity(),
        };
        if json {
            return print_json(&report);
        }
        print(&format!(
            "KL divergence {:.6} nats, top-1 agreement {:.2}%, perplexity {:.4} against {:.4}, over {} tokens\n",
            report.kl_divergence,
            report.top1_agreement * 100.0,
            report.perplexity,
            report.reference_perplexity,
            report.tokens
        ))
    }
}
