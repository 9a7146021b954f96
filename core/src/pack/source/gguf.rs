//! A GGUF file as a source.

use halfpi_kernels::format::stock::I2sOrder;

use super::{SourceTensor, packed_tensor, ternary};
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

pub(super) fn tensors<'a>(gguf: &Gguf<'a>, order: I2sOrder) -> Result<Vec<SourceTensor<'a>>> {
    let architecture = gguf.opt_str("general.architecture")?.and_then(Architecture::from_name);
    let is_complex = architecture.is_some_and(Architecture::is_complex);
    let tensors = gguf.tensors().iter().filter(|tensor| !is_scale(gguf, tensor.name));
    let tensors = tensors.map(|tensor| {
        let data = gguf.data(tensor);
        if tensor.ty == GgmlType::I8 && data.starts_with(b"HPIP") {
            return Ok(mark(packed_tensor(tensor.name, data)?, is_complex));
        }
        Ok(mark(ternary::blocks(gguf, tensor, order)?, is_complex))
    });
    tensors.collect()
}

/// Whether a tensor is the scale of another, which takes it over.
fn is_scale(gguf: &Gguf<'_>, name: &str) -> bool {
    let weight = name.strip_suffix(".scale").map(|stem| format!("{stem}.weight"));
    weight.is_some_and(|weight| gguf.tensor(&weight).is_some_and(|tensor| tensor.ty != GgmlType::I8))
}

/// Marks the complex matrices of a complex model.
fn mark(tensor: SourceTensor<'_>, is_complex: bool) -> SourceTensor<'_> {
    let in_block = tensor.dims.len() == 2 && tensor.name.starts_with("blk.");
    SourceTensor {
        is_complex: is_complex && in_block && tensor.rows.is_multiple_of(2),
        ..tensor
    }
}
