//! `halfpi chat`: a conversation in the terminal, or one answer.

use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use halfpi::constrain::Constraint;
use halfpi::sampler::SamplerOptions;
use halfpi::session::{Answer, CancelToken, FinishReason, GenerateOptions, Listener, Session, SessionOptions};
use serde::Serialize;

use crate::engine::{EngineArgs, KvType};
use crate::output::{Outcome, print, terminal_safe};

/// What a shell reports of a program that Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

const DIM: &str = "\x1b[2m";
const NORMAL: &str = "\x1b[22m";

const HELP: &str = "\
/reset  start a new conversation
/stats  show the timings of the last answer
/quit   leave (Ctrl-D does too)
Ctrl-C stops an answer; a second one leaves.";

/// Talk with a model
///
/// With --prompt it answers once. Without, it is a conversation: /help lists its commands.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  halfpi chat --model model.gguf
  halfpi chat --model model.gguf --prompt 'Why is the sky blue?' --max-tokens 100
  halfpi chat --model model.gguf --prompt Hello --seed 1 --json
  halfpi chat --model model.gguf --prompt 'Describe a cat as JSON' --json-schema cat.json")]
pub struct Args {
    /// Model file (GGUF)
    #[arg(long, short, env = "HALFPI_MODEL", value_name = "MODEL")]
    model: PathBuf,
    /// Answer this and exit
    #[arg(long, short, value_name = "TEXT")]
    prompt: Option<String>,
    /// System message [default: the template's own]
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The most tokens of an answer [default: what the context holds]
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// End an answer before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Answer with JSON that satisfies the schema in this file, and with nothing else
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
    /// Whether the model thinks before it answers, if it can [default: the template's own]
    #[arg(long, value_name = "BOOL")]
    thinking: Option<bool>,
    #[command(flatten)]
    sampling: Sampling,
    /// Tokens of conversation that are kept [default: the model's own, at most 4096]
    #[arg(long, short, value_name = "TOKENS")]
    context: Option<usize>,
    /// How keys and values are kept: int8 takes half the memory
    #[arg(long, value_enum, default_value_t = KvType::F16)]
    kv: KvType,
    #[command(flatten)]
    engine: EngineArgs,
    /// Print timings after each answer, on standard error [default: only on a terminal]
    #[arg(long)]
    stats: bool,
    /// Print each answer as one line of JSON when it is complete
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Sampling")]
struct Sampling {
    /// 0 takes the most likely token; higher is livelier
    #[arg(
        long,
        value_name = "T",
        default_value_t = SamplerOptions::default().temperature,
        allow_negative_numbers = true
    )]
    temperature: f32,
    /// Keep the K most likely tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = SamplerOptions::default().top_k)]
    top_k: u32,
    /// Keep the most likely tokens that together have probability P; 1 keeps all
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().top_p)]
    top_p: f32,
    /// Drop tokens less likely than P times the most likely one; 0 keeps all
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().min_p)]
    min_p: f32,
    /// Weaken tokens that occurred lately; 1 is off
    #[arg(long, value_name = "X", default_value_t = SamplerOptions::default().repetition_penalty)]
    repetition_penalty: f32,
    /// Weaken tokens by how often they occurred lately; 0 is off
    #[arg(
        long,
        value_name = "X",
        default_value_t = SamplerOptions::default().frequency_penalty,
        allow_negative_numbers = true
    )]
    frequency_penalty: f32,
    /// Weaken tokens that occurred lately at all; 0 is off
    #[arg(
        long,
        value_name = "X",
        default_value_t = SamplerOptions::default().presence_penalty,
        allow_negative_numbers = true
    )]
    presence_penalty: f32,
    /// How many of the last tokens the penalties look at
    #[arg(long, value_name = "N", default_value_t = SamplerOptions::default().penalty_last_n)]
    penalty_last_n: u32,
    /// Seed: the same one gives the same answer
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl From<&Sampling> for SamplerOptions {
    fn from(args: &Sampling) -> Self {
        SamplerOptions {
            temperature: args.temperature,
            top_k: args.top_k,
            top_p: args.top_p,
            min_p: args.min_p,
            repetition_penalty: args.repetition_penalty,
            frequency_penalty: args.frequency_penalty,
            presence_penalty: args.presence_penalty,
            penalty_last_n: args.penalty_last_n,
            seed: args.seed,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    finish_reason: &'static str,
    prompt_tokens: usize,
    cached_tokens: usize,
    generated_tokens: usize,
    time_to_first_token_seconds: f64,
    prefill_tokens_per_second: f64,
    decode_tokens_per_second: f64,
    seed: u64,
}

impl<'a> Report<'a> {
    fn new(answer: &'a Answer) -> Self {
        let usage = &answer.usage;
        Report {
            text: &answer.text,
            thinking: answer.thinking.as_deref(),
            finish_reason: match answer.finish {
                FinishReason::EndOfTurn => "end_of_turn",
                FinishReason::ToolCalls => "tool_calls",
                FinishReason::StopString => "stop_string",
                FinishReason::MaxTokens => "max_tokens",
                FinishReason::ContextFull => "context_full",
                FinishReason::Cancelled => "cancelled",
            },
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            generated_tokens: usage.generated_tokens,
            time_to_first_token_seconds: usage.time_to_first_token.as_secs_f64(),
            prefill_tokens_per_second: usage.prefill_tokens_per_second(),
            decode_tokens_per_second: usage.decode_tokens_per_second(),
            seed: usage.seed,
        }
    }

    /// For people, on one line.
    fn timings(&self) -> String {
        format!(
            "[{} prompt tokens ({} cached), {:.0}/s; first after {:.0} ms; {} generated, {:.1}/s; {}, seed {}]",
            self.prompt_tokens,
            self.cached_tokens,
            self.prefill_tokens_per_second,
            self.time_to_first_token_seconds * 1000.0,
            self.generated_tokens,
            self.decode_tokens_per_second,
            self.finish_reason.replace('_', " "),
            self.seed,
        )
    }
}

/// Shows an answer as it comes. What the model thinks is shown dimmed on a terminal and nowhere else.
struct Screen {
    is_silent: bool,
    terminal: bool,
    /// The last piece was a thought.
    thinks: bool,
    written: io::Result<()>,
}

impl Screen {
    fn write(&mut self, text: &str) -> ControlFlow<()> {
        let mut out = io::stdout().lock();
        self.written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        match self.written {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

impl Listener for Screen {
    fn on_text(&mut self, text: &str) -> ControlFlow<()> {
        if self.is_silent {
            return ControlFlow::Continue(());
        }
        if std::mem::take(&mut self.thinks) {
            self.write("\n\n")?;
        }
        let text = if self.terminal {
            terminal_safe(text)
        } else {
            text.into()
        };
        self.write(&text)
    }

    fn on_thinking(&mut self, text: &str) -> ControlFlow<()> {
        if self.is_silent || !self.terminal {
            return ControlFlow::Continue(());
        }
        self.thinks = true;
        self.write(&format!("{DIM}{}{NORMAL}", terminal_safe(text)))
    }
}

/// The answer under way, for Ctrl-C.
type Running = Arc<Mutex<Option<CancelToken>>>;

struct Chat<'a> {
    args: &'a Args,
    constraint: Option<Constraint>,
    session: Session,
    running: Running,
    last: Option<Answer>,
}

pub fn run(args: &Args) -> Outcome {
    let sampler = SamplerOptions::from(&args.sampling);
    sampler.validate()?;
    let constraint = args.json_schema.as_deref().map(read_schema).transpose()?;
    let engine = args.engine.open(&args.model)?;
    let options = SessionOptions {
        context_length: args.context,
        kv_element: args.kv.into(),
        system: args.system.clone(),
        thinking: args.thinking,
        ..SessionOptions::default()
    };
    let session = engine.session(options)?;
    let running = Running::default();
    stop_on_interrupt(Arc::clone(&running))?;
    let mut chat = Chat {
        args,
        constraint,
        session,
        running,
        last: None,
    };
    match &args.prompt {
        Some(prompt) => chat.answer(prompt),
        None => chat.converse(),
    }
}

fn read_schema(path: &Path) -> Outcome<Constraint> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Constraint::json_schema(&text).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// The first Ctrl-C stops an answer, one without an answer under way ends the program.
fn stop_on_interrupt(running: Running) -> Outcome {
    ctrlc::set_handler(move || {
        let answer = running.lock().unwrap_or_else(PoisonError::into_inner).take();
        match answer {
            Some(cancel) => cancel.cancel(),
            None => std::process::exit(EXIT_INTERRUPTED),
        }
    })?;
    Ok(())
}

impl Chat<'_> {
    fn converse(&mut self) -> Outcome {
        let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if terminal {
            eprintln!("{} tokens of context; /help for help", self.session.context_length());
            self.session.prewarm()?;
        }
        let mut line = Vec::new();
        loop {
            if terminal {
                print("> ")?;
            }
            line.clear();
            if io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line);
            match text.trim() {
                "" => {}
                "/quit" | "/exit" => return Ok(()),
                "/help" => eprintln!("{HELP}"),
                "/reset" => {
                    self.session.reset();
                    self.last = None;
                }
                "/stats" => match &self.last {
                    Some(answer) => eprintln!("{}", Report::new(answer).timings()),
                    None => eprintln!("no answer yet"),
                },
                command if command.starts_with('/') && !command.contains(' ') => {
                    eprintln!("{} is not a command\n{HELP}", terminal_safe(command));
                }
                question => match self.answer(question) {
                    Ok(()) => {}
                    // What does not fit or is refused leaves the conversation as it was; a closed pipe ends it.
                    Err(error) if error.is::<halfpi::Error>() => eprintln!("error: {error}"),
                    Err(error) => return Err(error),
                },
            }
        }
    }

    fn answer(&mut self, question: &str) -> Outcome {
        let cancel = CancelToken::new();
        let options = GenerateOptions {
            sampler: SamplerOptions::from(&self.args.sampling),
            max_tokens: self.args.max_tokens,
            stop: self.args.stop.clone(),
            constraint: self.constraint.clone(),
            cancel: Some(cancel.clone()),
        };
        let json = self.args.json;
        let terminal = io::stdout().is_terminal();
        let mut screen = Screen {
            is_silent: json,
            terminal,
            thinks: false,
            written: Ok(()),
        };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(cancel);
        let answer = self.session.send(question, &options, &mut screen);
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        screen.written?;
        let answer = answer?;
        let report = Report::new(&answer);
        if json {
            print(&(serde_json::to_string(&report)? + "\n"))?;
        } else {
            print("\n")?;
        }
        if self.args.stats || (terminal && io::stderr().is_terminal()) {
            eprintln!("{}", report.timings());
        }
        self.last = Some(answer);
        Ok(())
    }
}
