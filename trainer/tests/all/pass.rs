//! Layers one at a time: less is kept, nothing else changes.

use halfpi::pack::synthetic::SyntheticModel;
use halfpi::transformer::Architecture;
use halfpi_trainer::distill::{Distillation, Mixture};
use halfpi_trainer::lora::{Adapted, Lora};
use halfpi_trainer::model::Plain;
use halfpi_trainer::objective::{NextToken, Objective};
use halfpi_trainer::parallel::Single;
use halfpi_trainer::pass::Pass;
use halfpi_trainer::quantize::{Scheme, match_deviation};
use halfpi_trainer::tensor::{Cpu, values};
use halfpi_trainer::train::Trainer;
use halfpi_trainer::vote::{Range, Rule, VoteTrainer};

use super::distillation::teacher;
use super::{counting, trainer_of_layers, voting};

const LENGTH: usize = 8;
const LAYERS: usize = 3;

fn trainer(architecture: Architecture, tied: bool) -> Trainer<Cpu> {
    let mut model = SyntheticModel::tiny(architecture);
    model.tied = tied;
    trainer_of_layers(model, LAYERS, LENGTH, 10)
}

/// The loss of a batch and the gradients of all parameters, by name.
fn gradients(trainer: &Trainer<Cpu>, objective: &mut dyn Objective<Cpu>, recompute: bool) -> Vec<(String, Vec<f32>)> {
    let mut pass = Pass::new(&trainer.model, &*trainer.arrangement, &trainer.parameters);
    if recompute {
        pass = pass.recomputing(trainer.votes.as_ref());
    }
    let loss = objective.loss(&mut pass, &counting(5, 2, LENGTH)).unwrap();
    let gradients = pass.gradients(loss.clone()).unwrap().into_iter();
    let named = gradients.map(|(name, gradient)| (name, values(gradient)));
    std::iter::once(("loss".to_owned(), values(loss)))
        .chain(named)
        .collect()
}

fn assert_same(trainer: &Trainer<Cpu>, objective: &mut dyn Objective<Cpu>, what: &str) -> usize {
    let (kept, again) = (
        gradients(trainer, objective, false),
        gradients(trainer, objective, true),
    );
    let names = |of: &[(String, Vec<f32>)]| of.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&kept), names(&again), "{what}");
    for ((name, kept), (_, again)) in kept.iter().zip(&again) {
        assert!(kept == again, "{what}: {name}");
    }
    kept.len()
}

#[test]
fn gradients_are_the_same_to_the_bit() {
    let methods = [
        (Architecture::Llama, false, "f32"),
        (Architecture::Qwen2, true, "ternary"),
        (Architecture::Qwen3, true, "phi4"),
        (Architecture::BitNet, true, "ternary:learned"),
        (Architecture::IFairy, false, "phase-complex"),
    ];
    for (architecture, tied, method) in methods {
        let mut trainer = trainer(architecture, tied);
        if method != "f32" {
            let scheme: Scheme = method.parse().unwrap();
            match_deviation(&mut trainer.parameters, &scheme).unwrap();
            trainer.arrangement = Box::new(scheme);
        }
        let compared = assert_same(&trainer, &mut NextToken, method);
        assert_eq!(compared, 1 + trainer.parameters.iter().count(), "{method}");
    }
}

#[test]
fn what_a_teacher_says_of_the_last_layer_is_learnt() {
    let student = trainer(Architecture::Llama, true);
    let mut other = SyntheticModel::tiny(Architecture::Llama);
    other.seed += 1;
    let teacher = teacher(&trainer_of_layers(other, LAYERS, LENGTH, 10));
    let mixture = Mixture {
        relations: 0.5,
        hidden: 0.5,
        ..Mixture::default()
    };
    assert_same(&student, &mut Distillation::new(teacher, mixture), "teacher");
}

/// The first layers have no gradients here: there is nothing to go back for.
#[test]
fn layers_that_are_not_trained_are_left_out() {
    let mut student = trainer(Architecture::Llama, false);
    student.parameters.freeze(|name| !name.starts_with("blk.2."));
    assert_same(&student, &mut NextToken, "last layer");
    student.parameters.freeze(|_| true);
    assert_eq!(assert_same(&student, &mut NextToken, "nothing"), 1, "only the loss");

    let mut adapted = trainer(Architecture::Llama, false);
    let lora = Lora { rank: 2, alpha: 4.0 };
    lora.add_to(&mut adapted.parameters, |_| true, 1, &Default::default());
    adapted.arrangement = Box::new(Adapted {
        lora,
        base: Box::new(Plain),
    });
    assert_eq!(assert_same(&adapted, &mut NextToken, "adapters"), 1 + 14 * LAYERS);
}

#[test]
fn each_weight_votes_once() {
    let run = |recompute| {
        let votes = VoteTrainer::new(Rule::improved(2, Range::Int4)).unwrap();
        let mut trainer = voting(trainer(Architecture::Llama, true), votes, Range::Int4);
        trainer.recompute = recompute;
        for i in 0..5 {
            let batches = [counting(i, 2, LENGTH)];
            trainer.update(&mut NextToken, &batches, &mut Single).unwrap();
        }
        trainer.votes.unwrap().lock().clone()
    };
    let (kept, again) = (run(false), run(true));
    assert!(!kept.is_committed(), "there are votes to compare");
    assert_eq!(kept, again);
}

/// The tensor engine cleans up after all threads together, and must not take away what another still needs.
#[test]
fn threads_do_not_take_each_others_gradients() {
    let count = || {
        let trainer = trainer(Architecture::Llama, true);
        let compared = |_| gradients(&trainer, &mut NextToken, true).len();
        (0..100).map(compared).collect::<Vec<_>>()
    };
    let expected = 1 + trainer(Architecture::Llama, true).parameters.iter().count();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        for thread in threads {
            let counts = thread.join().unwrap();
            assert!(
                counts.iter().all(|&count| count == expected),
                "{counts:?}, and not {expected}"
            );
        }
    });
}
