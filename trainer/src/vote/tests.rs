//! Whole runs by votes, of a network of two layers that learns what another one computes.

use std::convert::Infallible;

use super::*;
use crate::optimize::{Optimizer, Sgd, Step};
use crate::tensor::{Cpu, Tensor, activation, matrix, scalar};
use crate::{Gradients, Parameters, Random, TrainError};

const INPUTS: usize = 16;
const HIDDEN: usize = 32;
const BATCH: usize = 32;

/// A network: `up` and `down` are its matrices, `bias` is no integer.
fn network(seed: u64) -> Parameters<Cpu> {
    let device = Default::default();
    let mut parameters = Parameters::default();
    for (name, shape, deviation) in [
        ("up.weight", [HIDDEN, INPUTS], 0.25),
        ("down.weight", [INPUTS, HIDDEN], 0.25),
        ("down.bias", [1, INPUTS], 0.1),
    ] {
        let mut random = Random::of(seed, name);
        let values = (0..shape[0] * shape[1]).map(|_| deviation * random.normal()).collect();
        parameters.insert(name, matrix(values, shape, &device));
    }
    parameters
}

fn forward(parameters: &Parameters<Cpu>, x: Tensor<Cpu, 2>) -> Tensor<Cpu, 2> {
    let weight = |name| parameters.matrix(name).unwrap();
    let hidden = activation::relu(x.matmul(weight("up.weight").transpose()));
    hidden.matmul(weight("down.weight").transpose()) + weight("down.bias")
}

/// Inputs by number, and what the teacher makes of them.
fn loss(teacher: &Parameters<Cpu>, student: &Parameters<Cpu>, batch: u64) -> Tensor<Cpu, 1> {
    let mut random = Random::new(1000 + batch);
    let x = (0..BATCH * INPUTS).map(|_| random.normal()).collect();
    let x = matrix(x, [BATCH, INPUTS], &Default::default());
    let difference = forward(teacher, x.clone()).detach() - forward(student, x);
    (difference.clone() * difference).mean()
}

fn gradients(teacher: &Parameters<Cpu>, student: &Parameters<Cpu>, batch: u64) -> Gradients<Cpu> {
    student.gradients(&mut loss(teacher, student, batch).backward())
}

/// The loss on batches that no run sees.
fn held_out(teacher: &Parameters<Cpu>, student: &Parameters<Cpu>) -> f32 {
    (0..8)
        .map(|batch| scalar(loss(teacher, student, 1_000_000 + batch)))
        .sum::<f32>()
        / 8.0
}

fn range(range: Range) -> impl Fn(&str) -> Option<Range> {
    move |name| name.ends_with(".weight").then_some(range)
}

/// Trains a student and returns its loss before and after.
fn run(rule: Rule, integers: Range, micro_steps: u64) -> [f32; 2] {
    let (teacher, mut student) = (network(1), network(2));
    let mut votes = VoteTrainer::new(rule).unwrap();
    votes.convert(&mut student, range(integers)).unwrap();
    let before = held_out(&teacher, &student);
    let mut sgd = Sgd::new(0.0);
    for step in 0..micro_steps {
        let mut gradients = gradients(&teacher, &student, step);
        votes.vote::<Cpu>(&mut gradients).unwrap();
        assert_eq!(gradients.len(), 1, "the bias is left to the optimizer");
        for (name, gradient) in gradients {
            let step = Step { rate: 0.05, decay: 0.0 };
            let change = |value| sgd.update(&name, value, gradient, step);
            student.update(&name, change).unwrap();
        }
        if votes.is_due() {
            let rate = if rule == Rule::as_stated(rule.every) {
                1.0
            } else {
                0.02 + 0.98 * (1.0 - step as f32 / micro_steps as f32)
            };
            votes.commit(rate, &mut student).unwrap();
            for (name, matrix) in votes.matrices() {
                matrix.check(name).unwrap();
                assert_eq!(matrix.values(), crate::tensor::values(student.matrix(name).unwrap()));
            }
        }
    }
    [before, held_out(&teacher, &student)]
}

#[test]
fn as_stated_integers_of_8_bits_learn() {
    for (every, steps) in [(1, 100), (10, 400)] {
        let [before, after] = run(Rule::as_stated(every), Range::Int8, steps);
        eprintln!("int8 as stated N={every}: {before} -> {after}");
        assert!(after < 0.6 * before, "N = {every}: {before} to {after}");
    }
}

#[test]
fn improved_rules_learn_in_every_range() {
    for (integers, every) in [(Range::Int8, 5), (Range::Int4, 5), (Range::Ternary, 5)] {
        let [before, after] = run(Rule::improved(every, integers), integers, 400);
        eprintln!("{integers:?} improved N={every}: {before} -> {after}");
        assert!(after < 0.6 * before, "{integers:?}, N = {every}: {before} to {after}");
        if integers != Range::Int8 {
            // Steps as large as weights, and all of them at every commit, are mostly noise.
            let [_, stated] = run(Rule::as_stated(every), integers, 400);
            eprintln!("{integers:?} as stated N={every}: {before} -> {stated}");
            assert!(
                after < 0.5 * stated,
                "{integers:?}, N = {every}: {after}, as stated {stated}"
            );
        }
    }
}

#[test]
fn votes_of_all_workers_are_those_of_one_process() {
    const WORKERS: usize = 4;
    let teacher = network(1);
    for rule in [Rule::as_stated(3), Rule::improved(3, Range::Int4)] {
        let begin = |rank, workers| {
            let mut student = network(2);
            let mut votes = VoteTrainer::new(rule).unwrap().shared(rank, workers);
            votes.convert(&mut student, range(Range::Int4)).unwrap();
            (student, votes)
        };
        // One process, which takes the batches of all workers one after the other.
        let every = 3 * WORKERS as u32;
        let mut alone = network(2);
        let mut one = VoteTrainer::new(Rule { every, ..rule }).unwrap();
        one.convert(&mut alone, range(Range::Int4)).unwrap();
        let mut several: Vec<_> = (0..WORKERS as u32).map(|rank| begin(rank, WORKERS as u32)).collect();
        for commit in 0..4 {
            for batch in 12 * commit..12 * (commit + 1) {
                one.vote::<Cpu>(&mut gradients(&teacher, &alone, batch)).unwrap();
                let (student, votes) = &mut several[batch as usize % WORKERS];
                votes.vote::<Cpu>(&mut gradients(&teacher, student, batch)).unwrap();
            }
            add_up(&mut several);
            assert!(one.is_due() && several.iter().all(|(_, votes)| votes.is_due()));
            one.commit(0.5, &mut alone).unwrap();
            for (student, votes) in &mut several {
                votes.commit(0.5, student).unwrap();
            }
            for (name, matrix) in one.matrices() {
                for (_, votes) in &several {
                    assert_eq!(
                        votes.get(name).unwrap().codes(),
                        matrix.codes(),
                        "{name} after commit {commit}"
                    );
                }
                assert_eq!(several[0].1.get(name).unwrap().votes(), matrix.votes());
            }
        }
    }
}

/// What an all-reduce does, seen from all processes at once.
fn add_up(several: &mut [(Parameters<Cpu>, VoteTrainer)]) {
    let mut sums: Vec<Vec<i32>> = Vec::new();
    for (_, votes) in several.iter_mut() {
        for (place, matrix) in votes.matrices.values_mut().enumerate() {
            let add = |votes: &mut [i32]| {
                match sums.get_mut(place) {
                    Some(sum) => sum.iter_mut().zip(votes).for_each(|(sum, vote)| *sum += *vote),
                    None => sums.push(votes.to_vec()),
                }
                Ok::<_, Infallible>(())
            };
            matrix.votes_mut().change(add).unwrap();
        }
    }
    for (_, votes) in several {
        for (matrix, sum) in votes.matrices.values_mut().zip(&sums) {
            let put = |votes: &mut [i32]| {
                votes.copy_from_slice(sum);
                Ok::<_, Infallible>(())
            };
            matrix.votes_mut().change(put).unwrap();
        }
    }
}

#[test]
fn a_run_goes_on_bit_for_bit_from_what_was_saved() {
    let teacher = network(1);
    let rule = Rule {
        scale_rate: 0.1,
        ..Rule::improved(2, Range::Int8)
    };
    let mut student = network(2);
    let mut votes = VoteTrainer::new(rule).unwrap();
    votes.convert(&mut student, range(Range::Int8)).unwrap();
    let steps = |votes: &mut VoteTrainer, student: &mut Parameters<Cpu>, steps: std::ops::Range<u64>| {
        for step in steps {
            votes.vote::<Cpu>(&mut gradients(&teacher, student, step)).unwrap();
            if votes.is_due() {
                votes.commit(1.0, student).unwrap();
            }
        }
    };
    steps(&mut votes, &mut student, 0..10);
    let saved = votes.to_safetensors().unwrap();
    let mut resumed = VoteTrainer::from_safetensors(&saved, 0, 1).unwrap();
    assert_eq!(resumed, votes);
    let mut other = network(2);
    resumed.fill(&mut other).unwrap();
    steps(&mut votes, &mut student, 10..20);
    steps(&mut resumed, &mut other, 10..20);
    assert_eq!(resumed, votes);
    let scales = |votes: &VoteTrainer| votes.get("up.weight").unwrap().learned_scales().to_vec();
    assert_ne!(
        scales(&votes),
        scales(&VoteTrainer::from_safetensors(&saved, 0, 1).unwrap())
    );
    for length in [0, 7, 100, saved.len() - 1] {
        let error = VoteTrainer::from_safetensors(&saved[..length], 0, 1);
        assert!(matches!(error, Err(VoteError::State { .. })));
    }
}

#[test]
fn a_gradient_that_is_not_finite_names_its_tensor() {
    let mut student = network(2);
    let mut votes = VoteTrainer::new(Rule::as_stated(1)).unwrap();
    votes.convert(&mut student, range(Range::Int8)).unwrap();
    let mut bad = gradients(&network(1), &student, 0);
    let gradient = bad.remove("up.weight").unwrap();
    bad.insert("up.weight".into(), gradient * f32::NAN);
    match votes.vote::<Cpu>(&mut bad) {
        Err(TrainError::Vote(VoteError::NotFinite { name, .. })) => assert_eq!(name, "up.weight"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(votes.commit_votes(1.5), Err(VoteError::Rule { .. })));
}

/// What [`SharedVotes`] computes without floats that stay is what a model of floats computes.
#[test]
fn matrices_without_floats_vote_as_those_with_them() {
    let teacher = network(1);
    let rule = Rule::as_stated(2);
    let (mut student, mut rest) = (network(2), network(2));
    let mut votes = VoteTrainer::new(rule).unwrap();
    votes.convert(&mut student, range(Range::Int8)).unwrap();
    let mut shared = VoteTrainer::new(rule).unwrap();
    shared.take(&mut rest, range(Range::Int8)).unwrap();
    assert_eq!(rest.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["down.bias"]);
    let shared = SharedVotes::from(shared);
    for step in 0..4 {
        let mut random = Random::new(step);
        let x = (0..BATCH * INPUTS).map(|_| random.normal()).collect();
        let x = matrix::<Cpu>(x, [BATCH, INPUTS], &Default::default());
        let target = forward(&teacher, x.clone()).detach();

        let y = forward(&student, x.clone());
        let hidden = activation::relu(shared.linear::<Cpu>("up.weight", x.clone()).unwrap());
        let z = shared.linear("down.weight", hidden).unwrap() + rest.matrix("down.bias").unwrap();
        assert_eq!(crate::tensor::values(y.clone()), crate::tensor::values(z.clone()));

        let loss = |y: Tensor<Cpu, 2>| {
            let difference = y - target.clone();
            (difference.clone() * difference).mean()
        };
        votes
            .vote::<Cpu>(&mut student.gradients(&mut loss(y).backward()))
            .unwrap();
        let left = rest.gradients(&mut loss(z).backward());
        assert_eq!(left.keys().collect::<Vec<_>>(), ["down.bias"]);
        shared.lock().end_micro_step().unwrap();
        assert_eq!(*shared.lock(), votes);
        if votes.is_due() {
            votes.commit(1.0, &mut student).unwrap();
            let committed = shared.lock().commit_votes(1.0).unwrap();
            assert!(committed.moved > 0);
        }
    }
    assert!(matches!(
        shared.linear::<Cpu>("no.weight", rest.matrix("down.bias").unwrap()),
        Err(TrainError::MissingParameter { .. })
    ));
}
