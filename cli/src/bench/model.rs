//! A model's speed: reading a prompt, making tokens.

use std::path::PathBuf;
use std::time::Instant;

use halfpi::engine::Engine;
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::session::{Session, SessionOptions};
use serde::Serialize;

use super::bandwidth::read_bandwidth;
use super::median;
use crate::engine::EngineArgs;
use crate::output::{Outcome, bytes, print, print_json, table};
use crate::progress;

#[derive(clap::Args)]
pub struct Args {
    /// Model file (GGUF)
    #[arg(long, short, value_name = "MODEL", required_unless_present = "shape", conflicts_with = "shape")]
    model: Option<PathBuf>,
    /// Make a random model of this shape in memory instead: bitnet-2b4t, smollm2-135m, …
    #[arg(long, value_name = "NAME")]
    shape: Option<String>,
    /// What the weights of --shape are stored as: q4_0, q8_0, phi4, f16, …
    #[arg(long, value_name = "FORMAT", default_value = "q4_0")]
    format: String,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens to make
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

#[derive(Serialize)]
struct Report {
    model: String,
    backend: &'static str,
    threads: usize,
    prompt_tokens: usize,
    decode_tokens: usize,
    /// Tokens in the cache when decoding begins.
    decode_start_tokens: usize,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    time_to_first_token_seconds: f64,
    /// Of the whole process before bandwidth was measured; null where the system does not tell.
    peak_memory_bytes: Option<u64>,
    bytes_per_token: usize,
    read_bandwidth_bytes_per_second: f64,
    bandwidth_fraction: f64,
}

/// What one round measures, in seconds.
struct Round {
    prefill: f64,
    first_token: f64,
    decode: f64,
}

pub fn run(args: &Args) -> Outcome {
    let (name, engine) = open(args)?;
    let (prompt, decode) = (args.prompt_tokens as usize, args.decode_tokens as usize);
    let context_length = prompt.max(decode + 1);
    let most = engine.config().context_length;
    if context_length > most {
        return Err(format!("{context_length} tokens do not fit in this model's context of {most}: ask for fewer").into());
    }
    let mut session =
        engine.session(SessionOptions { context_length: Some(context_length), ..SessionOptions::default() })?;
    // Any tokens do: the work does not depend on which.
    let vocab_size = engine.config().vocab_size;
    let tokens: Vec<u32> = (0..context_length).map(|i| ((i * 7919 + 11) % vocab_size) as u32).collect();

    let bar = progress::bar(u64::from(args.rounds) + 1, "rounds");
    let mut rounds = Vec::new();
    for round in 0..=args.rounds {
        let measured = measure(&mut session, &tokens, prompt, decode)?;
        // The first round brings the weights into memory.
        if round > 0 {
            rounds.push(measured);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let peak_memory_bytes = peak_memory();
    let of = |seconds: fn(&Round) -> f64| median(rounds.iter().map(seconds).collect());

    let bytes_per_token = engine.model().bytes_per_token();
    let read_bandwidth = read_bandwidth(engine.threads())?;
    let decode_tokens_per_second = decode as f64 / of(|round| round.decode);
    let report = Report {
        model: name,
        backend: engine.backend().name(),
        threads: engine.threads(),
        prompt_tokens: prompt,
        decode_tokens: decode,
        decode_start_tokens: 1,
        prefill_tokens_per_second: prompt as f64 / of(|round| round.prefill),
        decode_tokens_per_second,
        time_to_first_token_seconds: of(|round| round.first_token),
        peak_memory_bytes,
        bytes_per_token,
        read_bandwidth_bytes_per_second: read_bandwidth,
        bandwidth_fraction: decode_tokens_per_second * bytes_per_token as f64 / read_bandwidth,
    };
    if args.json { print_json(&report) } else { print(&text(&report)) }
}

fn open(args: &Args) -> Outcome<(String, Engine)> {
    if let Some(model) = &args.model {
        return Ok((model.display().to_string(), args.engine.open(model)?));
    }
    let shape = args.shape.as_deref().unwrap_or_default();
    let names = |names: &mut dyn Iterator<Item = &'static str>| names.collect::<Vec<_>>().join(", ");
    let model = SyntheticModel::by_name(shape)
        .ok_or_else(|| format!("no shape {shape:?}; there are: {}", names(&mut SyntheticModel::names())))?;
    let storage = Storage::by_name(&args.format)
        .ok_or_else(|| format!("no format {:?}; there are: {}", args.format, names(&mut Storage::names())))?;
    let file = model.with_storage(storage).to_model_file()?;
    Ok((format!("{shape} ({})", args.format), args.engine.load(file)?))
}

fn measure(session: &mut Session, tokens: &[u32], prompt: usize, decode: usize) -> Outcome<Round> {
    // A first token that no prompt begins with empties the cache.
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
    Ok(Round { prefill, first_token, decode: start.elapsed().as_secs_f64() })
}

fn text(report: &Report) -> String {
    let per_second = |rate: f64| format!("{rate:.1} tokens/s");
    let rows = [
        ["model", &report.model],
        ["backend", &format!("{}, {} thread(s)", report.backend, report.threads)],
        [
            "prefill",
            &format!("{}  ({} tokens)", per_second(report.prefill_tokens_per_second), report.prompt_tokens),
        ],
        [
            "decode",
            &format!("{}  ({} tokens)", per_second(report.decode_tokens_per_second), report.decode_tokens),
        ],
        ["time to first token", &format!("{:.1} ms", report.time_to_first_token_seconds * 1e3)],
        ["weights read per token", &bytes(report.bytes_per_token as u64)],
        [
            "of the read bandwidth",
            &format!(
                "{:.0}% of {}/s",
                report.bandwidth_fraction * 100.0,
                bytes(report.read_bandwidth_bytes_per_second as u64)
            ),
        ],
        ["peak memory", &report.peak_memory_bytes.map_or("not known here".into(), bytes)],
    ];
    table(&rows.map(|row| row.map(String::from).to_vec()), 2)
}

/// The most memory that this process has had, where the system tells it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
