//! Weights as they are.

use std::collections::BTreeMap;

use super::Weights;
use super::complex::product;
use crate::tensor::{AutodiffBackend, Backend, Int, Precision, Tensor};
use crate::{Parameters, Result, TrainError};

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

/// Matrices by their names in GGUF.
pub trait Named<B: Backend> {
    /// The one called `name`, `[rows, columns]`; a vector is `[1, length]`.
    fn get(&self, name: &str) -> Option<Tensor<B, 2>>;

    /// What products with them are computed in.
    fn precision(&self) -> Precision {
        Precision::F32
    }
}

impl<B: AutodiffBackend> Named<B> for &Parameters<B> {
    fn get(&self, name: &str) -> Option<Tensor<B, 2>> {
        Some(Parameters::get(self, name)?.value.clone())
    }

    fn precision(&self) -> Precision {
        self.precision
    }
}

impl<B: Backend> Named<B> for BTreeMap<String, Tensor<B, 2>> {
    fn get(&self, name: &str) -> Option<Tensor<B, 2>> {
        BTreeMap::get(self, name).cloned()
    }
}

/// Weights that are multiplied with as they are.
#[derive(Clone, Debug)]
pub struct PlainWeights<M>(pub M);

impl<M> PlainWeights<M> {
    fn matrix<B: Backend>(&self, name: &str) -> Result<Tensor<B, 2>>
    where
        M: Named<B>,
    {
        let missing = || TrainError::MissingParameter { name: name.to_owned() };
        self.0.get(name).ok_or_else(missing)
    }
}

impl<B: Backend, M: Named<B>> Weights<B> for PlainWeights<M> {
    fn linear(&self, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        Ok(product(x, self.matrix(name)?, self.0.precision()))
    }

    fn embedding(&self, tokens: Tensor<B, 1, Int>) -> Result<Tensor<B, 2>> {
        Ok(self.matrix("token_embd.weight")?.select(0, tokens))
    }

    fn vector(&self, name: &str) -> Option<Tensor<B, 1>> {
        Some(self.0.get(name)?.flatten(0, 1))
    }

    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }
}
