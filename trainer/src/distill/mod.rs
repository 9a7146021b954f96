//! Knowledge distillation: the student learns what a teacher thinks of every next token (Hinton et al. 2015,
//! arXiv:1503.02531), and if wanted what it makes of the text inside (BitDistill, arXiv:2510.13998, section 3.3).

mod cache;
mod cached;
mod relation;
mod teacher;

pub use self::cache::{Cache, CacheError, CacheWriter, Origin, Predictions};
pub use self::cached::{CachedDistillation, Top, top_divergence};
pub use self::relation::Relation;
use self::relation::Seen;
pub use self::teacher::Teacher;
use crate::Result;
use crate::batch::Batch;
use crate::loss;
use crate::objective::Objective;
use crate::pass::Pass;
use crate::tensor::{AutodiffBackend, Backend, Tensor, activation};

/// How much each part of the loss counts.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mixture {
    /// The negative log-likelihood of the text.
    pub text: f32,
    /// The divergence from the teacher's predictions.
    pub logits: f32,
    /// The temperature of both when they are compared.
    pub temperature: f32,
    /// The divergence from the teacher's attention relations, of its last layer and the student's.
    pub relations: f32,
    /// The squared distance of the last layers' outputs, relative to the teacher's. They need the same width.
    pub hidden: f32,
}

impl Default for Mixture {
    fn default() -> Self {
        Self {
            text: 0.0,
            logits: 1.0,
            temperature: 1.0,
            relations: 0.0,
            hidden: 0.0,
        }
    }
}

/// Learning from a teacher that runs beside the student.
pub struct Distillation<B: AutodiffBackend> {
    teacher: Teacher<B::InnerBackend>,
    mixture: Mixture,
}

impl<B: AutodiffBackend> Distillation<B> {
    /// Learning from `teacher`.
    pub fn new(teacher: Teacher<B::InnerBackend>, mixture: Mixture) -> Self {
        Self { teacher, mixture }
    }
}

impl<B: AutodiffBackend> Objective<B> for Distillation<B> {
    fn loss(&mut self, student: &mut Pass<'_, B>, batch: &Batch<B>) -> Result<Tensor<B, 1>> {
        let mixture = self.mixture;
        let mut taught = Seen::last_of(self.teacher.config());
        let tokens = batch.tokens.clone().inner();
        let teacher = self.teacher.logits(tokens, &mut taught)?;
        let mut seen = Seen::last_of(student.config());
        let logits = student.logits(batch.tokens.clone(), &mut seen)?;

        let constant = |tensor| Tensor::<B, 2>::from_inner(tensor);
        let mut sum = divergence(
            logits.clone(),
            constant(teacher),
            mixture.temperature,
            batch.weights.clone(),
        ) * mixture.logits;
        if mixture.text != 0.0 {
            let text = loss::cross_entropy(logits, batch.targets.clone(), batch.weights.clone());
            sum = sum + text * mixture.text;
        }
        if mixture.relations != 0.0 {
            let shapes = [student.config(), self.teacher.config()];
            let relations = relation::divergence::<B>(&seen, &taught, shapes, batch)?;
            sum = sum + relations * mixture.relations;
        }
        if mixture.hidden != 0.0 {
            sum = sum + relation::distance::<B>(&seen, &taught, batch)? * mixture.hidden;
        }
        Ok(sum)
    }
}

/// The divergence KL(teacher ‖ student) of what is predicted at each position, at a temperature, each counted with its
/// weight, summed; times the temperature squared, so that gradients have the same size at every temperature (Hinton et
/// al. 2015, section 2).
///
/// Logits are `[positions, vocab_size]`, weights have a number for each position.
pub fn divergence<B: Backend>(
    student: Tensor<B, 2>,
    teacher: Tensor<B, 2>,
    temperature: f32,
    weights: Tensor<B, 1>,
) -> Tensor<B, 1> {
    let student = activation::log_softmax(student / temperature, 1);
    let teacher = activation::log_softmax(teacher / temperature, 1);
    let divergence = (teacher.clone().exp() * (teacher - student)).sum_dim(1);
    (divergence.flatten::<1>(0, 1) * weights).sum() * (temperature * temperature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Cpu, TensorData, matrix, scalar, values};

    fn of(student: Vec<f32>, teacher: Vec<f32>, temperature: f32, weights: [f32; 2]) -> (f32, Vec<f32>) {
        let device = Default::default();
        let student = matrix::<Cpu>(student, [2, 3], &device).require_grad();
        let weights = Tensor::from_data(TensorData::from(weights), &device);
        let loss = divergence(student.clone(), matrix(teacher, [2, 3], &device), temperature, weights);
        let gradient = values(student.grad(&loss.backward()).unwrap());
        (scalar(loss), gradient)
    }

    #[test]
    fn divergence_is_that_of_the_predictions() {
        // softmax of ln(p) is p: KL of (1/2, 1/4, 1/4) from even predictions, counted twice.
        let teacher = [0.5f32, 0.25, 0.25].map(f32::ln);
        let (loss, _) = of(vec![0.0; 6], [teacher, teacher].concat(), 1.0, [2.0, 0.0]);
        let expected = 2.0 * (0.5f32 * (0.5f32 * 3.0).ln() + 0.5 * (0.25f32 * 3.0).ln());
        assert!((loss - expected).abs() < 1e-6, "{loss} {expected}");
        let logits = vec![0.3, -1.0, 2.0, 5.0, 0.0, 1.0];
        let shifted: Vec<f32> = logits.iter().map(|logit| logit + 7.0).collect();
        let (loss, gradient) = of(logits, shifted, 2.0, [1.0, 1.0]);
        assert!(loss.abs() < 1e-5 && gradient.iter().all(|gradient| gradient.abs() < 1e-5));
    }

    #[test]
    fn gradients_hardly_depend_on_the_temperature() {
        let student = vec![0.01, -0.02, 0.0, 0.03, 0.0, -0.01];
        let teacher = vec![0.0, 0.02, -0.01, -0.02, 0.01, 0.0];
        let (_, cold) = of(student.clone(), teacher.clone(), 1.0, [1.0, 1.0]);
        let (_, hot) = of(student, teacher, 8.0, [1.0, 1.0]);
        for (cold, hot) in cold.iter().zip(&hot) {
            assert!((cold - hot).abs() < 0.05 * cold.abs() + 2e-4, "{cold} {hot}");
        }
    }
}
