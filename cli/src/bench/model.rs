//! A model's speed: reading a prompt, making tokens.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use halfpi::engine::Engine;
use halfpi::gguf::ModelFile;
use halfpi::pack::Format;
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::pool::Pool;
use halfpi::session::{Session, SessionOptions};
use serde::Serialize;

use super::bandwidth::ReadLoop;
use crate::engine::EngineArgs;
use crate::output::{Outcome, bytes, print, print_json, table};
use crate::progress;

#[derive(clap::Args)]
pub struct ModelArgs {
    #[command(flatten)]
    subject: Subject,
    /// What the matrices of a random model are stored as
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "phi4",
        conflicts_with = "model",
        value_parser = Storage::names().collect::<Vec<_>>()
    )]
    format: String,
    /// What the embedding and the output matrix of a random model are stored as [default: as `halfpi pack` has it]
    #[arg(long, value_name = "FORMAT", conflicts_with = "model", value_parser = Storage::names().collect::<Vec<_>>())]
    head: Option<String>,
    /// Write the random model to this file and measure nothing: for other programs to measure
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "json"])]
    save: Option<PathBuf>,
    /// Tokens of the prompt that prefill is measured with
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens that decoding is measured with
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    decode_tokens: u32,
    /// Measurements of which the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    engine: EngineArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// Model file (GGUF)
    #[arg(long, short, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Random model of a known shape, made in memory
    #[arg(long, value_name = "SHAPE", value_parser = SyntheticModel::names().collect::<Vec<_>>())]
    shape: Option<String>,
}

#[derive(Serialize)]
struct Report {
    model: String,
    backend: &'static str,
    threads: usize,
    file_bytes: usize,
    load_seconds: f64,
    prompt_tokens: usize,
    decode_tokens: usize,
    /// Tokens in the cache when decoding begins.
    decode_start_tokens: usize,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    /// Reading the prompt of `prompt_tokens` and choosing what follows.
    time_to_first_token_seconds: f64,
    kv_cache_bytes: usize,
    /// Of the whole process, before bandwidth was measured; null where the system does not tell.
    peak_memory_bytes: Option<u64>,
    /// Weights that a decoded token reads.
    bytes_per_token: usize,
    /// Of these and of the embedding, what loading brought into another layout.
    weights_converted_bytes: usize,
    read_bandwidth_bytes_per_second: f64,
    /// Share of the read bandwidth that decoding uses.
    bandwidth_fraction: f64,
}

/// Decoding begins after one token.
const DECODE_START: usize = 1;

/// What one round measures, in seconds.
struct Round {
    prefill: f64,
    first_token: f64,
    decode: f64,
}

pub fn run(args: &ModelArgs) -> Outcome {
    if let Some(path) = &args.save {
        let (name, model) = args.synthetic()?;
        model.save(path)?;
        return print(&format!("{name}: {}\n", path.display()));
    }
    let (model, file) = args.open()?;
    let file_bytes = file.bytes().len();
    let start = Instant::now();
    let engine = args.engine.load(&model, file)?;
    let load_seconds = start.elapsed().as_secs_f64();

    let (prompt, decode) = (args.prompt_tokens as usize, args.decode_tokens as usize);
    let (context_length, most) = (prompt.max(decode + DECODE_START), engine.config().context_length);
    if context_length > most {
        return Err(
            format!("{context_length} tokens do not fit in this model's context of {most}: ask for fewer").into(),
        );
    }
    let mut session = engine.session(SessionOptions {
        context_length: Some(context_length),
        ..SessionOptions::default()
    })?;
    let tokens = some_tokens(&engine, context_length);
    let threads = Pool::new(engine.threads());

    let bar = progress::bar(u64::from(args.rounds) + 1, "rounds");
    // The first round brings the weights into memory and does not count.
    measure(&mut session, &tokens, prompt, decode)?;
    bar.inc(1);
    let peak_memory_bytes = peak_memory();
    let read_loop = ReadLoop::new()?;
    let (mut rounds, mut bandwidth) = (Vec::new(), 0.0);
    for _ in 0..args.rounds {
        rounds.push(measure(&mut session, &tokens, prompt, decode)?);
        // The best of all: what the memory can do, on a machine that may be busy with other things at times.
        bandwidth = read_loop.bytes_per_second(&threads).max(bandwidth);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let of = |seconds: fn(&Round) -> f64| median(rounds.iter().map(seconds).collect());

    let bytes_per_token = engine.model().bytes_per_token();
    let decode_tokens_per_second = decode as f64 / of(|round| round.decode);
    let report = Report {
        model,
        backend: engine.backend().name(),
        threads: engine.threads(),
        file_bytes,
        load_seconds,
        prompt_tokens: prompt,
        decode_tokens: decode,
        decode_start_tokens: DECODE_START,
        prefill_tokens_per_second: prompt as f64 / of(|round| round.prefill),
        decode_tokens_per_second,
        time_to_first_token_seconds: of(|round| round.first_token),
        kv_cache_bytes: session.kv_bytes(),
        peak_memory_bytes,
        bytes_per_token,
        weights_converted_bytes: engine.model().arena_bytes(),
        read_bandwidth_bytes_per_second: bandwidth,
        bandwidth_fraction: decode_tokens_per_second * bytes_per_token as f64 / bandwidth,
    };
    if args.json {
        print_json(&report)
    } else {
        print(&report.text())
    }
}

impl ModelArgs {
    /// The model and what to call it.
    fn open(&self) -> Outcome<(String, ModelFile)> {
        if let Some(path) = &self.subject.model {
            return Ok((path.display().to_string(), ModelFile::open(path)?));
        }
        let (name, model) = self.synthetic()?;
        Ok((name, model.to_model_file()?))
    }

    /// The random model and what to call it.
    fn synthetic(&self) -> Outcome<(String, SyntheticModel)> {
        let (shape, format) = (self.subject.shape.as_deref().unwrap_or_default(), &self.format);
        // The command line takes known names only.
        let unknown = || format!("there is no shape {shape:?} with format {format:?}");
        let model = SyntheticModel::by_name(shape).ok_or_else(unknown)?;
        let model = model.with_storage(Storage::by_name(format).ok_or_else(unknown)?);
        let head = self.head.as_deref().unwrap_or(default_head(format));
        let model = model.with_head(Storage::by_name(head).ok_or_else(unknown)?);
        Ok((format!("{shape} {format}, head {head}"), model))
    }
}

/// How `halfpi pack` stores the embedding and the output matrix of a model of this format.
fn default_head(format: &str) -> &str {
    format.parse::<Format>().map_or(format, |format| format.head().name())
}

/// Any tokens do: the work does not depend on which.
fn some_tokens(engine: &Engine, count: usize) -> Vec<u32> {
    let vocab_size = engine.config().vocab_size;
    (0..count).map(|i| ((i * 7919 + 11) % vocab_size) as u32).collect()
}

fn measure(session: &mut Session, tokens: &[u32], prompt: usize, decode: usize) -> Outcome<Round> {
    // A token that the prompt does not begin with empties the cache.
    session.prefill(&[(tokens[0] + 1) % session.logits().len() as u32], None)?;
    let start = Instant::now();
    session.prefill(&tokens[..prompt], None)?;
    let prefill = start.elapsed().as_secs_f64();
    let best = (0..).zip(session.logits()).max_by(|(_, a), (_, b)| a.total_cmp(b));
    let best: u32 = best.map_or(0, |(id, _)| id);
    let first_token = start.elapsed().as_secs_f64();

    session.prefill(&[std::hint::black_box(best)], None)?;
    let start = Instant::now();
    for &token in &tokens[..decode] {
        session.decode(token)?;
    }
    Ok(Round {
        prefill,
        first_token,
        decode: start.elapsed().as_secs_f64(),
    })
}

/// The median; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
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
        let per_second = |rate: f64, tokens: usize| format!("{rate:.1} tokens/s ({tokens} tokens)");
        let bandwidth = bytes(self.read_bandwidth_bytes_per_second as u64);
        let rows = [
            ("model", self.model.clone()),
            ("backend", format!("{}, {} thread(s)", self.backend, self.threads)),
            ("load", format!("{:.0} ms", self.load_seconds * 1e3)),
            (
                "prefill",
                per_second(self.prefill_tokens_per_second, self.prompt_tokens),
            ),
            ("decode", per_second(self.decode_tokens_per_second, self.decode_tokens)),
            (
                "first token after",
                format!("{:.0} ms", self.time_to_first_token_seconds * 1e3),
            ),
            ("weights per token", bytes(self.bytes_per_token as u64)),
            ("packed at load", bytes(self.weights_converted_bytes as u64)),
            (
                "used by decode",
                format!("{:.0}% of {bandwidth}/s", self.bandwidth_fraction * 100.0),
            ),
            ("file", bytes(self.file_bytes as u64)),
            ("KV cache", bytes(self.kv_cache_bytes as u64)),
            (
                "peak memory",
                self.peak_memory_bytes.map_or("not known on this system".into(), bytes),
            ),
        ];
        table(&rows.map(|(what, value)| vec![what.into(), value]), 2)
    }
}
