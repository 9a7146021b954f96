//! What ggml's types are to the kernels.

use super::ModelError;
use crate::gguf::{GgmlType, Gguf};
use halfpi_kernels::format::Float;
use halfpi_kernels::format::stock::{I2sOrder, Stock};

/// The block type that packs without loss, if a type is one.
pub(crate) fn stock(ty: GgmlType, order: I2sOrder) -> Option<Stock> {
    Some(match ty {
        GgmlType::Q8_0 => Stock::Q8_0,
        GgmlType::Q4_0 => Stock::Q4_0,
        GgmlType::Q4_1 => Stock::Q4_1,
        GgmlType::IQ4_NL => Stock::Iq4Nl,
        GgmlType::TQ1_0 => Stock::Tq1_0,
        GgmlType::TQ2_0 => Stock::Tq2_0,
        GgmlType::I2_S => Stock::I2S(order),
        _ => return None,
    })
}

pub(super) fn float_type(ty: GgmlType) -> Option<Float> {
    match ty {
        GgmlType::F32 => Some(Float::F32),
        GgmlType::F16 => Some(Float::F16),
        GgmlType::BF16 => Some(Float::Bf16),
        _ => None,
    }
}

/// Whether a number can be the scale of a whole tensor. (That of a group may be 0: all of its weights are then.)
pub(crate) fn is_scale(scale: f32) -> bool {
    scale.is_finite() && scale != 0.0
}

/// The scale of a whole tensor that is behind its codes, if its type has one there.
pub(crate) fn scale_within(ty: GgmlType, data: &[u8]) -> Option<f32> {
    let at = data.len().checked_sub(usize::try_from(ty.trailer_bytes()).ok()?)?;
    data[at..].first_chunk().map(|&scale| f32::from_le_bytes(scale))
}

/// The scale of a matrix that is a tensor of its own, as llama.cpp has it for ternary weights: its name and value.
pub(crate) fn scale_beside<'a>(gguf: &Gguf<'a>, name: &str) -> Result<Option<(&'a str, f32)>, ModelError> {
    let scale = name.strip_suffix(".weight").map(|stem| format!("{stem}.scale"));
    let Some(tensor) = scale.and_then(|name| gguf.tensor(&name)) else {
        return Ok(None);
    };
    let name = || tensor.name.to_owned();
    let float = float_type(tensor.ty).ok_or_else(|| ModelError::Type {
        name: name(),
        ty: tensor.ty,
    })?;
    if tensor.dims() != [1] {
        return Err(ModelError::Shape {
            name: name(),
            expected: vec![1],
            found: tensor.dims().to_vec(),
        });
    }
    match float.iter(gguf.data(tensor)).next() {
        Some(value) if is_scale(value) => Ok(Some((tensor.name, value))),
        value => Err(ModelError::Scale {
            name: name(),
            value: value.unwrap_or(f32::NAN),
        }),
    }
}
