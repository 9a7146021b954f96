//! AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 2).

use std::collections::BTreeMap;

use super::{Optimizer, Step};
use crate::tensor::{Backend, Tensor, change_together};

/// AdamW, with two numbers of memory a parameter.
#[derive(Clone, Debug)]
pub struct AdamW<B: Backend> {
    /// How slowly the mean of gradients changes.
    pub beta_1: f32,
    /// How slowly the mean of their squares changes.
    pub beta_2: f32,
    /// Keeps steps from dividing by zero.
    pub epsilon: f32,
    updates: u64,
    moments: BTreeMap<String, [Tensor<B, 2>; 2]>,
}

impl<B: Backend> Default for AdamW<B> {
    /// The values that language models are trained with (GPT-3, arXiv:2005.14165, appendix B).
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.95,
            epsilon: 1e-8,
            updates: 0,
            moments: BTreeMap::new(),
        }
    }
}

/// The names of the moments in a checkpoint.
const MOMENTS: [&str; 2] = [".adamw.mean", ".adamw.square"];

impl<B: Backend> Optimizer<B> for AdamW<B> {
    fn begin(&mut self) {
        self.updates += 1;
    }

    fn update(&mut self, name: &str, mut value: Tensor<B, 2>, gradient: Tensor<B, 2>, step: Step) -> Tensor<B, 2> {
        // The means began at 0: what they are too small by.
        let updates = i32::try_from(self.updates.max(1)).unwrap_or(i32::MAX);
        let bias = |beta: f32| (1.0 - f64::from(beta).powi(updates)) as f32;
        let (size_bias, rate) = (bias(self.beta_2), step.rate / bias(self.beta_1));
        let kept = 1.0 - step.rate * step.decay;
        if let Some([mean, square]) = self.moments.get_mut(name) {
            let (beta_1, beta_2, epsilon) = (self.beta_1, self.beta_2, self.epsilon);
            let is_changed = change_together(
                [&mut value, mean, square],
                &gradient,
                |[value, mean, square], gradient| {
                    *mean = *mean * beta_1 + gradient * (1.0 - beta_1);
                    *square = *square * beta_2 + gradient * gradient * (1.0 - beta_2);
                    *value = *value * kept - *mean / ((*square / size_bias).sqrt() + epsilon) * rate;
                },
            );
            if is_changed {
                return value;
            }
        }
        let square = gradient.clone() * gradient.clone();
        let [mean, square] = match self.moments.remove(name) {
            None => [gradient * (1.0 - self.beta_1), square * (1.0 - self.beta_2)],
            Some([mean, mean_square]) => [
                mean * self.beta_1 + gradient * (1.0 - self.beta_1),
                mean_square * self.beta_2 + square * (1.0 - self.beta_2),
            ],
        };
        let size = (square.clone() / size_bias).sqrt() + self.epsilon;
        let change = mean.clone() / size * rate;
        self.moments.insert(name.to_owned(), [mean, square]);
        value * kept - change
    }

    fn state(&self) -> Vec<(String, Tensor<B, 2>)> {
        let named = |(name, moments): (&String, &[Tensor<B, 2>; 2])| {
            let name = name.clone();
            let moments = MOMENTS.into_iter().zip(moments.clone());
            moments.map(move |(moment, tensor)| (format!("{name}{moment}"), tensor))
        };
        self.moments.iter().flat_map(named).collect()
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &MOMENTS
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    fn restore(&mut self, state: Vec<(String, Tensor<B, 2>)>, updates: u64) {
        self.updates = updates;
        let mut by_name: BTreeMap<String, Tensor<B, 2>> = state.into_iter().collect();
        let names: Vec<String> = by_name
            .keys()
            .filter_map(|name| name.strip_suffix(MOMENTS[0]).map(str::to_owned))
            .collect();
        for name in names {
            let moments = MOMENTS.map(|moment| by_name.remove(&format!("{name}{moment}")));
            if let [Some(mean), Some(square)] = moments {
                self.moments.insert(name, [mean, square]);
            }
        }
    }
}
