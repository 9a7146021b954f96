//! Weights that are ternary already: bitnet.cpp's I2_S, and the scale that all of a tensor's weights have.

use half::f16;
use halfpi_kernels::format::stock::I2sOrder;

use super::{SourceTensor, Transform, Weights, dequantize};
use crate::gguf::{GgmlType, Gguf, TensorInfo};
use crate::model::{ModelError, is_scale, scale_beside, scale_within, stock};

/// A tensor of a GGUF as rows of blocks, with the scale that may be beside it.
///
/// # Errors
/// [`ModelError`](crate::model::ModelError) for a scale that is none, and
/// [`PackError`](super::super::PackError).
pub(super) fn blocks<'a>(gguf: &Gguf<'a>, tensor: &TensorInfo<'a>, order: I2sOrder) -> crate::Result<SourceTensor<'a>> {
    let data = gguf.data(tensor);
    let weights = if tensor.ty == GgmlType::I2_S {
        Weights::I2s { order, data }
    } else {
        Weights::Blocks {
            ty: tensor.ty,
            data: data.into(),
        }
    };
    let source = SourceTensor {
        factor: scale_beside(gguf, tensor.name)?.map(|(_, factor)| factor),
        ..SourceTensor::new(tensor.name, tensor.dims(), weights)?
    };
    if let Some(stock) = stock(tensor.ty, order).filter(|stock| stock.is_ternary()) {
        let layout = stock.matrix(source.rows, source.cols).layout();
        layout.map_err(|error| source.format_error(error))?;
    }
    if let Some(value) = scale_within(tensor.ty, data).filter(|&scale| !is_scale(scale)) {
        let name = source.name;
        return Err(ModelError::Scale { name, value }.into());
    }
    Ok(source)
}

/// Writes row `row` of an I2_S tensor as floats.
///
/// A block is four runs of columns; byte `i` has column `i` of the first in its highest bits. Codes 0, 1 and 2 stand for
/// minus the scale, 0 and the scale.
pub(super) fn read_i2s_row(order: I2sOrder, data: &[u8], row: usize, out: &mut [f32]) {
    let run = match order {
        I2sOrder::X86 => 32,
        I2sOrder::Arm => 16,
    };
    let scale = scale_within(GgmlType::I2_S, data).unwrap_or_default();
    let row = data.get(row * out.len() / 4..).unwrap_or_default();
    for (block, out) in row.chunks_exact(run).zip(out.chunks_exact_mut(4 * run)) {
        for (i, out) in out.iter_mut().enumerate() {
            let code = block[i % run] >> (6 - 2 * (i / run)) & 3;
            *out = (f32::from(code) - 1.0) * scale;
        }
    }
}

/// Writes row `row` of -1, 0 and 1 that lie as transformers packs them: [`super::huggingface`]'s `bitlinear` has the order.
pub(super) fn read_quarters_row(data: &[u8], rows: usize, row: usize, out: &mut [f32]) {
    let quarter = rows.div_ceil(4);
    let bytes = data.get(row % quarter * out.len()..).unwrap_or_default();
    let shift = 2 * (row / quarter);
    for (out, byte) in out.iter_mut().zip(bytes) {
        *out = f32::from(byte >> shift & 3) - 1.0;
    }
}

impl SourceTensor<'_> {
    /// Whether the blocks are of a ternary type.
    pub(in super::super) fn is_ternary(&self) -> bool {
        match &self.weights {
            Weights::I2s { .. } => true,
            Weights::Blocks { ty, .. } => matches!(ty, GgmlType::TQ1_0 | GgmlType::TQ2_0),
            _ => false,
        }
    }

    /// The scale of all weights, where the source has ternary ones with one scale: then packing needs no other.
    pub(in super::super) fn ternary_scale(&self) -> Option<f32> {
        if let Transform::Ternary { scale } = self.transform {
            return Some(scale);
        }
        let factor = self.factor.unwrap_or(1.0);
        match &self.weights {
            Weights::TernaryBytes { .. } => Some(factor),
            Weights::I2s { data, .. } => Some(scale_within(GgmlType::I2_S, data)? * factor),
            Weights::Blocks { ty, data } if self.is_ternary() => {
                let blocks = data.chunks_exact(ty.block_bytes() as usize);
                let mut scales = blocks
                    .filter_map(|block| block.last_chunk())
                    .map(|&scale| f16::from_le_bytes(scale));
                // Blocks of zeros have none.
                let first = scales.find(|scale| *scale != f16::ZERO)?;
                let same = scales.all(|scale| scale == first || scale == f16::ZERO);
                same.then(|| first.to_f32() * factor)
            }
            Weights::Blocks { ty, data } if self.factor.is_some() => {
                let mut row = vec![0.0; self.cols];
                let signs = data.chunks_exact(data.len() / self.rows).all(|bytes| {
                    dequantize::row(*ty, bytes, &mut row);
                    row.iter().all(|&weight| weight == 0.0 || weight.abs() == 1.0)
                });
                signs.then_some(factor)
            }
            _ => None,
        }
    }
}
