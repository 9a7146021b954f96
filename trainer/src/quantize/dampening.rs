//! A pull of float weights towards the levels that they are rounded to: oscillation dampening (Nagel et al. 2022,
//! "Overcoming Oscillations in Quantization-Aware Training", arXiv:2203.11086).
//!
//! With a straight-through estimator a weight whose best value lies between two levels is driven to the threshold between
//! them, and jumps from one to the other for as long as it is trained. The pull, away from thresholds, ends that.

use std::f32::consts::PI;
use std::ops::Neg;

use super::scale::by_scale;
use super::{Quantized, Scheme};
use crate::batch::Batch;
use crate::objective::Objective;
use crate::pass::Pass;
use crate::tensor::{AutodiffBackend, Tensor, scalar};
use crate::{Gradients, Parameters, Result};

impl<B: AutodiffBackend> Quantized<'_, B> {
    /// How far the weights of a matrix are from what they are rounded to; `None` of floats. 0 where a weight is beyond the
    /// outermost level that its scale is in use with: there is no threshold there.
    ///
    /// # Errors
    /// As [`effective`](Self::effective).
    pub fn distance(&self, name: &str) -> Result<Option<Tensor<B::InnerBackend, 2>>> {
        let weight = self.parameters.matrix(name)?.inner();
        let shape = weight.dims();
        let Some(method) = self.scheme.method(name, shape) else {
            return Ok(None);
        };
        let rounded = self.effective(name)?.inner();
        let distance = weight.clone() - rounded.clone();
        let Some(levels) = method.levels() else {
            // Scales that reach the largest weight, and phases, which have no outermost one.
            return Ok(Some(distance));
        };
        let scales = method.check(name, shape)?;
        let (weights, rounded) = (by_scale(weight, scales), by_scale(rounded, scales));
        let of_all = weights.dims();
        let is_symmetric = levels.first().copied().map(f32::neg) == levels.last().copied();
        let is_beyond = if is_symmetric {
            let outermost = rounded.abs().max_dim(1);
            weights.abs().greater(outermost.expand(of_all))
        } else {
            // -2 to 1, by a scale of either sign: each side has an end of its own.
            let [least, most] = [rounded.clone().min_dim(1), rounded.max_dim(1)].map(|end| end.expand(of_all));
            weights.clone().greater(most).bool_or(weights.lower(least))
        };
        let is_beyond = is_beyond.reshape(shape);
        Ok(Some(distance.mask_fill(is_beyond, 0.0)))
    }
}

/// An objective with the pull beside it.
pub struct Dampened<B: AutodiffBackend> {
    /// What is learnt.
    pub objective: Box<dyn Objective<B>>,
    /// How weights are rounded.
    pub scheme: Scheme,
    /// The weight of the pull at the end.
    pub weight: f32,
    /// Updates of the whole run, over which it grows from 0 along a cosine: early, weights still have to change places.
    pub updates: u64,
}

impl<B: AutodiffBackend> Dampened<B> {
    /// The weight of the pull after so many updates.
    pub fn weight_after(&self, updates: u64) -> f32 {
        let share = (updates as f32 / self.updates.max(1) as f32).min(1.0);
        self.weight * 0.5 * (1.0 - (PI * share).cos())
    }
}

impl<B: AutodiffBackend> Objective<B> for Dampened<B> {
    fn loss(&mut self, student: &mut Pass<'_, B>, batch: &Batch<B>) -> Result<Tensor<B, 1>> {
        self.objective.loss(student, batch)
    }

    /// Adds the gradient of the sum over all matrices of the squared distance from their levels, as a part of their
    /// squares. Levels count as constants.
    fn regularize(&mut self, parameters: &Parameters<B>, updates: u64, gradients: &mut Gradients<B>) -> Result<()> {
        self.objective.regularize(parameters, updates, gradients)?;
        let (scheme, pull) = (&self.scheme, self.weight_after(updates));
        for (name, gradient) in gradients {
            let Some(distance) = Quantized { parameters, scheme }.distance(name)? else {
                continue;
            };
            let weight = parameters.matrix(name)?.inner();
            let squares = scalar((weight.clone() * weight).sum());
            if squares > 0.0 {
                *gradient = gradient.clone() + distance * (2.0 * pull / squares);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NAME, converted, weights};
    use super::*;
    use crate::Random;
    use crate::objective::NextToken;
    use crate::tensor::{Cpu, matrix, values};

    const SHAPE: [usize; 2] = [32, 64];

    fn dampened(scheme: &Scheme, weight: f32) -> Dampened<Cpu> {
        Dampened {
            objective: Box::new(NextToken),
            scheme: scheme.clone(),
            weight,
            updates: 100,
        }
    }

    /// -2 to 1, and the other way round: weights beyond either end are let alone, those between two levels are not.
    #[test]
    fn each_side_has_its_own_end() {
        for sign in [1.0, -1.0] {
            let numbers: Vec<f32> = [-2.0, -2.4, -1.3, 0.2, 1.0, 1.3].map(|x: f32| x * sign).into();
            let cols = 96;
            let weights: Vec<f32> = numbers.iter().cycle().take(32 * cols).copied().collect();
            let (parameters, scheme) = converted(weights.clone(), [32, cols], "halfpi2");
            let (parameters, scheme) = (&parameters, &scheme);
            let quantized = Quantized { parameters, scheme };
            let rounded = values(quantized.effective(NAME).unwrap());
            let distance = values(quantized.distance(NAME).unwrap().unwrap());
            let (least, most) = rounded.iter().fold((0f32, 0f32), |(a, b), x| (a.min(*x), b.max(*x)));
            let mut beyond = 0;
            for ((weight, rounded), distance) in weights.iter().zip(&rounded).zip(&distance) {
                let is_beyond = *weight > most || *weight < least;
                beyond += usize::from(is_beyond);
                let expected = if is_beyond { 0.0 } else { weight - rounded };
                assert_eq!(*distance, expected, "{weight} {rounded}");
            }
            assert!(beyond > 0);
        }
    }

    #[test]
    fn the_pull_grows_and_leads_to_the_levels() {
        for method in ["ternary", "ternary:learned", "halfpi2", "phi4", "phase-t2", "q8"] {
            let (mut parameters, scheme) = converted(weights(SHAPE), SHAPE, method);
            let of = |parameters: &Parameters<Cpu>| {
                let quantized = Quantized {
                    parameters,
                    scheme: &scheme,
                };
                quantized.distance(NAME).unwrap().unwrap()
            };
            let squares = |tensor: Tensor<_, 2>| scalar((tensor.clone() * tensor).sum());
            let before = squares(of(&parameters));
            let mut objective = dampened(&scheme, 1.0);
            assert_eq!(objective.weight_after(0), 0.0);
            assert!(objective.weight_after(50) < 0.51 && objective.weight_after(100) > 0.99);
            let sum = squares(parameters.matrix(NAME).unwrap().inner());
            // A whole step goes all the way for those weights that keep their level and scale.
            let zeros = matrix(vec![0.0; SHAPE[0] * SHAPE[1]], SHAPE, &Default::default());
            let mut gradients = Gradients::<Cpu>::from([(NAME.to_owned(), zeros)]);
            objective.regularize(&parameters, 100, &mut gradients).unwrap();
            let gradient = gradients.remove(NAME).unwrap();
            parameters
                .update(NAME, |weight| weight - gradient * (0.25 * sum))
                .unwrap();
            let after = squares(of(&parameters));
            assert!(after < 0.6 * before, "{method}: {before} {after}");
        }
        let (parameters, scheme) = converted(weights(SHAPE), SHAPE, "f32");
        let quantized = Quantized {
            parameters: &parameters,
            scheme: &scheme,
        };
        assert!(quantized.distance(NAME).unwrap().is_none());
    }

    #[test]
    fn weights_beyond_the_last_level_are_let_alone() {
        let row: Vec<f32> = (0..64).map(|i| [0.9, 0.1, -1.1, 3.0][i % 4]).collect();
        let (parameters, scheme) = converted(row.repeat(2), [2, 64], "ternary:least-squares");
        let quantized = Quantized {
            parameters: &parameters,
            scheme: &scheme,
        };
        let distance = values(quantized.distance(NAME).unwrap().unwrap());
        assert!(
            distance[0] != 0.0 && distance[1] == 0.1 && distance[3] == 0.0,
            "{distance:?}"
        );
    }

    /// Learns a matrix that no levels give, and returns how far the weights end from theirs, and how many codes change in
    /// the last updates.
    fn learn(method: &str, weight: f32) -> (f32, usize) {
        let (mut parameters, scheme) = converted(weights(SHAPE), SHAPE, method);
        let mut random = Random::new(9);
        let wanted = (0..SHAPE[0] * SHAPE[1]).map(|_| 0.05 * random.normal()).collect();
        let wanted: Tensor<Cpu, 2> = matrix(wanted, SHAPE, &Default::default());
        let mut objective = dampened(&scheme, weight);
        let (mut before, mut changes) = (Vec::new(), 0);
        for update in 0..100 {
            let x = (0..16 * SHAPE[1]).map(|_| random.normal()).collect();
            let x: Tensor<Cpu, 2> = matrix(x, [16, SHAPE[1]], &Default::default());
            let rounded = Quantized {
                parameters: &parameters,
                scheme: &scheme,
            };
            let rounded = rounded.effective(NAME).unwrap();
            let now = values(rounded.clone());
            if update >= 80 {
                let pairs = now.iter().zip(&before);
                changes += pairs
                    .filter(|(now, before): &(&f32, &f32)| (**now - **before).abs() > 0.02)
                    .count();
            }
            before = now;
            let error = x.matmul((rounded - wanted.clone()).transpose());
            let mut gradients = parameters.gradients(&mut (error.clone() * error).mean().backward());
            objective.regularize(&parameters, update, &mut gradients).unwrap();
            let gradient = gradients.remove(NAME).unwrap();
            parameters.update(NAME, |weight| weight - gradient * 0.5).unwrap();
        }
        let quantized = Quantized {
            parameters: &parameters,
            scheme: &scheme,
        };
        let distance = quantized.distance(NAME).unwrap().unwrap();
        (scalar((distance.clone() * distance).sum()), changes)
    }

    #[test]
    fn fewer_codes_change_and_weights_come_nearer_to_their_levels() {
        for method in ["ternary", "halfpi2"] {
            let ((far, many), (near, few)) = (learn(method, 0.0), learn(method, 1.0));
            assert!(many > 50, "{method}: {many} codes change, which is nothing to dampen");
            assert!(
                near < 0.7 * far && 2 * few < many,
                "{method}: {far} {near}, {many} {few}"
            );
        }
    }
}
