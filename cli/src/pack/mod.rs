//! `halfpi pack`: packs the weights of a model into a file of our own formats.

mod page;

use std::iter;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use halfpi::pack::{Format, Keep, Options, PackReport, Source, TensorReport, pack, parse_group};
use serde::Serialize;

use crate::output::{Outcome, about, bytes, count, one_line, print, print_json, table};
use crate::progress;

/// Pack a model's weights
///
/// MODEL is a GGUF file, or a directory as the Hugging Face hub has them: config.json, *.safetensors, tokenizer.json.
/// Matrices get --format, unless a --keep names them; norms and biases stay f32. The output appears when it is
/// complete. SQNR is the signal-to-quantization-noise ratio, NMSE the squared error as a part of the squared weights.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  halfpi pack model.gguf --format q8 -o model-q8.gguf
  halfpi pack SmolLM2-135M-Instruct/ --format phi4 --group 64 --keep token_embd.weight=q8 -o smollm2.gguf")]
pub struct Args {
    /// GGUF file or Hugging Face directory
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// What matrices are packed into
    #[arg(long, short, value_name = "FORMAT", value_parser = Format::names().collect::<Vec<_>>())]
    format: String,
    /// Columns that share a scale, or `row`
    #[arg(long, short, value_name = "N", default_value = "32", value_parser = ["32", "64", "128", "row"])]
    group: String,
    /// Another format for the tensors that PATTERN names, in which * stands for anything; the first that matches counts
    #[arg(long, short, value_name = "PATTERN=FORMAT")]
    keep: Vec<String>,
    /// File to write
    #[arg(long, short, value_name = "OUT.gguf")]
    output: PathBuf,
    /// Write a page with a histogram of every tensor's codes into this directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Pack even what loses more than a right scale would
    #[arg(long)]
    allow_loss: bool,
    /// Threads [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    output: String,
    format: &'a str,
    #[serde(flatten)]
    report: &'a PackReport,
}

pub fn run(args: &Args) -> Outcome {
    let keep = args
        .keep
        .iter()
        .map(|keep| keep.parse::<Keep>())
        .collect::<Result<_, _>>();
    let mut options = Options {
        group: parse_group(&args.group).map_err(halfpi::Error::from)?,
        keep: keep.map_err(halfpi::Error::from)?,
        allow_loss: args.allow_loss,
        survey: args.report.is_some(),
        ..Options::new(args.format.parse().map_err(halfpi::Error::from)?)
    };
    if let Some(threads) = args.threads {
        options.threads = threads.into();
    }
    let source = Source::open(&args.model).map_err(|error| about(&args.model, error))?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    // Stopped from within, so that no half of a file stays behind.
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;

    let bar = progress::bar(0, "weights");
    let report = pack(&source, &options, &args.output, &mut |progress| {
        bar.set_length(progress.weights);
        bar.set_position(progress.weights_done);
        bar.set_message(progress.tensor.to_owned());
        if interrupted.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| about(&args.model, error))?;
    if let Some(directory) = &args.report {
        page::write(directory, &args.output, &report)?;
    }
    if args.json {
        let output = Output {
            output: args.output.display().to_string(),
            format: &args.format,
            report: &report,
        };
        return print_json(&output);
    }
    print(&text(args, &report))
}

fn text(args: &Args, report: &PackReport) -> String {
    let decibels = |sqnr: Option<f64>| sqnr.map_or("exact".into(), |sqnr| format!("{sqnr:.2} dB"));
    let nmse = |nmse: f64| if nmse == 0.0 { "0".into() } else { format!("{nmse:.2e}") };
    let row = |tensor: &TensorReport| {
        let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        vec![
            one_line(&tensor.name, 80),
            format!("{} -> {}", tensor.from, tensor.to),
            tensor.note.clone().unwrap_or_default(),
            shape.join(" x "),
            bytes(tensor.bytes),
            format!("{:.3} bits", tensor.bits_per_weight),
            decibels(tensor.sqnr_db),
            nmse(tensor.nmse),
        ]
    };
    let head = [
        "tensor",
        "from -> to",
        "",
        "shape",
        "size",
        "per weight",
        "SQNR",
        "NMSE",
    ];
    let head = head.map(String::from).to_vec();
    let rows: Vec<Vec<String>> = iter::once(head).chain(report.tensors.iter().map(row)).collect();
    format!(
        "{}{}: {}, {} weights at {:.3} bits, signal to noise {}, NMSE {}\n",
        table(&rows, 3),
        one_line(&args.output.display().to_string(), 200),
        bytes(report.file_bytes),
        count(report.weights),
        report.bits_per_weight,
        decibels(report.sqnr_db),
        nmse(report.nmse),
    )
}
