//! What training a model takes in memory by vote and commit, beside AdamW and plain gradient descent.
//!
//! `cargo run -p halfpi-trainer --example memory` prints the table in docs/training-votes.md. The model is a stack of
//! square linear layers, the same for every method, and takes two steps with a small batch, so that almost all memory is
//! that of weights and what belongs to them. The total is what the allocator counts; see `halfpi_trainer::memory` for how
//! it is split. The rest is what is left of the peak: activations, results of operations before they take the place of what
//! was there, one matrix of floats where integers are alone.

use halfpi_trainer::memory::{self, Claim, Class, Metered};
use halfpi_trainer::optimize::{AdamW, Optimizer, Sgd, Step};
use halfpi_trainer::tensor::{Backend, Cpu, Tensor, activation, matrix};
use halfpi_trainer::vote::{IntegerMatrix, Range, Rule, SharedVotes, VoteTrainer};
use halfpi_trainer::{Gradients, Parameters, Random, Result};

#[global_allocator]
static ALLOCATOR: Metered = Metered;

type Inner = <Cpu as Backend>::Inner;

const BATCH: usize = 8;
const STEPS: u64 = 2;
const STEP: Step = Step { rate: 1e-3, decay: 0.0 };

/// Layers and their width.
const MODELS: [(usize, usize); 2] = [(4, 512), (5, 2048)];

fn name(layer: usize) -> String {
    format!("layer.{layer}.weight")
}

/// Normal weights for all layers.
fn parameters((layers, width): (usize, usize)) -> Parameters<Cpu> {
    let mut parameters = Parameters::default();
    for layer in 0..layers {
        let mut random = Random::of(1, &name(layer));
        let deviation = (width as f32).sqrt().recip();
        let values = (0..width * width).map(|_| deviation * random.normal()).collect();
        parameters.insert(name(layer), matrix(values, [width, width], &Default::default()));
    }
    parameters
}

/// The loss of a batch; `linear` is `x W^T` by layer.
fn loss(
    (layers, width): (usize, usize),
    step: u64,
    linear: impl Fn(&str, Tensor<Cpu, 2>) -> Result<Tensor<Cpu, 2>>,
) -> Result<Tensor<Cpu, 1>> {
    let mut random = Random::new(step);
    let inputs = (0..BATCH * width).map(|_| random.normal()).collect();
    let mut x = matrix(inputs, [BATCH, width], &Default::default());
    for layer in 0..layers {
        x = activation::relu(linear(&name(layer), x)?);
    }
    Ok((x.clone() * x).mean())
}

/// Gradients of all layers, and the claim on their memory.
fn gradients(model: (usize, usize), step: u64, parameters: &Parameters<Cpu>) -> Result<(Gradients<Cpu>, Claim)> {
    let loss = loss(
        model,
        step,
        |name, x| Ok(x.matmul(parameters.matrix(name)?.transpose())),
    )?;
    let gradients = parameters.gradients(&mut loss.backward());
    let claim = memory::claim(
        Class::Gradients,
        bytes(gradients.values().map(|gradient| gradient.dims())),
    );
    Ok((gradients, claim))
}

fn bytes(tensors: impl Iterator<Item = [usize; 2]>) -> usize {
    tensors.map(|[rows, cols]| rows * cols * size_of::<f32>()).sum()
}

fn by_optimizer(model: (usize, usize), mut optimizer: impl Optimizer<Inner>) -> Result<()> {
    let mut parameters = parameters(model);
    let _weights = memory::claim(Class::Weights, bytes(parameters.iter().map(|(_, p)| p.value.dims())));
    memory::reset_peaks();
    let mut _moments = None;
    for step in 0..STEPS {
        let (gradients, _claim) = gradients(model, step, &parameters)?;
        optimizer.begin();
        for (name, gradient) in gradients {
            parameters.update(&name, |value| optimizer.update(&name, value, gradient, STEP))?;
        }
        let moments = bytes(optimizer.state().iter().map(|(_, moment)| moment.dims()));
        _moments.get_or_insert_with(|| memory::claim(Class::Optimizer, moments));
    }
    Ok(())
}

/// A matrix of floats at a time.
fn by_votes(model: (usize, usize), every: u32) -> Result<()> {
    let (layers, width) = model;
    let rule = Rule::as_stated(every);
    let mut votes = VoteTrainer::new(rule)?;
    for layer in 0..layers {
        let mut random = Random::of(1, &name(layer));
        let deviation = (width as f32).sqrt().recip();
        let integers = IntegerMatrix::random([width, width], Range::Int8, deviation, rule.width(1), &mut random);
        votes.insert(name(layer), integers);
    }
    let votes = SharedVotes::from(votes);
    memory::reset_peaks();
    for step in 0..STEPS {
        loss(model, step, |name, x| votes.linear(name, x))?.backward();
        let mut votes = votes.lock();
        votes.end_micro_step()?;
        if votes.is_due() {
            votes.commit(1.0)?;
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    type Method = (&'static str, fn((usize, usize)) -> Result<()>);
    let methods: [Method; 4] = [
        ("AdamW", |model| by_optimizer(model, AdamW::default())),
        ("plain SGD", |model| by_optimizer(model, Sgd::new(0.0))),
        ("votes, i8", |model| by_votes(model, 1)),
        ("votes, i16", |model| by_votes(model, 1000)),
    ];
    println!(
        "| parameters | method | peak, MB | bytes a parameter | weights | gradients | votes | optimizer | the rest |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for model in MODELS {
        let count = (model.0 * model.1 * model.1) as f64;
        for (label, method) in methods {
            let before = memory::total().live;
            // In a thread of its own: what a backend keeps for a thread goes with it.
            let run = std::thread::spawn(move || method(model));
            run.join().expect("the run panicked")?;
            let per_parameter = |bytes: usize| bytes as f64 / count;
            let peak = memory::total().peak.saturating_sub(before);
            let of = |class| per_parameter(memory::usage(class).peak);
            let kept = [Class::Weights, Class::Gradients, Class::Votes, Class::Optimizer];
            let rest = per_parameter(peak) - kept.into_iter().map(of).sum::<f64>();
            println!(
                "| {:.2} M | {label} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
                count / 1e6,
                peak as f64 / 1e6,
                per_parameter(peak),
                of(Class::Weights),
                of(Class::Gradients),
                of(Class::Votes),
                of(Class::Optimizer),
                rest,
            );
        }
    }
    Ok(())
}
