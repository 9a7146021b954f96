//! Whole runs by votes, of a network of two layers that learns what another one computes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::MutexGuard;

use safetensors::tensor::{Dtype, View};

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

/// What a network computes whose products with matrices are `linear`.
fn forward(
    network: &Parameters<Cpu>,
    x: Tensor<Cpu, 2>,
    linear: impl Fn(&str, Tensor<Cpu, 2>) -> Tensor<Cpu, 2>,
) -> Tensor<Cpu, 2> {
    let hidden = activation::relu(linear("up.weight", x));
    linear("down.weight", hidden) + network.matrix("down.bias").unwrap()
}

/// With matrices of floats.
fn with_floats(network: &Parameters<Cpu>, x: Tensor<Cpu, 2>) -> Tensor<Cpu, 2> {
    forward(network, x, |name, x| {
        x.matmul(network.matrix(name).unwrap().transpose())
    })
}

/// How far a network is from the teacher on inputs by number.
fn loss(batch: u64, network: impl Fn(Tensor<Cpu, 2>) -> Tensor<Cpu, 2>) -> Tensor<Cpu, 1> {
    let mut random = Random::new(1000 + batch);
    let x = (0..BATCH * INPUTS).map(|_| random.normal()).collect();
    let x = matrix(x, [BATCH, INPUTS], &Default::default());
    let difference = with_floats(&self::network(1), x.clone()).detach() - network(x);
    (difference.clone() * difference).mean()
}

/// A network whose matrices are integers.
struct Student {
    votes: SharedVotes,
    /// The bias.
    rest: Parameters<Cpu>,
}

impl Student {
    fn new(mut votes: VoteTrainer, range: Range) -> Self {
        let mut rest = network(2);
        votes
            .take(&mut rest, |name, _| name.ends_with(".weight").then_some(range))
            .unwrap();
        assert_eq!(rest.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["down.bias"]);
        let votes = votes.into();
        Self { votes, rest }
    }

    fn loss(&self, batch: u64) -> Tensor<Cpu, 1> {
        loss(batch, |x| {
            forward(&self.rest, x, |name, x| self.votes.linear(name, x).unwrap())
        })
    }

    /// Votes on the matrices, and returns the gradients of the rest.
    fn micro_step(&self, batch: u64) -> Gradients<Cpu> {
        let gradients = self.rest.gradients(&mut self.loss(batch).backward());
        self.votes.lock().end_micro_step().unwrap();
        gradients
    }

    /// The loss on batches that no run sees.
    fn held_out(&self) -> f32 {
        (0..8).map(|batch| scalar(self.loss(1_000_000 + batch))).sum::<f32>() / 8.0
    }
}

/// Trains a student and returns its loss before and after.
fn run(rule: Rule, integers: Range, micro_steps: u64) -> [f32; 2] {
    let mut student = Student::new(VoteTrainer::new(rule).unwrap(), integers);
    let before = student.held_out();
    let mut sgd = Sgd::new(0.0);
    for step in 0..micro_steps {
        let gradients = student.micro_step(step);
        assert_eq!(gradients.len(), 1, "the bias is left to the optimizer");
        for (name, gradient) in gradients {
            let step = Step { rate: 0.05, decay: 0.0 };
            let change = |value| sgd.update(&name, value, gradient, step);
            student.rest.update(&name, change).unwrap();
        }
        let mut votes = student.votes.lock();
        if votes.is_due() {
            let rate = if rule.decays {
                0.02 + 0.98 * (1.0 - step as f32 / micro_steps as f32)
            } else {
                1.0
            };
            votes.commit(rate).unwrap();
            for (name, matrix) in votes.matrices() {
                matrix.check(name).unwrap();
            }
        }
    }
    [before, student.held_out()]
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
    for rule in [Rule::as_stated(3), Rule::improved(3, Range::Int4)] {
        // One process, which takes the batches of all workers one after the other.
        let every = 3 * WORKERS as u32;
        let one = Student::new(VoteTrainer::new(Rule { every, ..rule }).unwrap(), Range::Int4);
        let worker = |rank| {
            let votes = VoteTrainer::new(rule).unwrap().shared(rank, WORKERS as u32);
            Student::new(votes, Range::Int4)
        };
        let several: Vec<_> = (0..WORKERS as u32).map(worker).collect();
        for commit in 0..4 {
            for batch in 12 * commit..12 * (commit + 1) {
                one.micro_step(batch);
                several[batch as usize % WORKERS].micro_step(batch);
            }
            let mut all: Vec<_> = several.iter().map(|student| student.votes.lock()).collect();
            add_up(&mut all);
            let mut one = one.votes.lock();
            assert!(one.is_due() && all.iter().all(|votes| votes.is_due()));
            one.commit(0.5).unwrap();
            for votes in &mut all {
                votes.commit(0.5).unwrap();
            }
            for (name, matrix) in one.matrices() {
                for votes in &all {
                    let found = votes.get(name).unwrap().codes();
                    assert_eq!(found, matrix.codes(), "{name} after commit {commit}");
                }
                assert_eq!(all[0].get(name).unwrap().votes(), matrix.votes());
            }
        }
    }
}

/// What an all-reduce does, seen from all processes at once.
fn add_up(several: &mut [MutexGuard<VoteTrainer>]) {
    let mut sums: Vec<Vec<i32>> = Vec::new();
    for votes in several.iter_mut() {
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
    for votes in several {
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
    let rule = Rule {
        scale_rate: 0.1,
        ..Rule::improved(4, Range::Int8)
    };
    let student = || Student::new(VoteTrainer::new(rule).unwrap(), Range::Int8);
    let steps = |student: &Student, steps: std::ops::Range<u64>| {
        for step in steps {
            student.micro_step(step);
            let mut votes = student.votes.lock();
            if votes.is_due() {
                votes.commit(1.0).unwrap();
            }
        }
    };
    let first = student();
    steps(&first, 0..10);
    let saved = first.votes.lock().clone();
    let file = file(&saved);
    let second = student();
    *second.votes.lock() = read(&saved.state(), &file).unwrap();
    assert_eq!(*second.votes.lock(), *first.votes.lock());
    steps(&first, 10..20);
    steps(&second, 10..20);
    assert_eq!(*second.votes.lock(), *first.votes.lock());
    let scales = |votes: &VoteTrainer| votes.get("up.weight").unwrap().learned_scales().to_vec();
    assert_ne!(scales(&first.votes.lock()), scales(&saved));
    for part in ["codes", "scales", "votes", "pull"] {
        let name = format!("up.weight.{part}");
        let mut damaged = file.clone();
        damaged.remove(&name);
        let error = read(&saved.state(), &damaged);
        assert!(matches!(error, Err(VoteError::State { .. })), "{error:?}");
        let mut damaged = file.clone();
        damaged.get_mut(&name).unwrap().2.truncate(8);
        let error = read(&saved.state(), &damaged);
        assert!(matches!(error, Err(VoteError::Length { .. })), "{error:?}");
        let mut damaged = file.clone();
        damaged.get_mut(&name).unwrap().0 = Dtype::F64;
        assert!(matches!(read(&saved.state(), &damaged), Err(VoteError::State { .. })));
    }
}

/// Tensors as they lie in a file.
type File = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn file(votes: &VoteTrainer) -> File {
    let parts = votes.parts();
    let stored = parts.map(|(name, part)| (name, (part.dtype(), part.shape().to_vec(), part.data().into_owned())));
    stored.collect()
}

fn read(state: &VoteState, file: &File) -> Result<VoteTrainer, VoteError> {
    let tensor = |name: &str| {
        let (dtype, shape, bytes) = file.get(name)?;
        Some((*dtype, shape.as_slice(), bytes.as_slice()))
    };
    VoteTrainer::from_state(state, tensor, 0, 1)
}

#[test]
fn a_gradient_that_is_not_finite_names_its_tensor() {
    let student = Student::new(VoteTrainer::new(Rule::as_stated(1)).unwrap(), Range::Int8);
    let before = student.votes.lock().clone();
    student.loss(0).mul_scalar(f32::NAN).backward();
    let mut votes = student.votes.lock();
    match votes.end_micro_step() {
        // The first on the way back.
        Err(TrainError::Vote(VoteError::NotFinite { name, .. })) => assert_eq!(name, "down.weight"),
        other => panic!("{other:?}"),
    }
    assert_eq!(*votes, before);
    assert!(matches!(votes.commit(1.5), Err(VoteError::Rule { .. })));
}

/// What is computed without floats that stay is what a model of floats computes, whose gradients vote.
#[test]
fn matrices_without_floats_vote_as_those_with_them() {
    for (rule, range) in [
        (Rule::as_stated(2), Range::Int8),
        (Rule::improved(2, Range::Int4), Range::Int4),
    ] {
        let student = Student::new(VoteTrainer::new(rule).unwrap(), range);
        let mut votes = student.votes.lock().clone();
        let mut floats = network(2);
        for step in 0..6 {
            for (name, integers) in votes.matrices() {
                let value = matrix(integers.values(), integers.shape(), &Default::default());
                floats.update(name, |_| value).unwrap();
            }
            let loss = loss(step, |x| with_floats(&floats, x));
            assert_eq!(scalar(loss.clone()), scalar(student.loss(step)));
            for (name, gradient) in floats.gradients(&mut loss.backward()) {
                votes.vote_on(&name, gradient);
            }
            votes.end_micro_step().unwrap();
            let rest = student.micro_step(step);
            assert_eq!(rest.keys().collect::<Vec<_>>(), ["down.bias"]);
            let mut shared = student.votes.lock();
            assert_eq!(*shared, votes);
            if votes.is_due() {
                assert!(votes.commit(1.0).unwrap().moved > 0);
                shared.commit(1.0).unwrap();
            }
        }
        let x = floats.matrix("down.bias").unwrap();
        let missing = student.votes.linear("no.weight", x);
        assert!(matches!(missing, Err(TrainError::MissingParameter { .. })));
    }
}
