//! The trainer as its users see it. One binary: linking the tensor engine takes longer than most of these tests.

mod distillation;
mod engine;
mod parallel;
mod pass;
mod quantization;
mod training;
mod votes;

use halfpi::gguf::ModelFile;
use halfpi_trainer::Parameters;
use halfpi_trainer::batch::Batch;
use halfpi_trainer::model::{Plain, Transformer};
use halfpi_trainer::optimize::{AdamW, Schedule};
use halfpi_trainer::quantize::Scheme;
use halfpi_trainer::tensor::{Cpu, matrix};
use halfpi_trainer::train::Trainer;
use halfpi_trainer::vote::{Range, SharedVotes, VoteTrainer, Voting};

use halfpi::pack::synthetic::SyntheticModel;
use halfpi::transformer::Architecture;

/// All tensors of a model whose tensors are f32.
fn parameters(file: &ModelFile) -> Parameters<Cpu> {
    let gguf = file.gguf().unwrap();
    let mut parameters = Parameters::default();
    for tensor in gguf.tensors() {
        let (numbers, _) = gguf.data(tensor).as_chunks::<4>();
        let values = numbers.iter().map(|&number| f32::from_le_bytes(number)).collect();
        let dims: Vec<usize> = tensor.dims().iter().map(|&dim| dim as usize).collect();
        let shape = [dims.get(1).copied().unwrap_or(1), dims[0]];
        parameters.insert(tensor.name, matrix(values, shape, &Default::default()));
    }
    parameters
}

/// A trainer of a tiny random llama, for sequences of `length` tokens.
fn trainer(length: usize, updates: u64) -> Trainer<Cpu> {
    trainer_of(SyntheticModel::tiny(Architecture::Llama), length, updates)
}

/// A trainer of one layer of a model.
fn trainer_of(model: SyntheticModel, length: usize, updates: u64) -> Trainer<Cpu> {
    trainer_of_layers(model, 1, length, updates)
}

/// A trainer of so many layers of a model.
fn trainer_of_layers(mut model: SyntheticModel, layers: usize, length: usize, updates: u64) -> Trainer<Cpu> {
    model.config.block_count = layers;
    let parameters = parameters(&model.to_model_file().unwrap());
    Trainer {
        model: Transformer::new(&model.config, length, &[], &Default::default()),
        parameters,
        arrangement: Box::new(Plain),
        votes: None,
        optimizer: Box::new(AdamW::default()),
        schedule: Schedule::cosine(updates, 3e-3, 0.1),
        clip: 1.0,
        recompute: false,
    }
}

/// The same with all matrices as integers that vote.
fn voting(mut trainer: Trainer<Cpu>, votes: VoteTrainer, range: Range) -> Trainer<Cpu> {
    let mut votes = votes;
    let is_matrix = |name: &str| name.ends_with(".weight") && !name.ends_with("norm.weight");
    let take = |name: &str, _| is_matrix(name).then_some(range);
    votes.take(&mut trainer.parameters, take).unwrap();
    let (votes, scheme) = (SharedVotes::from(votes), Scheme::floats());
    trainer.votes = Some(votes.clone());
    trainer.arrangement = Box::new(Voting { votes, scheme });
    trainer
}

/// Sequences that count up, each from another token.
fn counting(first: i32, sequences: usize, length: usize) -> Batch<Cpu> {
    let token = |i: usize, t: usize| (first + 7 * i as i32 + t as i32) % 50;
    let places = || (0..sequences).flat_map(move |i| (0..length).map(move |t| (i, t)));
    let tokens: Vec<i32> = places().map(|(i, t)| token(i, t)).collect();
    let targets: Vec<i32> = places().map(|(i, t)| token(i, t + 1)).collect();
    let weights = vec![1.0; tokens.len()];
    Batch::new(&tokens, &targets, &weights, [sequences, length], &Default::default())
}
