//! What training leaves: packed files for the engine, checkpoints for further training, codes for whoever wants them.
//!
//! All of it is written from [`Weights`]: the values that the forward pass multiplies with, one tensor at a time. So a
//! [`Source`] can be written too, which converts a GGUF into a directory of the hub. Every file appears when it is
//! complete; until then the old one stays.

mod codes;
mod error;
mod hub;
mod packed;
mod tensor_file;

#[cfg(test)]
mod tests;

pub use codes::{CodesFile, write_codes};
pub use error::OutputError;
pub use hub::write_hub;
pub use packed::pack;
pub(crate) use packed::{Temporary, repack};

use halfpi::pack::{Source, TensorShape};

use crate::tensor::{AutodiffBackend, values};
use crate::{Parameters, Result};

/// The weights of a model, in GGUF's conventions.
pub trait Weights {
    /// All tensors, in the order in which they are written.
    ///
    /// # Errors
    /// What keeps them from being listed.
    fn shapes(&self) -> Result<Vec<TensorShape>>;

    /// The values of one of them, row after row: of a quantized one, what it stands for.
    ///
    /// # Errors
    /// What keeps it from being read.
    fn read(&self, tensor: &TensorShape) -> Result<Vec<f32>>;
}

impl Weights for Source {
    fn shapes(&self) -> Result<Vec<TensorShape>> {
        Ok(Source::shapes(self)?)
    }

    fn read(&self, tensor: &TensorShape) -> Result<Vec<f32>> {
        Ok(Source::read(self, &tensor.name)?)
    }
}

/// The tensors of a model among parameters, as they are: those of quantized layers must be the quantized ones.
impl<B: AutodiffBackend> Weights for Parameters<B> {
    fn shapes(&self) -> Result<Vec<TensorShape>> {
        // What training adds to a tensor has another end.
        let of_model = self
            .iter()
            .filter(|(name, _)| [".weight", ".bias"].iter().any(|end| name.ends_with(end)));
        Ok(of_model
            .map(|(name, parameter)| shape(name, parameter.value.dims()))
            .collect())
    }

    fn read(&self, tensor: &TensorShape) -> Result<Vec<f32>> {
        Ok(values(self.matrix(&tensor.name)?))
    }
}

/// Weights in memory.
impl Weights for [(TensorShape, Vec<f32>)] {
    fn shapes(&self) -> Result<Vec<TensorShape>> {
        Ok(self.iter().map(|(shape, _)| shape.clone()).collect())
    }

    fn read(&self, tensor: &TensorShape) -> Result<Vec<f32>> {
        let found = self.iter().find(|(shape, _)| shape == tensor);
        let missing = || crate::TrainError::MissingParameter {
            name: tensor.name.clone(),
        };
        Ok(found.ok_or_else(missing)?.1.clone())
    }
}

/// The shape of a parameter: norms and biases, which are one row, are vectors in a file.
pub fn shape(name: &str, [rows, cols]: [usize; 2]) -> TensorShape {
    let vectors = ["norm.weight", ".bias", "rope_freqs.weight"];
    if rows == 1 && vectors.iter().any(|end| name.ends_with(end)) {
        TensorShape::vector(name, cols)
    } else {
        TensorShape::matrix(name, rows, cols)
    }
}
