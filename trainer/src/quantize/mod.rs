//! Quantization-aware training: forward passes use weights exactly as they will be packed, and gradients reach the float
//! weights behind them.
//!
//! [`Quantized`] gives the transformer quantized weights, a [`Scheme`] says which matrix is quantized by which
//! [`Method`], and [`convert`] prepares a model, from a checkpoint or from nothing, in one call. What
//! [`Quantized::effective`] returns is every weight's level times its scale as the packed format stores both, so
//! `halfpi pack` finds the same codes and scales in it and loses nothing: that is what is to be exported.

mod activations;
mod codebook;
mod complex;
mod convert;
mod convolution;
mod dampening;
mod integers;
mod learned;
mod magnitude;
mod method;
mod phase_pair;
mod scale;
mod scheme;
mod ternary;
#[cfg(test)]
mod testing;

use halfpi::pack::Format;

pub use self::activations::Activations;
use self::codebook::Codebook;
pub use self::convert::{convert, match_deviation};
pub use self::convolution::Convolution;
pub use self::dampening::Dampened;
use self::learned::Levels;
pub use self::method::{Method, Rule};
pub use self::scheme::Scheme;
use crate::model::complex::product;
use crate::model::{Arrangement, Weights};
use crate::tensor::{AutodiffBackend, Backend, Int, Tensor};
use crate::{Parameters, Result, TrainError};

/// Weights of a forward pass, quantized.
#[derive(Clone, Copy, Debug)]
pub struct Quantized<'a, B: AutodiffBackend> {
    /// What is trained.
    pub parameters: &'a Parameters<B>,
    /// How it becomes weights.
    pub scheme: &'a Scheme,
}

impl<B: AutodiffBackend> Quantized<'_, B> {
    /// The matrix that the forward pass multiplies with in the place of the one called `name`, and that is to be exported.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`] and [`TrainError::Format`]. (Neither happens for what was [`convert`]ed.)
    pub fn effective(&self, name: &str) -> Result<Tensor<B, 2>> {
        let weight = self.parameters.matrix(name)?;
        match self.scheme.method(name, weight.dims()) {
            None => Ok(weight),
            Some(method) => {
                let added = method
                    .added()
                    .map(|added| self.parameters.matrix(&format!("{name}.{added}")));
                method.quantize(name, weight, added.transpose()?)
            }
        }
    }

    fn activations(&self, name: &str) -> Result<Activations> {
        let shape = self.parameters.matrix(name)?.dims();
        Ok(self
            .scheme
            .method(name, shape)
            .map_or(Activations::Floats, |method| method.activations))
    }
}

impl<B: AutodiffBackend> Weights<B> for Quantized<'_, B> {
    fn linear(&self, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        let x = self.activations(name)?.quantize(x);
        Ok(product(x, self.effective(name)?, self.parameters.precision))
    }

    fn embedding(&self, tokens: Tensor<B, 1, Int>) -> Result<Tensor<B, 2>> {
        Ok(self.effective("token_embd.weight")?.select(0, tokens))
    }

    fn vector(&self, name: &str) -> Option<Tensor<B, 1>> {
        self.parameters.vector(name).ok()
    }

    fn has(&self, name: &str) -> bool {
        self.parameters.get(name).is_some()
    }
}

impl<B: AutodiffBackend> Arrangement<B> for Scheme {
    fn weights<'a>(&'a self, parameters: &'a Parameters<B>) -> Box<dyn Weights<B> + 'a> {
        let scheme = self;
        Box::new(Quantized { parameters, scheme })
    }
}

impl Method {
    /// The matrix of shape `[rows, cols]` as it will be packed, with gradients for `weight` and for what the method
    /// [`adds`](Self::added) to it.
    ///
    /// # Errors
    /// [`TrainError::Format`] if no matrix of this shape is packed so, and [`TrainError::MissingParameter`] without what
    /// the method adds.
    pub fn quantize<B: Backend>(
        &self,
        name: &str,
        weight: Tensor<B, 2>,
        added: Option<Tensor<B, 2>>,
    ) -> Result<Tensor<B, 2>> {
        let scales = self.check(name, weight.dims())?;
        let added = || {
            let missing = || TrainError::MissingParameter {
                name: format!("{name}.{}", self.added().unwrap_or_default()),
            };
            added.ok_or_else(missing)
        };
        Ok(match (self.rule, self.format) {
            (Rule::AbsMean { .. }, Format::PhaseComplex) => complex::quantize(weight),
            (Rule::AbsMean { threshold }, _) => ternary::abs_mean(weight, scales, threshold),
            (Rule::Learned, _) => self.learned().quantize(weight, added()?),
            (Rule::LeastSquares, Format::PhaseT1) => phase_pair::quantize(weight, scales, 1),
            (Rule::LeastSquares, Format::PhaseT2) => phase_pair::quantize(weight, scales, 2),
            (Rule::LeastSquares, _) => match self.levels() {
                Some(levels) => Codebook::new(levels, scales, self.cluster, self.is_clipped).quantize(weight),
                None => weight,
            },
            (Rule::Largest, Format::PhaseMagnitude) => magnitude::free(weight, scales),
            (Rule::Largest, format) => match integers::range(format) {
                Some(range) => integers::largest(weight, scales, range),
                None => weight,
            },
            (Rule::FixedPhase, _) => magnitude::fixed(weight, added()?, scales),
        })
    }

    /// The levels of learned scales.
    fn learned(&self) -> Levels {
        if self.format == Format::Halfpi2 {
            Levels::Odd
        } else {
            Levels::Ternary
        }
    }
}
