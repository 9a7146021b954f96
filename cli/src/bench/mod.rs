//! `halfpi bench`: how fast a model runs here, and how near that is to what the memory allows.

mod bandwidth;
mod kernels;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use bandwidth::ReadLoop;
use clap::Subcommand;
use halfpi::engine::Engine;
use halfpi::gguf::ModelFile;
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pool::Pool;
use halfpi::sampler::SamplerOptions;
use halfpi::session::{GenerateOptions, Session, SessionOptions, Usage};
use halfpi::tokenizer::Special;
use serde::Serialize;

use crate::engine::EngineArgs;
use crate::output::{Outcome, bytes, print, print_json, table};
use crate::progress;

/// Measure how fast a model runs here
///
/// A model of --shape is made of random weights in memory, so nothing has to be downloaded. Times are medians over
/// --repeats; the read bandwidth is that of a plain loop over a large buffer with the same threads.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  halfpi bench --model model.gguf --threads 1
  halfpi bench --shape bitnet-2b4t --format phi4
  halfpi bench kernels --json"
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    subject: Subject,
    /// How the matrices of a random model are stored
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "phi4",
        conflicts_with = "model",
        value_parser = Storage::names().collect::<Vec<_>>()
    )]
    format: String,
    /// Tokens of the prompt that prefill is measured with
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..))]
    prompt_tokens: u32,
    /// Tokens of the answer that decoding is measured with
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    tokens: u32,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    #[command(flatten)]
    engine: EngineArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum What {
    Kernels(kernels::Args),
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// Model file (GGUF)
    #[arg(long, short, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Random model of a known shape
    #[arg(long, value_name = "SHAPE", value_parser = SyntheticModel::names().collect::<Vec<_>>())]
    shape: Option<String>,
}

impl Args {
    /// The model and what to call it.
    fn open(&self) -> Outcome<(String, ModelFile)> {
        if let Some(path) = &self.subject.model {
            return Ok((path.display().to_string(), ModelFile::open(path)?));
        }
        let (shape, format) = (self.subject.shape.as_deref().unwrap_or_default(), &self.format);
        // The command line takes known names only.
        let unknown = || format!("there is no shape {shape:?} with format {format:?}");
        let model = SyntheticModel::by_name(shape).ok_or_else(unknown)?;
        let model = model.with_storage(Storage::by_name(format).ok_or_else(unknown)?);
        Ok((format!("{shape} {format}"), model.to_model_file()?))
    }
}

#[derive(Serialize)]
struct Report {
    model: String,
    backend: &'static str,
    threads: usize,
    file_bytes: usize,
    prompt_tokens: usize,
    generated_tokens: usize,
    load_seconds: f64,
    /// From opening the file to the first token after a prompt of a few tokens.
    time_to_first_token_seconds: f64,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    kv_cache_bytes: usize,
    /// Most memory the process had, weights included; null where the system does not tell.
    peak_memory_bytes: Option<u64>,
    /// Weights that a decoded token reads.
    bytes_per_token: usize,
    read_bandwidth_bytes_per_second: f64,
    /// Share of the read bandwidth that decoding uses.
    bandwidth_fraction: f64,
}

pub fn run(args: &Args) -> Outcome {
    if let Some(What::Kernels(args)) = &args.what {
        return kernels::run(args);
    }
    let (model, file) = args.open()?;
    let file_bytes = file.bytes().len();
    let start = Instant::now();
    let engine = args.engine.load(&model, file)?;
    let load_seconds = start.elapsed().as_secs_f64();

    let (prompt, answer) = (args.prompt_tokens as usize, args.tokens as usize);
    if engine.config().context_length < MIN_CONTEXT {
        return Err(format!("{model} has a context of under {MIN_CONTEXT} tokens: too short to measure").into());
    }
    // Room for the prompt or the answer, and for the first words and BOS before either.
    let context = (prompt.max(answer) + 16).min(engine.config().context_length);
    let measure = Measure {
        engine: &engine,
        context,
    };
    let first = measure.complete(FIRST_WORDS, 1)?;

    let bar = progress::bar(2 * u64::from(args.repeats), "measurements");
    let text = long_text(&engine, prompt.min(context - 1));
    let threads = Pool::new(engine.threads());
    let kv_cache_bytes = measure.session()?.kv_bytes();
    let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
    // The loop's buffer comes after the peak was taken; then it is measured between the runs, as the machine is then.
    let (mut peak_memory_bytes, mut read_loop, mut bandwidth) = (None, None, 0.0);
    for _ in 0..args.repeats {
        prefills.push(measure.complete(&text, 1)?);
        bar.inc(1);
        decodes.push(measure.complete(FIRST_WORDS, answer.min(context - 16))?);
        bar.inc(1);
        let read_loop = read_loop.get_or_insert_with(|| {
            peak_memory_bytes = peak_memory();
            ReadLoop::new()
        });
        bandwidth = read_loop.bytes_per_second(&threads).max(bandwidth);
    }
    bar.finish_and_clear();
    let decode = median(&decodes, Usage::decode_tokens_per_second);
    let bytes_per_token = engine.model().bytes_per_token();
    let report = Report {
        model,
        backend: engine.backend().name(),
        threads: engine.threads(),
        file_bytes,
        prompt_tokens: prefills[0].prompt_tokens,
        generated_tokens: decodes[0].generated_tokens,
        load_seconds,
        time_to_first_token_seconds: load_seconds + first.time_to_first_token.as_secs_f64(),
        prefill_tokens_per_second: median(&prefills, Usage::prefill_tokens_per_second),
        decode_tokens_per_second: decode,
        kv_cache_bytes,
        peak_memory_bytes,
        bytes_per_token,
        read_bandwidth_bytes_per_second: bandwidth,
        bandwidth_fraction: decode * bytes_per_token as f64 / bandwidth,
    };
    if args.json {
        print_json(&report)
    } else {
        print(&report.text())
    }
}

const FIRST_WORDS: &str = "The time that you";
/// The first words, BOS, and an answer worth timing.
const MIN_CONTEXT: usize = 64;

struct Measure<'a> {
    engine: &'a Engine,
    context: usize,
}

impl Measure<'_> {
    fn session(&self) -> Outcome<Session> {
        let options = SessionOptions {
            context_length: Some(self.context),
            ..SessionOptions::default()
        };
        Ok(self.engine.session(options)?)
    }

    /// Continues `text` greedily in a session of its own, whose cache is empty.
    fn complete(&self, text: &str, max_tokens: usize) -> Outcome<Usage> {
        let options = GenerateOptions {
            sampler: SamplerOptions::greedy(),
            max_tokens: Some(max_tokens),
            ..GenerateOptions::default()
        };
        let mut ignore = |_: &str| std::ops::ControlFlow::Continue(());
        Ok(self.session()?.complete(text, &options, &mut ignore)?.usage)
    }
}

/// A text of about `tokens` tokens, not more.
fn long_text(engine: &Engine, tokens: usize) -> String {
    let tokenizer = engine.tokenizer();
    let bos = usize::from(tokenizer.add_bos());
    let mut words = 0;
    let text = " and then we look at what has been said about the day".repeat(tokens);
    let count = |text: &str| tokenizer.encode(text, Special::AsText).len() + bos;
    let ends: Vec<usize> = text
        .char_indices()
        .filter(|(_, c)| *c == ' ')
        .map(|(at, _)| at)
        .collect();
    // The longest prefix of whole words that fits, by bisection.
    let mut step = ends.len().next_power_of_two();
    while step > 0 {
        if ends.get(words + step).is_some_and(|&end| count(&text[..end]) <= tokens) {
            words += step;
        }
        step /= 2;
    }
    text[..ends[words]].to_owned()
}

fn median(runs: &[Usage], rate: fn(&Usage) -> f64) -> f64 {
    let mut rates: Vec<f64> = runs.iter().map(rate).collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// The most memory this process has had resident, as Linux counts it.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

impl Report {
    fn text(&self) -> String {
        let rows = [
            ("model", self.model.clone()),
            ("backend", format!("{}, {} threads", self.backend, self.threads)),
            ("load", format!("{:.0} ms", self.load_seconds * 1e3)),
            (
                "first token after",
                format!("{:.0} ms", self.time_to_first_token_seconds * 1e3),
            ),
            (
                "prefill",
                format!(
                    "{:.1} tokens/s ({} tokens)",
                    self.prefill_tokens_per_second, self.prompt_tokens
                ),
            ),
            (
                "decode",
                format!(
                    "{:.1} tokens/s ({} tokens)",
                    self.decode_tokens_per_second, self.generated_tokens
                ),
            ),
            ("file", bytes(self.file_bytes as u64)),
            ("KV cache", bytes(self.kv_cache_bytes as u64)),
            (
                "peak memory",
                self.peak_memory_bytes.map_or("not known on this system".into(), bytes),
            ),
            ("weights per token", bytes(self.bytes_per_token as u64)),
            (
                "read bandwidth",
                format!("{}/s", bytes(self.read_bandwidth_bytes_per_second as u64)),
            ),
            ("used by decode", format!("{:.0}%", self.bandwidth_fraction * 100.0)),
        ];
        table(&rows.map(|(what, value)| vec![what.into(), value]), 2)
    }
}
