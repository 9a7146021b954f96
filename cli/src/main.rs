//! The `halfpi` command: runs, inspects, packs, judges, measures and trains chat models.

mod bench;
mod chat;
mod engine;
mod eval;
mod inspect;
mod interrupt;
mod output;
mod pack;
mod page;
mod progress;
#[cfg(feature = "train")]
mod train;
mod unpack;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Counts what memory is for, for the report of `halfpi train`.
#[cfg(feature = "train")]
#[global_allocator]
static ALLOCATOR: halfpi_trainer::memory::Metered = halfpi_trainer::memory::Metered;

#[derive(Parser)]
#[command(
    name = "halfpi",
    version,
    about,
    after_help = "Every command takes --json for output that programs read."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Chat(chat::Args),
    Inspect(inspect::Args),
    Pack(pack::Args),
    Unpack(unpack::Args),
    Eval(eval::Args),
    Bench(bench::Args),
    #[cfg(feature = "train")]
    Train(Box<train::Args>),
    /// Train a model on text and pack it (not in this build)
    #[cfg(not(feature = "train"))]
    #[command(disable_help_flag = true)]
    Train {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _options: Vec<std::ffi::OsString>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Chat(args) => chat::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Unpack(args) => unpack::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Bench(args) => bench::run(&args),
        #[cfg(feature = "train")]
        Command::Train(args) => train::train(&args),
        #[cfg(not(feature = "train"))]
        Command::Train { .. } => Err(
            "this halfpi was built without its trainer: cargo build --release -p halfpi-cli --features train".into(),
        ),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `halfpi inspect MODEL | head` closes the pipe and wants nothing more.
        Err(error) if output::is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
