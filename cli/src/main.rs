//! The `halfpi` command: runs, inspects, judges and measures chat models.

mod bench;
mod chat;
mod engine;
mod eval;
mod inspect;
mod interrupt;
mod output;
mod pack;
mod progress;
mod unpack;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Chat(args) => chat::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Unpack(args) => unpack::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Bench(args) => bench::run(&args),
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
