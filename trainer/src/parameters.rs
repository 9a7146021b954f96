//! The tensors that are trained, by the names that they have in a GGUF file.

use std::collections::BTreeMap;

use crate::tensor::{AutodiffBackend, Backend, Precision, Tensor, constant};
use crate::{Result, TrainError};

/// Gradients by the names of their parameters.
pub type Gradients<B> = BTreeMap<String, Tensor<<B as crate::tensor::Backend>::Inner, 2>>;

/// A tensor that is trained, or kept as it is.
#[derive(Clone, Debug)]
pub struct Parameter<B: AutodiffBackend> {
    /// Its values: a matrix as `[rows, columns]`, a vector as `[1, length]`, the kernel of a convolution as
    /// `[channels out, channels in * height * width]`.
    pub value: Tensor<B, 2>,
    /// Whether it is trained.
    pub is_trained: bool,
    /// Whether weight decay applies to it: to matrices, not to norms, biases and scales.
    pub decays: bool,
}

/// All tensors of a model, by the names that they have in a GGUF file; what training adds to a tensor (a learned scale)
/// has the tensor's name, a dot and its own.
#[derive(Clone, Debug)]
pub struct Parameters<B: AutodiffBackend> {
    /// What products with the matrices are computed in. They are of 32 bits whatever it is.
    pub precision: Precision,
    by_name: BTreeMap<String, Parameter<B>>,
}

impl<B: AutodiffBackend> Default for Parameters<B> {
    fn default() -> Self {
        Self {
            precision: Precision::F32,
            by_name: BTreeMap::new(),
        }
    }
}

impl<B: AutodiffBackend> Parameters<B> {
    /// Adds a tensor that is trained, or takes the place of the one with this name. Matrices of more than one row decay.
    pub fn insert(&mut self, name: impl Into<String>, value: Tensor<B, 2>) {
        let decays = value.dims()[0] > 1;
        let parameter = Parameter {
            value: value.detach().require_grad(),
            is_trained: true,
            decays,
        };
        self.by_name.insert(name.into(), parameter);
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Parameter<B>> {
        self.by_name.remove(name)
    }

    /// Keeps the tensors for which `is_frozen` is true as they are.
    pub fn freeze(&mut self, is_frozen: impl Fn(&str) -> bool) {
        for (_, parameter) in self.by_name.iter_mut().filter(|(name, _)| is_frozen(name)) {
            parameter.is_trained = false;
            parameter.value = constant(parameter.value.clone());
        }
    }

    /// The same values, of which nothing is trained: what is computed from them keeps nothing for a backward pass.
    pub fn frozen(&self) -> Self {
        let mut frozen = self.clone();
        frozen.freeze(|_| true);
        frozen
    }

    /// The same values for one way back. Where a trained tensor begins a second one, the engine has forgotten it after the
    /// first, and what another thread cleans up may be what was just computed from it (burn-autodiff 0.21).
    pub(crate) fn leaves(&self) -> Self {
        let mut leaves = self.clone();
        for parameter in leaves.by_name.values_mut() {
            parameter.value = parameter.value.clone().detach();
        }
        leaves
    }

    /// The matrix with this name, `[rows, columns]`.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`].
    pub fn matrix(&self, name: &str) -> Result<Tensor<B, 2>> {
        let missing = || TrainError::MissingParameter { name: name.to_owned() };
        self.by_name
            .get(name)
            .map(|parameter| parameter.value.clone())
            .ok_or_else(missing)
    }

    /// The vector with this name.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`].
    pub fn vector(&self, name: &str) -> Result<Tensor<B, 1>> {
        Ok(self.matrix(name)?.flatten(0, 1))
    }

    /// The parameter with this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&Parameter<B>> {
        self.by_name.get(name)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter<B>)> {
        self.by_name.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// Rows and columns of all of them.
    pub fn shapes(&self) -> BTreeMap<&str, [usize; 2]> {
        self.iter()
            .map(|(name, parameter)| (name, parameter.value.dims()))
            .collect()
    }

    /// Changes the values of a trained parameter: what an optimizer does.
    pub fn update(
        &mut self,
        name: &str,
        change: impl FnOnce(Tensor<B::InnerBackend, 2>) -> Tensor<B::InnerBackend, 2>,
    ) -> Result<()> {
        let missing = || TrainError::MissingParameter { name: name.to_owned() };
        // Nobody else has the value then, so that it can be changed where it lies.
        let (name, parameter) = self.by_name.remove_entry(name).ok_or_else(missing)?;
        let mut value = Tensor::from_inner(change(parameter.value.inner()));
        if parameter.is_trained {
            value = value.require_grad();
        }
        self.by_name.insert(name, Parameter { value, ..parameter });
        Ok(())
    }

    /// Takes the gradients of trained parameters out of what a backward pass computed. Those that the loss does not
    /// depend on have none.
    pub fn gradients(&self, all: &mut B::Gradients) -> Gradients<B> {
        let trained = self.by_name.iter().filter(|(_, parameter)| parameter.is_trained);
        trained
            .filter_map(|(name, parameter)| Some((name.clone(), parameter.value.grad_remove(all)?)))
            .collect()
    }
}

/// Adds gradients to others.
pub(crate) fn add<B: Backend>(sums: &mut BTreeMap<String, Tensor<B, 2>>, more: BTreeMap<String, Tensor<B, 2>>) {
    for (name, gradient) in more {
        let sum = match sums.remove(&name) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        sums.insert(name, sum);
    }
}
