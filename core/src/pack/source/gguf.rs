//! A GGUF file as a source.

use std::borrow::Cow;

use super::{SourceTensor, Weights, packed_tensor};
use crate::Result;
use crate::gguf::{GgmlType, Gguf, Writer};

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
    let tensors = gguf.tensors().iter().map(|tensor| {
        let data = gguf.data(tensor);
        if tensor.ty == GgmlType::I8 && data.starts_with(b"HPIP") {
            return packed_tensor(tensor.name, data);
        }
        let weights = Weights::Blocks {
            ty: tensor.ty,
            data: Cow::Borrowed(data),
        };
        SourceTensor::new(tensor.name, tensor.dims(), weights)
    });
    Ok(tensors.collect::<Result<_, _>>()?)
}
