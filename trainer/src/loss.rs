//! Losses of logits, summed over positions.

pub use crate::tensor::cross_entropy;
