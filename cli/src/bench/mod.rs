//! `halfpi bench`: how fast a model, or each kernel, runs here, beside how fast memory can be read.

mod bandwidth;
mod kernels;
mod model;

use crate::output::Outcome;

/// Measure speed and memory: of a model file, of a random model of a known shape, or of the kernels
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  halfpi bench --model model.gguf --threads 1\n  \
                  halfpi bench --shape bitnet-2b4t --format q4_0\n  halfpi bench kernels --json"
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    model: model::Args,
}

#[derive(clap::Subcommand)]
enum What {
    Kernels(kernels::Args),
}

pub fn run(args: &Args) -> Outcome {
    match &args.what {
        None => model::run(&args.model),
        Some(What::Kernels(args)) => kernels::run(args),
    }
}

/// The median; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
