//! `halfpi pack`: packs the weights of a model into a file of our own formats.

mod archive;
mod calibration;
mod page;

use std::iter;
use std::path::PathBuf;

use halfpi::pack::{Format, Keep, Options, PackReport, Scales, Source, TensorReport, pack};
use serde::Serialize;

use crate::engine::I2s;
use crate::interrupt::Interrupt;
use crate::output::{Outcome, about, bytes, count, one_line, print, print_json, table};
use crate::progress;
use archive::Archived;
use page::{decibels, small};

/// Pack a model's weights
///
/// MODEL is a GGUF file, or a directory as the Hugging Face hub has them: config.json, *.safetensors, tokenizer.json.
/// Matrices get --format, unless a --keep names them; norms and biases stay f32. The output appears when it is
/// complete. SQNR is the signal-to-quantization-noise ratio, NMSE the squared error as a part of the squared weights.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  halfpi pack model.gguf --format q8 -o model-q8.gguf
  halfpi pack SmolLM2-135M-Instruct/ --format phi4 --group 64 --keep token_embd.weight=q8 -o smollm2.gguf
  halfpi pack bitnet-b1.58-2B-4T-bf16/ --format ternary -o bitnet.gguf
  halfpi pack model.gguf --format phi4-additive -o model-phi4.gguf --archive model-phi4.hpar")]
pub struct Args {
    /// GGUF file or Hugging Face directory
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// What matrices are packed into
    #[arg(long, short, value_name = "FORMAT", value_parser = Format::names().collect::<Vec<_>>())]
    format: String,
    /// Columns that share a scale, or `row`, or `tensor` [default: as the format has it]
    #[arg(long, short, value_name = "N", value_parser = Scales::NAMES)]
    group: Option<String>,
    /// How scales are chosen: `least-squares`, `largest` (of a group at the largest integer), `absmean` (BitNet's, for
    /// weights trained with it) or `sparsity=SHARE` (so much of ternary weights becomes 0) [default: least-squares; weights
    /// that training left ternary keep their scales]
    #[arg(long, value_name = "QUANTIZER")]
    quantizer: Option<String>,
    /// Exponents of φ that the levels of phi4 and phi5 have, first and last [default: 4..11, as many as there can be]
    #[arg(long, value_name = "FIRST..LAST")]
    exponents: Option<String>,
    /// Neighbouring weights that share an exponent, of phi4 and phi5: for files that are entropy-coded
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=32))]
    cluster: u8,
    /// The format of the embedding and the output matrix [default: q6 with formats of 2 bits or fewer, q8 with others]
    #[arg(long, value_name = "FORMAT", value_parser = Format::names().collect::<Vec<_>>())]
    head: Option<String>,
    /// Another format for the tensors that PATTERN names, in which * stands for anything; the first that matches counts
    #[arg(long, short, value_name = "PATTERN=FORMAT")]
    keep: Vec<String>,
    /// Round with error feedback, by what the layers make of this text: the kind the model will meet. JSON lines (.jsonl)
    /// with a `text` or `messages`, which the model's chat template writes, or a plain text
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// Tokens of the text that are used, spread evenly over it
    #[arg(long, value_name = "N", requires = "calibrate", default_value_t = 16384,
          value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    calibrate_tokens: u32,
    /// File to write
    #[arg(long, short, value_name = "OUT.gguf")]
    output: PathBuf,
    /// Write a page about the weights and what packing did to them into this directory: index.html
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// The order of I2_S weights, which their file does not say
    #[arg(long, value_enum, default_value_t = I2s::X86)]
    i2s_order: I2s,
    /// Pack even what loses more than a right scale would
    #[arg(long)]
    allow_loss: bool,
    /// Write the file once more, entropy-coded for download; `halfpi unpack` restores it
    #[arg(long, value_name = "OUT.hpar")]
    archive: Option<PathBuf>,
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
    archive: Option<&'a Archived>,
}

pub fn run(args: &Args) -> Outcome {
    let keep = args
        .keep
        .iter()
        .map(|keep| keep.parse::<Keep>())
        .collect::<Result<_, _>>();
    let scales = args.group.as_deref().map(str::parse).transpose();
    let mut options = Options {
        scales: scales.map_err(halfpi::Error::from)?,
        keep: keep.map_err(halfpi::Error::from)?,
        allow_loss: args.allow_loss,
        survey: args.report.is_some(),
        ..Options::new(args.format.parse().map_err(halfpi::Error::from)?)
    };
    if let Some(quantizer) = &args.quantizer {
        options.method = quantizer.parse().map_err(halfpi::Error::from)?;
    }
    if let Some(exponents) = &args.exponents {
        options.exponents = Some(exponents.parse().map_err(halfpi::Error::from)?);
    }
    options.cluster = args.cluster.into();
    if let Some(head) = &args.head {
        options.head = head.parse().map_err(halfpi::Error::from)?;
    }
    if let Some(threads) = args.threads {
        options.threads = threads.into();
    }
    if args.archive.as_ref() == Some(&args.output) {
        return Err(format!("{}: give the archive a name of its own", args.output.display()).into());
    }
    let source = Source::open(&args.model).map_err(|error| about(&args.model, error))?;
    let source = source.with_i2s_order(args.i2s_order.into());
    if let Some(path) = &args.calibrate {
        let tokens = args.calibrate_tokens as usize;
        options.calibration = Some(calibration::read(path, &source, tokens)?);
    }
    let interrupt = Interrupt::noted()?;

    let bar = progress::bar(0, "weights");
    let report = pack(&source, &options, &args.output, &mut |progress| {
        bar.set_length(progress.weights);
        bar.set_position(progress.weights_done);
        bar.set_message(progress.tensor.to_owned());
        interrupt.go_on()
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| about(&args.model, error))?;
    if let Some(directory) = &args.report {
        page::write(directory, &args.output, &args.format, &report)?;
    }
    let write = |archive: &PathBuf| archive::write(&args.output, archive, options.threads, &interrupt);
    let archived = args.archive.as_ref().map(write).transpose()?;
    if args.json {
        let output = Output {
            output: args.output.display().to_string(),
            format: &args.format,
            report: &report,
            archive: archived.as_ref(),
        };
        return print_json(&output);
    }
    let archived = archived.map(|archived| archived.text(report.file_bytes));
    print(&(text(args, &report) + &archived.unwrap_or_default()))
}

fn text(args: &Args, report: &PackReport) -> String {
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
            small(tensor.nmse),
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
        small(report.nmse),
    )
}
