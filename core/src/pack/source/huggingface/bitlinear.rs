//! Ternary weights as transformers saves them: four to a byte, with their scale beside them, as in
//! `microsoft/bitnet-b1.58-2B-4T`.
//!
//! Byte `[i][col]` of a matrix of 4n rows has the weights of rows i, n + i, 2n + i and 3n + i in that column, the first in
//! its lowest bits: 0, 1 and 2 for -1, 0 and 1 (transformers' `integrations/bitnet.py`, `pack_weights` and
//! `unpack_weights`; Apache-2.0). What `NAME.weight_scale` does is `quantization_config.linear_class`: the output of
//! `autobitlinear` is multiplied with it, that of `bitlinear` divided by it.

use serde::Deserialize;

use super::super::{SourceTensor, Transform, Weights, dequantize};
use super::PackError;
use super::tensors::Import;

/// Of `config.json`.
#[derive(Deserialize)]
pub(super) struct RawQuantization {
    quant_method: Option<String>,
    linear_class: Option<String>,
}

/// What a layer's output becomes with the scale that is beside its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BitLinear {
    Multiplied,
    Divided,
}

impl BitLinear {
    /// What `quantization_config` says: nothing where the weights are no BitNet's, or the class is not known.
    pub(super) fn new(raw: Option<&RawQuantization>) -> Option<Self> {
        let raw = raw.filter(|raw| raw.quant_method.as_deref() == Some("bitnet"))?;
        match raw.linear_class.as_deref() {
            Some("autobitlinear") => Some(BitLinear::Multiplied),
            // What transformers takes where nothing is said.
            Some("bitlinear") | None => Some(BitLinear::Divided),
            Some(_) => None,
        }
    }
}

impl Import<'_, '_> {
    /// Adds a linear layer of packed ternary weights; `shape` is that of the layer.
    ///
    /// # Errors
    /// [`PackError`] for a shape, a code or a scale that is none, and where `config.json` does not say what the scale is.
    pub(super) fn add_ternary(
        &mut self,
        to: &str,
        from: &str,
        shape: [usize; 2],
        transform: Transform,
    ) -> Result<(), PackError> {
        let [rows, cols] = shape;
        let damaged = |problem| PackError::BitLinear {
            name: from.to_owned(),
            problem,
        };
        let bit_linear = self.model.bit_linear;
        let bit_linear = bit_linear.ok_or_else(|| {
            damaged("is packed as BitNet's, and quantization_config in config.json is not one that is known here")
        })?;
        let data = self.take_bytes(from, &[rows.div_ceil(4), cols])?;
        // Of two bits, both.
        if data.iter().any(|byte| byte & byte >> 1 & 0x55 != 0) {
            return Err(damaged("has a code that is none of -1, 0 and 1"));
        }
        self.shards.release(data);

        let scale = self.take(&format!("{from}_scale"), &[1])?;
        let mut factor = [0.0];
        dequantize::row(scale.ty, scale.data, &mut factor);
        let factor = match bit_linear {
            BitLinear::Multiplied => factor[0],
            BitLinear::Divided => 1.0 / factor[0],
        };
        if !(factor.is_normal() && factor > 0.0) {
            return Err(damaged("has a weight_scale that is no positive number"));
        }
        let dims = [cols as u64, rows as u64];
        let tensor = SourceTensor {
            transform,
            factor: Some(factor),
            ..SourceTensor::new(to, &dims, Weights::TernaryBytes { data })?
        };
        self.tensors.push(tensor);
        Ok(())
    }
}
