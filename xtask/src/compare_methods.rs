//! `cargo xtask compare-methods`: every way to train weights in few bits, on the same text.

use std::process::Command;

use crate::context::Context;
use crate::corpus;
use crate::outcome::{Outcome, run};

/// Builds the command with its trainer, and hands everything else to the script.
pub fn compare(context: &Context, options: &[String]) -> Outcome {
    let corpus = corpus::path(context)?;
    run(&mut context.cargo(["build", "--release", "--package", "halfpi-cli", "--features", "train"]))?;
    let mut script = Command::new("python3");
    script
        .arg(context.root.join("benches/methods.py"))
        .arg("--halfpi")
        .arg(context.target().join("release/halfpi"))
        .arg("--corpus")
        .arg(corpus)
        .arg("--out")
        .arg(context.target().join("methods"));
    Ok(run(script.args(options))?)
}
