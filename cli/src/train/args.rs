//! What `halfpi train` is asked for.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::builder::TypedValueParser;
use clap::{ArgGroup, ValueEnum};
use halfpi::pack::Format;
use halfpi_trainer::data::{
    EncodeOptions, LongDocuments, OnBadLine, Packing, SourceOptions, Sources, TokenizerOptions, TrainOn,
    TrainedTokenizer,
};
use halfpi_trainer::distill::Mixture;
use halfpi_trainer::lora::Lora;
use halfpi_trainer::optimize::Schedule;
use halfpi_trainer::quantize::Scheme;
use halfpi_trainer::run::{CacheOptions, OptimizerKind, RunOptions, Shape, Start, TeacherOptions, TeacherSource};
use halfpi_trainer::tensor::Precision;
use halfpi_trainer::vote::{Choice, Range, Rule};

use crate::output::Outcome;

/// Merged models keep their formats.
const AS_IT_IS: &str = "same";
/// No quantization.
const FLOATS: &str = "f32";

/// Train a model on text and pack it
///
/// DATA are text files, JSON lines with a text or a conversation, and directories of them. The model is --from a
/// checkpoint (a GGUF of any type, or a Hugging Face directory), or a new one of a --shape. The directory DIR gets
/// model.gguf, packed in the formats it was trained in, the run's report as index.html and run.json, and a checkpoint from
/// which --resume goes on.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("taught").multiple(true), after_help = "Examples:
  halfpi train chats.jsonl --shape micro --method 'ternary, head=q6' --updates 2000 -o run/
  halfpi train chats.jsonl --from model.gguf --teacher model.gguf --method phase-t2 --rate 1e-4 -o distilled/
  halfpi train chats.jsonl --from model.gguf --teacher model.gguf --cache-teacher predictions/ --method ternary -o run/
  halfpi train chats.jsonl --from packed.gguf --lora 8 --train-on assistant -o adapter/
  torchrun --nproc-per-node 4 --no-python halfpi train chats.jsonl --from model.gguf --device cuda -o run/

Methods: f32, ternary, ternary-dense, halfpi2, halfpi4, halfpi8, q6, q8, phi4, phi4-additive, phi5, phi5-additive, phase-t1,
phase-t2, phase-magnitude, phase-complex; with options after colons (ternary:learned, ternary:threshold=0.7,
phi4:scales=64), `head=METHOD` for the embedding and the output matrix, and `PATTERN=METHOD` for other tensors; the first
that matches counts.")]
pub struct Args {
    /// Text files, JSON lines, directories of them
    #[arg(value_name = "DATA", required = true)]
    data: Vec<PathBuf>,
    /// Directory for everything that comes of it
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// The model to begin with: a GGUF or a Hugging Face directory
    #[arg(long, value_name = "MODEL", conflicts_with = "shape")]
    from: Option<PathBuf>,
    /// A new model of this shape: nano, micro, mini, small, or a JSON file
    #[arg(long, value_name = "SHAPE", required_unless_present = "from")]
    shape: Option<String>,
    /// The family of a new model [default: llama, or what the file of a shape says]
    #[arg(long, value_name = "NAME", conflicts_with = "from",
          value_parser = ["llama", "qwen2", "qwen3", "bitnet", "ifairy"])]
    architecture: Option<String>,
    /// Add a norm before the matrices that lead back into the residual stream (SubLN), for training in few bits; of other
    /// engines only those for BitNet know such models
    #[arg(long)]
    sub_norm: bool,
    /// The tokenizer of a new model: a GGUF, or a directory with tokenizer.json [default: one of --vocabulary tokens is
    /// learnt from DATA and kept in DIR/tokenizer]
    #[arg(long, value_name = "PATH", conflicts_with = "from")]
    tokenizer: Option<PathBuf>,
    /// Tokens that are learnt where there is no --tokenizer
    #[arg(long, value_name = "N", default_value_t = 2048)]
    vocabulary: usize,
    /// How weights are quantized while they are trained
    #[arg(long, value_name = "METHOD", default_value = FLOATS)]
    method: String,
    /// What changes the weights
    #[arg(long, value_enum, default_value_t = Optimizer::Adamw)]
    optimizer: Optimizer,
    /// Keep matrices of plain integers (ternary, halfpi2, halfpi4, halfpi8) as integers, and train them by vote and commit
    /// every N micro-steps
    #[arg(long, value_name = "N")]
    vote: Option<u32>,
    /// Vote and commit as stated: every weight with a vote moves, however small the rate is, and votes begin anew
    #[arg(long, requires = "vote", conflicts_with_all = ["vote_top", "vote_threshold", "vote_feedback"])]
    as_stated: bool,
    /// At most this share of the weights of a matrix moves at a commit, those with the largest votes; the share falls with
    /// the rate [default: 1 of integers of 8 bits, 0.1 of 4, 0.02 of fewer]
    #[arg(long, value_name = "SHARE", requires = "vote", conflicts_with = "vote_threshold")]
    vote_top: Option<f32>,
    /// Instead, weights move whose vote is at least this share of what N gradients of mean size give
    #[arg(long, value_name = "SHARE", requires = "vote")]
    vote_threshold: Option<f32>,
    /// The share of a vote that stays for the next commit where it moved nothing [default: 0.9]
    #[arg(long, value_name = "SHARE", requires = "vote")]
    vote_feedback: Option<f32>,
    /// How much of the last change goes on, with sgd
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    momentum: f32,
    /// Updates
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1000)]
    updates: u64,
    /// Sequences of a forward pass, in each process
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch: usize,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = 128)]
    length: usize,
    /// Forward passes of an update
    #[arg(long, value_name = "N", default_value_t = 1)]
    accumulate: usize,
    /// The highest learning rate [default: 1e-3, with --from 1e-4]
    #[arg(long, value_name = "RATE")]
    rate: Option<f32>,
    /// How the rate falls: along a cosine, or as BitNet was trained, in two stages, the second without weight decay
    #[arg(long, value_enum, default_value_t = Falls::Cosine)]
    schedule: Falls,
    /// Updates over which the rate rises [default: a fiftieth of all]
    #[arg(long, value_name = "N")]
    warm_up: Option<u64>,
    /// Weight decay
    #[arg(long, value_name = "DECAY", default_value_t = 0.1)]
    decay: f32,
    /// The norm that gradients are cut to; 0 leaves them
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    clip: f32,
    /// Learn from this model's predictions: a GGUF or a Hugging Face directory with the same tokens
    #[arg(long, value_name = "MODEL", group = "taught")]
    teacher: Option<PathBuf>,
    /// Learn from predictions that a teacher left in this directory, without the teacher in memory; with --teacher those
    /// that are missing are made first
    #[arg(long, value_name = "DIR", group = "taught")]
    cache_teacher: Option<PathBuf>,
    /// Predictions that are kept of each position: those of the likeliest tokens, and one for all others
    #[arg(long, value_name = "K", default_value_t = 64, requires = "cache_teacher")]
    cache_top: usize,
    /// The most bytes of a file of predictions
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, requires = "cache_teacher")]
    cache_piece: u64,
    /// Only let the teacher predict, and train another time
    #[arg(long, requires = "cache_teacher", requires = "teacher")]
    pub cache_only: bool,
    /// The temperature at which predictions are compared
    #[arg(long, value_name = "T", default_value_t = 1.0, requires = "taught")]
    temperature: f32,
    /// How much the text itself counts beside the teacher
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0, requires = "taught")]
    text_weight: f32,
    /// How much the last layer's attention relations count (MiniLMv2)
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0, requires = "teacher")]
    relation_weight: f32,
    /// How much the last layer's output counts
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0, requires = "teacher")]
    hidden_weight: f32,
    /// Pull weights towards the levels that they are rounded to, growing to this strength at the end: their squared distance
    /// as a part of their squares (try 1)
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0)]
    regularize: f32,
    /// Train adapters of this rank and nothing else
    #[arg(long, value_name = "RANK")]
    lora: Option<usize>,
    /// What adapters add is multiplied with this by their rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA", requires = "lora")]
    alpha: Option<f32>,
    /// Write DIR/model.gguf too: the model with the adapters added, packed in the formats that it has, or all in FORMAT
    #[arg(long, value_name = "FORMAT", requires = "lora", num_args = 0..=1, require_equals = true,
          default_missing_value = AS_IT_IS, value_parser = Self::merge_formats())]
    merge: Option<String>,
    /// Which tokens of conversations count
    #[arg(long, value_enum, default_value_t = Counted::Everything)]
    train_on: Counted,
    /// What happens to lines that cannot be used
    #[arg(long, value_enum, default_value_t = BadLines::Skip)]
    bad_lines: BadLines,
    /// The share of all documents that is held out to judge by
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    held_out: f64,
    /// Batches of held-out text that are looked at
    #[arg(long, value_name = "N", default_value_t = 8)]
    held_out_batches: usize,
    /// Updates between two looks
    #[arg(long, value_name = "N", default_value_t = 100)]
    evaluate_every: u64,
    /// Updates between two checkpoints
    #[arg(long, value_name = "N", default_value_t = 500)]
    checkpoint_every: u64,
    /// What products with weights are computed in; weights, norms, loss and optimizer stay in f32
    #[arg(long, value_enum, default_value_t = Products::F32)]
    precision: Products,
    /// Chooses first weights and the order of the data
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write DIR/hub too, as the Hugging Face hub has models: the packed weights as floats of 16 bits, and merged ones as
    /// floats of 32, in which nothing is lost
    #[arg(long)]
    pub hub: bool,
    /// Write DIR/codes.safetensors too: the packed weights as int8 codes and scales
    #[arg(long)]
    pub codes: bool,
    /// Stop after so many minutes, with a checkpoint from which --resume goes on
    #[arg(long, value_name = "N")]
    pub minutes: Option<f64>,
    /// Go on from the checkpoint in DIR, with the same options; rates, decay, clipping and how often is looked and written
    /// may be others
    #[arg(long)]
    pub resume: bool,
    /// Compute the activations of a layer again for its gradients, instead of keeping those of all layers: less memory, more
    /// time, the same result
    #[arg(long)]
    recompute: bool,
    /// What computes
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub device: Device,
    /// Train in this many processes of this machine; launchers like torchrun need nothing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub processes: Option<u16>,
    /// What adds up what the processes have computed [default: nccl with --device cuda, else tcp]
    #[arg(long, value_enum)]
    pub collective: Option<Collective>,
    /// Seconds within which all processes have to come
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = seconds())]
    pub join_timeout: u64,
    /// Seconds for which processes wait for one that is alive but does not come to the same sum; more than learning the
    /// tokenizer, looking at held-out text or writing a checkpoint takes
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = seconds())]
    pub stall_timeout: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Device {
    Cpu,
    Cuda,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Collective {
    Nccl,
    Tcp,
}

/// From a second to a week.
fn seconds() -> impl TypedValueParser<Value = u64> {
    clap::value_parser!(u64).range(1..=604_800)
}

#[derive(Clone, Copy, ValueEnum)]
enum Products {
    F32,
    Bf16,
}

#[derive(Clone, Copy, ValueEnum)]
enum Optimizer {
    Adamw,
    Sgd,
}

#[derive(Clone, Copy, ValueEnum)]
enum Falls {
    Cosine,
    TwoStages,
}

#[derive(Clone, Copy, ValueEnum)]
enum Counted {
    Everything,
    Assistant,
}

#[derive(Clone, Copy, ValueEnum)]
enum BadLines {
    Skip,
    Refuse,
}

impl Args {
    /// The run.
    pub fn options(&self) -> Outcome<RunOptions> {
        if self.lora.is_some() && self.merge.is_none() && (self.hub || self.codes) {
            return Err("adapters are no model: add --merge to write one with --hub or --codes".into());
        }
        let changes_base = self.shape.is_some() || self.sub_norm || self.method != FLOATS;
        if self.lora.is_some() && self.merge.is_none() && changes_base {
            let reason = "adapters alone are for the model that is there already: with --shape, --sub-norm or --method add --merge";
            return Err(reason.into());
        }
        if self.momentum != 0.0 && matches!(self.optimizer, Optimizer::Adamw) {
            return Err("--momentum is for --optimizer sgd".into());
        }
        let start = match (&self.from, &self.shape) {
            (Some(model), _) => Start::Model(model.clone()),
            (None, Some(shape)) => Start::New {
                shape: self.shape(shape)?,
                tokenizer: self.tokenizer(),
            },
            (None, None) => return Err("give --from MODEL or --shape SHAPE".into()),
        };
        let rate = self.rate.unwrap_or(if self.from.is_some() { 1e-4 } else { 1e-3 });
        let schedule = match self.schedule {
            Falls::Cosine => Schedule::cosine(self.updates, rate, self.decay),
            Falls::TwoStages => Schedule::two_stages(self.updates, rate, self.decay),
        };
        let mixture = Mixture {
            text: self.text_weight,
            logits: 1.0,
            temperature: self.temperature,
            relations: self.relation_weight,
            hidden: self.hidden_weight,
        };
        Ok(RunOptions {
            start,
            sub_norm: self.sub_norm,
            data: self.data.clone(),
            sources: self.sources(),
            encode: EncodeOptions {
                train_on: match self.train_on {
                    Counted::Everything => TrainOn::Everything,
                    Counted::Assistant => TrainOn::Assistant,
                },
                ..EncodeOptions::default()
            },
            packing: Packing::default(),
            long_documents: LongDocuments::default(),
            scheme: self.method.parse()?,
            vote: self.vote.map(|every| self.rule(every)).transpose()?,
            optimizer: match self.optimizer {
                Optimizer::Adamw => OptimizerKind::AdamW,
                Optimizer::Sgd => OptimizerKind::Sgd {
                    momentum: self.momentum,
                },
            },
            schedule: Schedule {
                warm_up: self.warm_up.unwrap_or(schedule.warm_up),
                ..schedule
            },
            batch: self.batch,
            length: self.length,
            accumulate: self.accumulate,
            clip: (self.clip > 0.0).then_some(self.clip),
            recompute: self.recompute,
            precision: match self.precision {
                Products::F32 => Precision::F32,
                Products::Bf16 => Precision::Bf16,
            },
            seed: self.seed,
            teacher: self.teacher().map(|source| TeacherOptions { source, mixture }),
            dampening: self.regularize,
            lora: self.lora.map(|rank| Lora {
                rank,
                alpha: self.alpha.unwrap_or(2.0 * rank as f32),
            }),
            evaluate_every: self.evaluate_every,
            held_out_batches: self.held_out_batches,
            checkpoint_every: self.checkpoint_every,
        })
    }

    /// What the student learns from.
    fn teacher(&self) -> Option<TeacherSource> {
        let cache = self.cache_teacher.clone().map(TeacherSource::Cache);
        cache.or_else(|| self.teacher.clone().map(TeacherSource::Model))
    }

    /// What a teacher is to leave before the student learns from it.
    pub fn cache(&self) -> Option<CacheOptions> {
        Some(CacheOptions {
            model: self.teacher.clone()?,
            directory: self.cache_teacher.clone()?,
            top: self.cache_top,
            piece_bytes: self.cache_piece,
        })
    }

    /// How votes are committed, as suits the integers of most matrices.
    fn rule(&self, every: u32) -> Outcome<Rule> {
        let scheme: Scheme = self.method.parse()?;
        let others = scheme.patterns.iter().map(|(_, method)| method);
        let mut methods = [&scheme.layers, &scheme.head].into_iter().chain(others);
        // Without any integers the run is refused.
        let range = methods
            .find_map(|method| Range::of(method.format))
            .unwrap_or(Range::Int8);
        let seed = self.seed;
        if self.as_stated {
            return Ok(Rule {
                seed,
                ..Rule::as_stated(every)
            });
        }
        let rule = Rule::improved(every, range);
        Ok(Rule {
            seed,
            choice: match (self.vote_top, self.vote_threshold) {
                (Some(share), _) => Choice::Top(share),
                (None, Some(share)) => Choice::Threshold(share),
                (None, None) => rule.choice,
            },
            feedback: self.vote_feedback.unwrap_or(rule.feedback),
            ..rule
        })
    }

    /// What merged models may be packed in.
    fn merge_formats() -> Vec<&'static str> {
        [AS_IT_IS].into_iter().chain(Format::names()).collect()
    }

    /// Whether adapters are merged, and into which format if not those that the model has.
    pub fn merge(&self) -> Outcome<Option<Option<Format>>> {
        Ok(match self.merge.as_deref() {
            None => None,
            Some(AS_IT_IS) => Some(None),
            Some(format) => Some(Some(format.parse().map_err(halfpi::Error::from)?)),
        })
    }

    /// Whether the time that was given is over.
    pub fn is_late(&self, begun: Instant) -> bool {
        self.minutes
            .is_some_and(|minutes| begun.elapsed().as_secs_f64() >= 60.0 * minutes)
    }

    /// What adds up what GPUs have computed.
    #[cfg(feature = "cuda")]
    pub fn sums(&self) -> halfpi_trainer::parallel::Sums {
        use halfpi_trainer::parallel::Sums;
        match self.collective {
            Some(Collective::Tcp) => Sums::Tcp,
            Some(Collective::Nccl) | None => Sums::Nccl,
        }
    }

    /// The directory of the hub that the model came from, if it did.
    pub fn original(&self) -> Option<&Path> {
        self.from.as_deref().filter(|path| path.is_dir())
    }

    /// Where the tokenizer of a new model is, or will be.
    fn tokenizer(&self) -> PathBuf {
        self.tokenizer.clone().unwrap_or_else(|| self.output.join("tokenizer"))
    }

    fn sources(&self) -> SourceOptions {
        SourceOptions {
            held_out: self.held_out,
            on_bad_line: match self.bad_lines {
                BadLines::Skip => OnBadLine::Skip,
                BadLines::Refuse => OnBadLine::Refuse,
            },
            ..SourceOptions::default()
        }
    }

    /// Learns the tokenizer of a new model, if nobody gave one and none was learnt before.
    pub fn learn_tokenizer(&self) -> Outcome {
        let directory = self.tokenizer();
        if self.from.is_some() || self.tokenizer.is_some() || directory.join("tokenizer.json").exists() {
            return Ok(());
        }
        let sources = Sources::open(&self.data, self.sources())?;
        let options = TokenizerOptions {
            vocab_size: self.vocabulary,
            ..TokenizerOptions::default()
        };
        let (tokenizer, _) = TrainedTokenizer::train(&sources, &options)?;
        eprintln!("{}: {} tokens learnt", directory.display(), tokenizer.vocab_size());
        Ok(tokenizer.write(&directory)?)
    }

    fn shape(&self, name: &str) -> Outcome<Shape> {
        let shape = match Shape::by_name(name) {
            Some(shape) => shape,
            None => {
                let text = fs::read_to_string(name).map_err(|error| {
                    let names: Vec<&str> = Shape::names().collect();
                    format!("{name} is none of the shapes {} and no file: {error}", names.join(", "))
                })?;
                serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))?
            }
        };
        Ok(match self.architecture.clone() {
            Some(architecture) => Shape { architecture, ..shape },
            None => shape,
        })
    }
}

/// The arguments of this process, for those that it starts: all but the number of them.
pub fn of_worker() -> Vec<OsString> {
    let mut arguments = std::env::args_os().skip(1);
    let mut kept = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--processes") => drop(arguments.next()),
            Some(text) if text.starts_with("--processes=") => {}
            _ => kept.push(argument),
        }
    }
    kept
}
