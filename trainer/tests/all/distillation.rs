//! Learning from a teacher, and adapters.

use std::collections::BTreeMap;

use halfpi_trainer::distill::{Distillation, Mixture, Teacher};
use halfpi_trainer::lora::{Adapted, Lora};
use halfpi_trainer::model::{Plain, Transformer};
use halfpi_trainer::objective::NextToken;
use halfpi_trainer::parallel::Single;
use halfpi_trainer::tensor::{Backend, Cpu, matrix, values};
use halfpi_trainer::train::Trainer;

use super::{counting, trainer};

const LENGTH: usize = 8;

type Inner = <Cpu as Backend>::Inner;

pub(super) fn teacher(trainer: &Trainer<Cpu>) -> Teacher<Inner> {
    let weights = trainer.parameters.iter();
    let weights: BTreeMap<_, _> = weights
        .map(|(name, parameter)| (name.to_owned(), parameter.value.clone().inner()))
        .collect();
    Teacher::new(
        Transformer::new(trainer.model.config(), LENGTH, &[], &Default::default()),
        weights,
    )
}

#[test]
fn a_teacher_like_the_student_has_nothing_to_teach() {
    let mut student = trainer(LENGTH, 10);
    let mixture = Mixture {
        temperature: 2.0,
        relations: 1.0,
        hidden: 1.0,
        ..Mixture::default()
    };
    let mut objective = Distillation::new(teacher(&student), mixture);
    let update = student
        .update(&mut objective, &[counting(0, 2, LENGTH)], &mut Single)
        .unwrap();
    assert!(update.loss.abs() < 1e-4 && update.gradient_norm < 1e-2, "{update:?}");
}

#[test]
fn a_student_comes_closer_to_its_teacher() {
    let mut taught = trainer(LENGTH, 60);
    for i in 0..40 {
        taught
            .update(&mut NextToken, &[counting(i, 4, LENGTH)], &mut Single)
            .unwrap();
    }
    for mixture in [
        Mixture::default(),
        Mixture {
            temperature: 2.0,
            relations: 0.5,
            ..Mixture::default()
        },
        Mixture {
            text: 0.5,
            hidden: 1.0,
            ..Mixture::default()
        },
    ] {
        let mut student = trainer(LENGTH, 60);
        let mut objective = Distillation::new(teacher(&taught), mixture);
        let mut losses = Vec::new();
        for i in 0..30 {
            let update = student
                .update(&mut objective, &[counting(i, 4, LENGTH)], &mut Single)
                .unwrap();
            losses.push(update.loss);
        }
        assert!(losses[29] < 0.4 * losses[0], "{mixture:?}: {losses:?}");
    }
}

#[test]
fn only_adapters_are_trained() {
    let mut student = trainer(LENGTH, 100);
    let batch = || counting(3, 4, LENGTH);
    let before = student.evaluate([Ok(batch())].into_iter()).unwrap();
    let lora = Lora { rank: 4, alpha: 8.0 };
    let is_adapted = |name: &str| name.contains("attn_") || name.contains("ffn_");
    lora.add_to(&mut student.parameters, is_adapted, 1, &Default::default());
    student.arrangement = Box::new(Adapted {
        lora,
        base: Box::new(Plain),
    });
    let base: BTreeMap<String, Vec<f32>> = student
        .parameters
        .iter()
        .filter(|(name, _)| !name.contains("lora"))
        .map(|(name, parameter)| (name.to_owned(), values(parameter.value.clone())))
        .collect();
    assert_eq!(
        student.parameters.iter().count(),
        base.len() + 14,
        "seven matrices have two each"
    );
    assert_eq!(student.evaluate([Ok(batch())].into_iter()).unwrap(), before);

    for i in 0..60 {
        student
            .update(&mut NextToken, &[counting(i, 8, LENGTH)], &mut Single)
            .unwrap();
    }
    let after = student.evaluate([Ok(batch())].into_iter()).unwrap();
    assert!(after < 0.7 * before, "{before} {after}");
    for (name, values_before) in &base {
        let now = values(student.parameters.matrix(name).unwrap());
        assert_eq!(&now, values_before, "{name}");
    }

    // Merged, the adapters do the same.
    let mut merged = trainer(LENGTH, 1);
    for (name, shape) in base
        .keys()
        .map(|name| (name, merged.parameters.matrix(name).unwrap().dims()))
        .collect::<Vec<_>>()
    {
        let weights = values(lora.merged(&student.parameters, name).unwrap());
        merged
            .parameters
            .insert(name.clone(), matrix(weights, shape, &Default::default()));
    }
    let same = merged.evaluate([Ok(batch())].into_iter()).unwrap();
    assert!((same - after).abs() < 1e-3, "{same} {after}");
}
