//! A GGUF file as a source.

use std::borrow::Cow;

use super::super::PackError;
use super::{SourceTensor, Weights, packed_tensor};
use crate::Result;
use crate::gguf::{GgmlType, Gguf, Writer};
use crate::transformer::Architecture;

/// Keys that describe how the source was stored.
const DROPPED: [&str; 3] = ["general.file_type", "halfpi.layout_version", "halfpi.format"];

/// Copies the metadata as it is, but for what is about to change.
pub(super) fn set_metadata(gguf: &Gguf<'_>, writer: &mut Writer) -> Result<()> {
    writer.copy_metadata(gguf, |key| !DROPPED.contains(&key))?;
    if gguf.get("general.quantization_version").is_none() {
        writer.set("general.quantization_version", 2u32)?;
    }
    Ok(())
}

pub(super) fn tensors<'a>(gguf: &Gguf<'a>) -> Result<Vec<SourceTensor<'a>>> {
    let architecture = gguf.opt_str("general.architecture")?.and_then(Architecture::from_name);
    let is_complex = architecture.is_some_and(Architecture::is_complex);
    let tensors = gguf.tensors().iter().map(|tensor| {
        let data = gguf.data(tensor);
        if tensor.ty == GgmlType::I8 && data.starts_with(b"HPIP") {
            return Ok(mark(packed_tensor(tensor.name, data)?, is_complex));
        }
        let weights = Weights::Blocks {
            ty: tensor.ty,
            data: Cow::Borrowed(data),
        };
        Ok(mark(
            SourceTensor::new(tensor.name, tensor.dims(), weights)?,
            is_complex,
        ))
    });
    Ok(tensors.collect::<Result<_, PackError>>()?)
}

/// Marks the complex matrices of a complex model.
fn mark(tensor: SourceTensor<'_>, is_complex: bool) -> SourceTensor<'_> {
    let in_block = tensor.dims.len() == 2 && tensor.name.starts_with("blk.");
    SourceTensor {
        is_complex: is_complex && in_block && tensor.rows.is_multiple_of(2),
        ..tensor
    }
}
