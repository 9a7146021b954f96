//! `cargo xtask demo`: a chat with the demo model.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::context::Context;
use crate::model;
use crate::outcome::{Outcome, Stop};

/// Gets the model, builds the command and becomes `halfpi chat`; returns only if it cannot.
pub fn run(context: &Context, args: &[String]) -> Outcome<std::convert::Infallible> {
    // Taking its place leaves the terminal and Ctrl-C to the chat alone.
    let error = command(context, args)?.exec();
    Err(Stop::Failed(format!("cargo: {error}")))
}

/// `halfpi chat --model MODEL ARGS…`, built for speed.
pub fn command(context: &Context, args: &[String]) -> Outcome<Command> {
    let model = model::path(context)?;
    let mut chat = context.cargo(["run", "--release", "--package", "halfpi-cli", "--", "chat", "--model"]);
    chat.arg(model).args(args);
    Ok(chat)
}
