//! `halfpi bench`: how fast a model, or each kernel, runs here, beside how fast memory can be read.

mod bandwidth;
mod kernels;
mod model;

use clap::Subcommand;

use crate::output::Outcome;

/// Measure speed and memory: of a model file, of a random model of a known shape, or of the kernels
///
/// A model of --shape is made of random weights in memory, so nothing has to be downloaded. Times are medians over
/// --rounds; the read bandwidth is that of a plain loop over a large buffer, with the same threads, between the rounds.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  halfpi bench --model model.gguf --threads 1
  halfpi bench --shape bitnet-2b4t --format phi4
  halfpi bench kernels --json"
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    model: model::ModelArgs,
}

#[derive(Subcommand)]
enum What {
    Kernels(kernels::Args),
}

pub fn run(args: &Args) -> Outcome {
    match &args.what {
        None => model::run(&args.model),
        Some(What::Kernels(args)) => kernels::run(args),
    }
}
