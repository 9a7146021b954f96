//! Complex tensors of a checkpoint, whose real and imaginary parts are tensors of their own.

use super::super::quantize::{PhaseScales, quantized};
use super::dequantize;
use crate::gguf::GgmlType;

/// The parts, read as one tensor.
pub(in super::super) struct ComplexWeights<'a> {
    ty: GgmlType,
    /// Real and imaginary parts, row by row.
    parts: [&'a [u8]; 2],
    rows: usize,
    cols: usize,
    join: Join,
}

/// How the parts become one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Join {
    /// Each row has its real parts, then its imaginary ones: embeddings, and vectors, which are one row.
    Columns,
    /// All rows of real parts, then all rows of imaginary ones, of weights that training had as powers of i: rounded so
    /// again, with these scales for real and imaginary ones.
    Phases([f32; 2]),
}

impl<'a> ComplexWeights<'a> {
    /// Parts of `rows` x `cols` numbers each, with rows that stay rows.
    pub(super) fn columns(ty: GgmlType, parts: [&'a [u8]; 2], rows: usize, cols: usize) -> Self {
        Self {
            ty,
            parts,
            rows,
            cols,
            join: Join::Columns,
        }
    }

    /// Parts of the weights of a linear layer: PhaseQuant (iFairy, arXiv:2508.05571), with the scales that the training
    /// code computes for the whole matrix.
    pub(super) fn phases(ty: GgmlType, parts: [&'a [u8]; 2], rows: usize, cols: usize) -> Self {
        let mut weights = Self::columns(ty, parts, rows, cols);
        let (mut re, mut im) = (vec![0.0; cols], vec![0.0; cols]);
        let mut scales = PhaseScales::default();
        for row in 0..rows {
            weights.read_parts(row, &mut re, &mut im);
            re.iter().zip(&im).for_each(|(&re, &im)| scales.add(re, im));
        }
        // The training code's lower bound.
        weights.join = Join::Phases(scales.means().map(|scale| scale.max(1e-5)));
        weights
    }

    pub(in super::super) fn ty(&self) -> GgmlType {
        self.ty
    }

    pub(super) fn parts(&self) -> &[&'a [u8]] {
        &self.parts
    }

    fn read_parts(&self, row: usize, re: &mut [f32], im: &mut [f32]) {
        for (part, out) in self.parts.iter().zip([re, im]) {
            // Exactly as long as the shape says: that was checked when the file was opened.
            let row_bytes = part.len() / self.rows.max(1);
            dequantize::row(self.ty, part.get(row * row_bytes..).unwrap_or_default(), out);
        }
    }

    /// Writes row `row` of the joined tensor.
    pub(super) fn read_row(&self, row: usize, out: &mut [f32]) {
        match self.join {
            Join::Columns => {
                let (re, im) = out.split_at_mut(self.cols);
                self.read_parts(row, re, im);
            }
            Join::Phases(scales) => {
                let mut other = vec![0.0; self.cols];
                let is_im = row >= self.rows;
                let row = row % self.rows.max(1);
                if is_im {
                    self.read_parts(row, &mut other, out);
                    for (out, &re) in out.iter_mut().zip(&other) {
                        *out = quantized(re, *out, scales)[1];
                    }
                } else {
                    self.read_parts(row, out, &mut other);
                    for (out, &im) in out.iter_mut().zip(&other) {
                        *out = quantized(*out, im, scales)[0];
                    }
                }
            }
        }
    }
}
