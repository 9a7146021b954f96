//! Weights as they are.

use super::Weights;
use super::complex::product;
use crate::tensor::{AutodiffBackend, Int, Tensor};
use crate::{Parameters, Result};

/// How a forward pass gets its weights from the parameters.
pub trait Arrangement<B: AutodiffBackend> {
    /// The weights for one forward pass.
    fn weights<'a>(&'a self, parameters: &'a Parameters<B>) -> Box<dyn Weights<B> + 'a>;
}

/// The parameters are the weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl<B: AutodiffBackend> Arrangement<B> for Plain {
    fn weights<'a>(&'a self, parameters: &'a Parameters<B>) -> Box<dyn Weights<B> + 'a> {
        Box::new(PlainWeights(parameters))
    }
}

struct PlainWeights<'a, B: AutodiffBackend>(&'a Parameters<B>);

impl<B: AutodiffBackend> Weights<B> for PlainWeights<'_, B> {
    fn linear(&self, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        Ok(product(x, self.0.matrix(name)?))
    }

    fn embedding(&self, tokens: Tensor<B, 1, Int>) -> Result<Tensor<B, 2>> {
        Ok(self.0.matrix("token_embd.weight")?.select(0, tokens))
    }

    fn vector(&self, name: &str) -> Option<Tensor<B, 1>> {
        self.0.vector(name).ok()
    }

    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }
}
