//! LoRA: matrices that are not trained, with a product of two thin ones added that are (arXiv:2106.09685).

use crate::model::{Arrangement, Weights};
use crate::tensor::{AutodiffBackend, Int, Tensor, linear, matrix};
use crate::{Parameters, Random, Result};

/// The names that adapters have beside their matrix, as in llama.cpp's adapter files: `[rank, columns]` and
/// `[rows, rank]`.
pub const NAMES: [&str; 2] = ["lora_a", "lora_b"];

/// What adapters look like.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// The rank of what is added.
    pub rank: usize,
    /// What is added is multiplied with `alpha / rank`.
    pub alpha: f32,
}

impl Lora {
    /// The factor of what is added.
    pub fn scale(&self) -> f32 {
        self.alpha / self.rank.max(1) as f32
    }

    /// Freezes all parameters, and adds an adapter to every matrix in a layer for which `is_adapted` is true. The model is
    /// as before until they are trained: one of the two is 0.
    pub fn add_to<B: AutodiffBackend>(
        &self,
        parameters: &mut Parameters<B>,
        is_adapted: impl Fn(&str) -> bool,
        seed: u64,
        device: &B::Device,
    ) {
        parameters.freeze(|_| true);
        let shapes = parameters
            .iter()
            .map(|(name, parameter)| (name.to_owned(), parameter.value.dims()));
        let adapted = shapes.filter(|(name, [rows, _])| *rows > 1 && name.starts_with("blk.") && is_adapted(name));
        for (name, [rows, cols]) in adapted.collect::<Vec<_>>() {
            let [a, b] = NAMES.map(|part| format!("{name}.{part}"));
            let mut random = Random::of(seed, &a);
            // Kaiming's uniform distribution with a = √5, as the authors' code has it.
            let bound = (cols as f32).sqrt().recip();
            let values = (0..self.rank * cols)
                .map(|_| bound * (2.0 * random.uniform() - 1.0))
                .collect();
            parameters.insert(a, matrix(values, [self.rank, cols], device));
            parameters.insert(b, matrix(vec![0.0; rows * self.rank], [rows, self.rank], device));
        }
    }

    /// What the adapter of a matrix adds to it, if it has one: `scale * B A`.
    pub fn change<B: AutodiffBackend>(&self, parameters: &Parameters<B>, name: &str) -> Option<Tensor<B, 2>> {
        let [a, b] = adapter(parameters, name)?;
        Some(b.matmul(a) * self.scale())
    }

    /// The matrix called `name` with its adapter added: `W + scale * B A`.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`](crate::TrainError::MissingParameter) if there is no such matrix.
    pub fn merged<B: AutodiffBackend>(&self, parameters: &Parameters<B>, name: &str) -> Result<Tensor<B, 2>> {
        let weights = parameters.matrix(name)?;
        Ok(match self.change(parameters, name) {
            Some(change) => weights + change,
            None => weights,
        })
    }
}

fn adapter<B: AutodiffBackend>(parameters: &Parameters<B>, name: &str) -> Option<[Tensor<B, 2>; 2]> {
    let [a, b] = NAMES.map(|part| parameters.get(&format!("{name}.{part}")));
    Some([a?.value.clone(), b?.value.clone()])
}

/// The weights of another arrangement, with adapters.
pub struct Adapted<B: AutodiffBackend> {
    /// What the adapters look like.
    pub lora: Lora,
    /// How the other parameters become weights.
    pub base: Box<dyn Arrangement<B>>,
}

impl<B: AutodiffBackend> Arrangement<B> for Adapted<B> {
    fn weights<'a>(&'a self, parameters: &'a Parameters<B>) -> Box<dyn Weights<B> + 'a> {
        let base = self.base.weights(parameters);
        Box::new(AdaptedWeights {
            base,
            parameters,
            scale: self.lora.scale(),
        })
    }
}

struct AdaptedWeights<'a, B: AutodiffBackend> {
    base: Box<dyn Weights<B> + 'a>,
    parameters: &'a Parameters<B>,
    scale: f32,
}

impl<B: AutodiffBackend> Weights<B> for AdaptedWeights<'_, B> {
    fn linear(&self, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        let precision = self.parameters.precision;
        let base = self.base.linear(name, x.clone())?;
        Ok(match adapter(self.parameters, name) {
            Some([a, b]) => base + linear(linear(x, a, precision), b, precision) * self.scale,
            None => base,
        })
    }

    fn embedding(&self, tokens: Tensor<B, 1, Int>) -> Result<Tensor<B, 2>> {
        self.base.embedding(tokens)
    }

    fn vector(&self, name: &str) -> Option<Tensor<B, 1>> {
        self.base.vector(name)
    }

    fn has(&self, name: &str) -> bool {
        self.base.has(name)
    }
}
