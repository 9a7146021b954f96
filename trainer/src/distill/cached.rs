//! Learning from predictions that a teacher left.

use super::cache::{Cache, Predictions};
use crate::Result;
use crate::batch::Batch;
use crate::loss;
use crate::objective::Objective;
use crate::pass::Pass;
use crate::tensor::{AutodiffBackend, Backend, IndexingUpdateOp, Int, Tensor, TensorData, activation, matrix};

/// Learning from a teacher's predictions in files, without the teacher.
pub struct CachedDistillation {
    cache: Cache,
    /// How much the text itself counts.
    text: f32,
    /// How much the predictions count.
    logits: f32,
}

impl CachedDistillation {
    /// Learning from `cache`, at the temperature that it was made with, and beside it from the text.
    pub fn new(cache: Cache, logits: f32, text: f32) -> Self {
        Self { cache, text, logits }
    }
}

impl<B: AutodiffBackend> Objective<B> for CachedDistillation {
    fn loss(&mut self, student: &mut Pass<'_, B>, batch: &Batch<B>) -> Result<Tensor<B, 1>> {
        let device = batch.weights.device();
        let [_, length] = batch.tokens.dims();
        let tokens: Vec<i32> = batch.tokens.clone().into_data().iter().collect();
        let mut taught = Predictions::default();
        for sequence in tokens.chunks(length) {
            let predictions = self.cache.read(sequence)?;
            taught.tokens.extend(predictions.tokens);
            taught.logs.extend(predictions.logs);
            taught.rest.extend(predictions.rest);
        }
        let origin = self.cache.origin();
        let (shape, positions) = ([taught.rest.len(), origin.top as usize], taught.rest.len());
        let teacher = Top {
            tokens: Tensor::from_data(TensorData::new(taught.tokens, shape), &device),
            logs: matrix(taught.logs, shape, &device),
            rest: matrix(taught.rest, [positions, 1], &device),
        };
        let logits = student.logits(batch.tokens.clone(), &mut ())?;
        let temperature = origin.temperature;
        let divergence = top_divergence(logits.clone(), teacher, temperature, batch.weights.clone());
        let mut sum = divergence * self.logits;
        if self.text != 0.0 {
            let text = loss::cross_entropy(logits, batch.targets.clone(), batch.weights.clone());
            sum = sum + text * self.text;
        }
        Ok(sum)
    }
}

/// The most likely tokens of a teacher, at a temperature.
#[derive(Clone, Debug)]
pub struct Top<B: Backend> {
    /// Tokens, no two of a position the same: `[positions, top]`.
    pub tokens: Tensor<B, 2, Int>,
    /// The logarithms of their probabilities: `[positions, top]`.
    pub logs: Tensor<B, 2>,
    /// The logarithm of the probability that all others have together: `[positions, 1]`.
    pub rest: Tensor<B, 2>,
}

/// As [`divergence`](super::divergence), of the most likely tokens of the teacher and of all others taken as one: never
/// more than that of all tokens, and the same if none is left over.
///
/// The temperature is the one that the teacher's probabilities were taken at: what all others have together at another
/// one does not follow from them. `student` is `[positions, vocab_size]`, weights have a number for each position.
pub fn top_divergence<B: Backend>(
    student: Tensor<B, 2>,
    teacher: Top<B>,
    temperature: f32,
    weights: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let [positions, vocab_size] = student.dims();
    let student = activation::log_softmax(student / temperature, 1);
    let found = student.clone().gather(1, teacher.tokens.clone());
    let mut divergence = (teacher.logs.clone().exp() * (teacher.logs - found)).sum_dim(1);
    if teacher.tokens.dims()[1] < vocab_size {
        // A sum of what is left, and not what is left of 1: where the student leaves little, that would be noise.
        let kept = Tensor::zeros([positions, vocab_size], &student.device());
        let ones = teacher.rest.ones_like().expand(teacher.tokens.dims());
        let kept = kept
            .scatter(1, teacher.tokens, ones, IndexingUpdateOp::Add)
            .greater_elem(0.5);
        let others = student.mask_fill(kept, f32::MIN / 2.0);
        let largest = others.clone().detach().max_dim(1);
        let rest = (others - largest.clone()).exp().sum_dim(1).log() + largest;
        divergence = divergence + teacher.rest.clone().exp() * (teacher.rest - rest);
    }
    (divergence.flatten::<1>(0, 1) * weights).sum() * (temperature * temperature)
}

#[cfg(test)]
mod tests {
    use super::super::divergence;
    use super::*;
    use crate::Random;
    use crate::tensor::{Cpu, scalar, values};

    const SHAPE: [usize; 2] = [5, 40];

    fn logits(seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        (0..SHAPE[0] * SHAPE[1])
            .map(|_| 12.0 * random.uniform() - 6.0)
            .collect()
    }

    fn student(logits: &[f32]) -> Tensor<Cpu, 2> {
        matrix(logits.to_vec(), SHAPE, &Default::default()).require_grad()
    }

    fn weights() -> Tensor<Cpu, 1> {
        Tensor::from_data(TensorData::from([1.0, 0.5, 0.0, 2.0, 1.0f32]), &Default::default())
    }

    /// The likeliest tokens of logits, without rounding.
    fn top(logits: &[f32], top: usize, temperature: f32) -> Top<Cpu> {
        let device = Default::default();
        let (mut tokens, mut logs, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for row in logits.chunks(SHAPE[1]) {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            let sum: f64 = row.iter().map(|logit| f64::from(logit / temperature).exp()).sum();
            let log = |token: usize| f64::from(row[token] / temperature) - sum.ln();
            tokens.extend(order[..top].iter().map(|&token| token as i32));
            logs.extend(order[..top].iter().map(|&token| log(token) as f32));
            let others: f64 = order[top..].iter().map(|&token| log(token).exp()).sum();
            rest.push(others.ln().max(-1e4) as f32);
        }
        Top {
            tokens: Tensor::from_data(TensorData::new(tokens, [SHAPE[0], top]), &device),
            logs: matrix(logs, [SHAPE[0], top], &device),
            rest: matrix(rest, [SHAPE[0], 1], &device),
        }
    }

    fn with_gradient(student: &Tensor<Cpu, 2>, loss: Tensor<Cpu, 1>) -> (f32, Vec<f32>) {
        let gradient = values(student.grad(&loss.backward()).unwrap());
        (scalar(loss), gradient)
    }

    #[test]
    fn all_tokens_are_the_divergence_itself() {
        for temperature in [1.0, 3.0] {
            let (of_student, of_teacher) = (logits(1), logits(2));
            let student = student(&of_student);
            let teacher = matrix(of_teacher.clone(), SHAPE, &Default::default());
            let online = divergence(student.clone(), teacher, temperature, weights());
            let (online, online_gradient) = with_gradient(&student, online);
            let teacher = top(&of_teacher, SHAPE[1], temperature);
            let cached = top_divergence(student.clone(), teacher, temperature, weights());
            let (cached, cached_gradient) = with_gradient(&student, cached);
            assert!((online - cached).abs() < 1e-5 * online, "{online} {cached}");
            for (a, b) in online_gradient.iter().zip(&cached_gradient) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn the_fewer_tokens_the_less_is_seen_and_gradients_are_right() {
        let (of_student, of_teacher) = (logits(1), logits(2));
        let loss = |of_student: &[f32], kept: usize| {
            let student = student(of_student);
            let loss = top_divergence(student.clone(), top(&of_teacher, kept, 2.0), 2.0, weights());
            with_gradient(&student, loss)
        };
        let losses: Vec<f32> = [1, 4, 12, 40].map(|kept| loss(&of_student, kept).0).to_vec();
        assert!(losses.is_sorted() && losses[0] > 0.0, "{losses:?}");
        // One that is left over is itself.
        assert!((loss(&of_student, 39).0 - losses[3]).abs() < 1e-3, "{losses:?}");
        let (_, gradient) = loss(&of_student, 4);
        for place in [0, 7, 45, 81, 130, 199] {
            let shifted = [-0.05, 0.05].map(|shift| {
                let mut of_student = of_student.clone();
                of_student[place] += shift;
                loss(&of_student, 4).0
            });
            let slope = (shifted[1] - shifted[0]) / 0.1;
            assert!(
                (slope - gradient[place]).abs() < 2e-3,
                "{place}: {slope} {}",
                gradient[place]
            );
        }
    }

    #[test]
    fn a_student_that_leaves_nothing_for_others_is_still_pulled() {
        let mut sure = vec![0.0; SHAPE[0] * SHAPE[1]];
        sure.chunks_mut(SHAPE[1]).for_each(|row| row[0] = 200.0);
        let student = student(&sure);
        let even = vec![0.0; SHAPE[0] * SHAPE[1]];
        let (loss, gradient) = with_gradient(
            &student,
            top_divergence(student.clone(), top(&even, 1, 1.0), 1.0, weights()),
        );
        assert!(loss.is_finite() && loss > 100.0, "{loss}");
        assert!(
            gradient.iter().all(|gradient| gradient.is_finite()) && gradient[0] > 0.9,
            "{}",
            gradient[0]
        );
    }
}
