//! Models whose matrices are integers that vote.

use halfpi::pack::synthetic::SyntheticModel;
use halfpi::transformer::Architecture;
use halfpi_trainer::checkpoint::{self, Checkpoint, State};
use halfpi_trainer::model::{Arrangement, Plain};
use halfpi_trainer::objective::{NextToken, Objective};
use halfpi_trainer::optimize::{Optimizer, Sgd, Step};
use halfpi_trainer::parallel::Single;
use halfpi_trainer::pass::Pass;
use halfpi_trainer::tensor::{Cpu, matrix, scalar, values};
use halfpi_trainer::train::Trainer;
use halfpi_trainer::vote::{Range, Rule, SharedVotes, VoteTrainer};
use halfpi_trainer::{Parameters, Random, TrainError};

use super::{counting, trainer, trainer_of, voting};

const LENGTH: usize = 8;

fn integers(rule: Rule) -> Trainer<Cpu> {
    voting(trainer(LENGTH, 20), VoteTrainer::new(rule).unwrap(), Range::Int8)
}

fn state(trainer: &Trainer<Cpu>) -> VoteTrainer {
    trainer.votes.as_ref().unwrap().lock().clone()
}

fn update(trainer: &mut Trainer<Cpu>, first: i32) -> Result<f32, TrainError> {
    let batches = [counting(first, 2, LENGTH), counting(first + 3, 2, LENGTH)];
    Ok(trainer.update(&mut NextToken, &batches, &mut Single)?.loss)
}

/// To the bit, although floats and gradients are there for one matrix at a time: with an embedding that is the output
/// matrix too, and with one that is not.
#[test]
fn a_model_of_integers_learns_what_one_of_their_floats_does() {
    for (tied, rule) in [(true, Rule::improved(4, Range::Int4)), (false, Rule::as_stated(2))] {
        let mut model = SyntheticModel::tiny(Architecture::Llama);
        model.tied = tied;
        let mut floats = trainer_of(model.clone(), LENGTH, 20);
        let votes = VoteTrainer::new(rule).unwrap();
        let mut trainer = voting(trainer_of(model, LENGTH, 20), votes, Range::Int4);
        trainer.optimizer = Box::new(Sgd::new(0.0));
        trainer.clip = f32::INFINITY;
        let mut votes = state(&trainer);
        assert_eq!(
            votes.matrices().count() + trainer.parameters.iter().count(),
            floats.parameters.iter().count()
        );
        let begun = votes.clone();
        for first in 0..8 {
            let step = trainer.schedule.step(trainer.updates());
            let loss = update(&mut trainer, first).unwrap();

            // The same with all floats and all gradients at once.
            for (name, integers) in votes.matrices() {
                let value = matrix(integers.values(), integers.shape(), &Default::default());
                floats.parameters.update(name, |_| value).unwrap();
            }
            let (mut expected, mut sums) = (0.0, Vec::new());
            for batch in [counting(first, 2, LENGTH), counting(first + 3, 2, LENGTH)] {
                let mut pass = Pass::new(&floats.model, &*floats.arrangement, &floats.parameters);
                // Two batches of two sequences.
                let share = NextToken.loss(&mut pass, &batch).unwrap() / (4 * LENGTH) as f32;
                expected += scalar(share.clone());
                let mut gradients = pass.gradients(share).unwrap();
                for (name, _) in begun.matrices() {
                    votes.vote_on(name, gradients.remove(name).unwrap());
                }
                votes.end_micro_step().unwrap();
                sums.push(gradients);
            }
            assert!((loss - expected).abs() < 1e-6, "{loss} {expected}");
            let [one, two] = sums.try_into().unwrap();
            for ((name, one), (_, two)) in one.into_iter().zip(two) {
                let step = Step { decay: 0.0, ..step };
                let change = |value| Sgd::new(0.0).update(&name, value, one + two, step);
                floats.parameters.update(&name, change).unwrap();
            }
            if votes.is_due() {
                let share = if rule.decays {
                    step.rate / trainer.schedule.highest()
                } else {
                    1.0
                };
                votes.commit(share).unwrap();
            }
            assert_eq!(state(&trainer), votes, "update {first}, tied: {tied}");
            for (name, parameter) in trainer.parameters.iter() {
                let expected = values(floats.parameters.matrix(name).unwrap());
                assert_eq!(values(parameter.value.clone()), expected, "{name}");
            }
        }
        for ((name, before), (_, after)) in begun.matrices().zip(votes.matrices()) {
            assert_ne!(before.codes(), after.codes(), "{name}");
        }
    }
}

#[test]
fn a_run_goes_on_bit_for_bit_between_two_commits() {
    let path = std::env::temp_dir().join(format!("halfpi-votes-{}.safetensors", std::process::id()));
    let mut first = integers(Rule::improved(6, Range::Int8));
    (0..4).for_each(|i| assert!(update(&mut first, i).unwrap() > 0.0));
    assert!(!state(&first).is_committed() && state(&first).commits() == 1);
    checkpoint::write(&first, State::new(first.updates(), 0), &path).unwrap();

    let checkpoint = Checkpoint::read(&path).unwrap();
    let names: Vec<&String> = checkpoint.tensors.keys().collect();
    let votes = names
        .iter()
        .filter(|name| name.starts_with("votes.blk.0.ffn_up.weight."));
    assert_eq!(votes.count(), 4, "{names:?}");
    // Only norms are floats.
    let floats = names.iter().filter(|name| name.starts_with("parameter."));
    assert!(floats.clone().count() == 3 && floats.into_iter().all(|name| name.ends_with("norm.weight")));
    let restore = |trainer: &mut Trainer<Cpu>| checkpoint.restore(trainer, &Default::default(), &path, [0, 1]);
    let mut second = integers(Rule::improved(6, Range::Int8));
    restore(&mut second).unwrap();
    assert_eq!(state(&second), state(&first));
    for i in 4..10 {
        let [one, two] = [&mut first, &mut second].map(|trainer| update(trainer, i).unwrap());
        assert_eq!(one.to_bits(), two.to_bits());
    }
    assert_eq!(state(&second), state(&first));
    assert_eq!(state(&second).commits(), 3);

    // A run with other integers, or without, is another one.
    let votes = VoteTrainer::new(Rule::improved(6, Range::Int8)).unwrap();
    let mut other = voting(trainer(LENGTH, 20), votes, Range::Int4);
    let before = state(&other);
    assert!(matches!(restore(&mut other), Err(TrainError::Checkpoint { .. })));
    assert_eq!(state(&other), before);
    assert!(restore(&mut trainer(LENGTH, 20)).is_err());
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn what_is_not_finite_moves_no_weight() {
    let mut trainer = integers(Rule::as_stated(2));
    update(&mut trainer, 0).unwrap();
    let before = state(&trainer);
    let infinite = |weights| weights * f32::INFINITY;
    trainer.parameters.update("output_norm.weight", infinite).unwrap();
    let error = update(&mut trainer, 1).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { update: 2, .. }), "{error}");
    assert_eq!(state(&trainer), before);
    assert_eq!(trainer.updates(), 1);
}

/// A matrix of complex weights, as native complex models have them.
#[test]
fn complex_products_vote_as_floats_do() {
    let random = |seed, count| {
        let mut random = Random::new(seed);
        (0..count).map(|_| random.normal()).collect::<Vec<f32>>()
    };
    let device = Default::default();
    let mut parameters = Parameters::<Cpu>::default();
    parameters.insert("w.weight", matrix(random(1, 12 * 8), [12, 8], &device));
    let mut votes = VoteTrainer::new(Rule::as_stated(1)).unwrap();
    votes.take(&mut parameters, |_, _| Some(Range::Int8)).unwrap();
    let integers = votes.get("w.weight").unwrap();
    parameters.insert("w.weight", matrix(integers.values(), integers.shape(), &device));
    let (mut expected, shared) = (votes.clone(), SharedVotes::from(votes));

    let x = || matrix::<Cpu>(random(2, 5 * 16), [5, 16], &device).require_grad();
    let upstream = matrix::<Cpu>(random(3, 5 * 12), [5, 12], &device);
    let (one, two) = (x(), x());
    let y = Plain.weights(&parameters).linear("w.weight", one.clone()).unwrap();
    let z = shared.linear("w.weight", two.clone()).unwrap();
    let near = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs()));
    assert!(near(values(y.clone()), values(z.clone())));
    let mut by_floats = (y * upstream.clone()).sum().backward();
    let by_integers = (z * upstream).sum().backward();
    shared.lock().end_micro_step().unwrap();
    assert!(near(
        values(one.grad(&by_floats).unwrap()),
        values(two.grad(&by_integers).unwrap())
    ));
    let gradient = parameters.gradients(&mut by_floats).remove("w.weight").unwrap();
    expected.vote_on("w.weight", gradient);
    expected.end_micro_step().unwrap();
    assert_eq!(*shared.lock(), expected);
}
