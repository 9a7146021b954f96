//! What was written, read back: for the survey, and to see that nothing was changed.

use std::ops::Range;

use halfpi_kernels::format::{Dense, Float, Layout, Matrix, Packed, ScaleGroup};

use super::quantize::phase_complex_layout;
use super::source::SourceTensor;
use super::survey::Surveyor;
use super::{Options, PackError, Survey};
use crate::gguf::GgmlType;

/// Looks at the rows of a tensor as they are stored.
pub(super) struct Observer<'t> {
    tensor: &'t SourceTensor<'t>,
    must_be_exact: bool,
    surveyor: Option<Surveyor<'t>>,
}

impl<'t> Observer<'t> {
    pub(super) fn new(tensor: &'t SourceTensor<'t>, options: &Options) -> Self {
        let is_surveyed = options.survey && tensor.dims.len() > 1;
        Self {
            tensor,
            must_be_exact: options.must_be_exact,
            surveyor: is_surveyed.then(|| Surveyor::new(tensor, options.threads)),
        }
    }

    pub(super) fn finish(self, scales: ScaleGroup) -> Option<Survey> {
        self.surveyor.map(|surveyor| surveyor.finish(scales))
    }

    fn is_idle(&self) -> bool {
        !self.must_be_exact && self.surveyor.is_none()
    }

    /// Rows as they are stored.
    ///
    /// # Errors
    /// [`PackError::Changed`] if they must not be other than the source's, and are.
    pub(super) fn see(&mut self, rows: Range<usize>, stored: Matrix<'_>) -> Result<(), PackError> {
        if self.must_be_exact {
            self.check(rows.clone(), stored)?;
        }
        if let Some(surveyor) = &mut self.surveyor {
            surveyor.add(rows, stored);
        }
        Ok(())
    }

    fn check(&self, rows: Range<usize>, stored: Matrix<'_>) -> Result<(), PackError> {
        let tensor = self.tensor;
        let (mut weights, mut found) = (vec![0.0; tensor.cols], vec![0.0; stored.cols()]);
        for row in rows.clone() {
            tensor.read_row(row, &mut weights);
            stored
                .dequantize_row(row - rows.start, &mut found)
                .map_err(|source| tensor.format_error(source))?;
            // The real form of a complex row is longer: its other half is another row.
            let pairs = weights.iter().zip(&found);
            if let Some((column, (&weight, &stored))) = pairs.enumerate().find(|(_, (weight, stored))| weight != stored)
            {
                return Err(PackError::Changed {
                    name: tensor.name.clone(),
                    row,
                    column,
                    weight,
                    stored,
                });
            }
        }
        Ok(())
    }

    /// Rows that were packed into `parts`: codes, scales, minima.
    pub(super) fn codes(&mut self, rows: Range<usize>, layout: &Layout, parts: &[&[u8]]) -> Result<(), PackError> {
        if self.is_idle() {
            return Ok(());
        }
        let has_minima = layout.minima_offset().is_some();
        let part = Layout::new(
            rows.len(),
            layout.cols(),
            layout.codes(),
            layout.scale_group(),
            has_minima,
        );
        let part = part.map(|part| {
            if layout.has_f32_scales() {
                part.with_f32_scales()
            } else {
                part
            }
        });
        let bytes = parts.concat();
        let packed = part.and_then(|part| Packed::new(part, &bytes));
        let packed = packed.map_err(|source| self.tensor.format_error(source))?;
        self.see(rows, Matrix::Packed(packed))
    }

    /// Complex rows that were packed into `bytes`: their real parts, and their imaginary ones.
    pub(super) fn phases(&mut self, rows: Range<usize>, bytes: &[u8]) -> Result<(), PackError> {
        if self.is_idle() {
            return Ok(());
        }
        let tensor = self.tensor;
        let format = |source| tensor.format_error(source);
        let layout = phase_complex_layout(rows.len(), tensor.cols).map_err(format)?;
        let stored = Matrix::Packed(Packed::new(layout, bytes).map_err(format)?);
        let mut row = vec![0.0; 2 * tensor.cols];
        for part in 0..2 {
            let mut floats = Vec::with_capacity(rows.len() * tensor.cols * 4);
            for i in 0..rows.len() {
                stored.dequantize_row(part * rows.len() + i, &mut row).map_err(format)?;
                floats.extend(row[..tensor.cols].iter().flat_map(|weight| weight.to_le_bytes()));
            }
            let first = part * tensor.rows / 2 + rows.start;
            let dense = Dense::new(rows.len(), tensor.cols, Float::F32, &floats).map_err(format)?;
            self.see(first..first + rows.len(), Matrix::Dense(dense))?;
        }
        Ok(())
    }

    /// Rows of floats.
    pub(super) fn floats(&mut self, rows: Range<usize>, ty: GgmlType, bytes: &[u8]) -> Result<(), PackError> {
        if self.is_idle() {
            return Ok(());
        }
        let float = match ty {
            GgmlType::F16 => Float::F16,
            GgmlType::BF16 => Float::Bf16,
            _ => Float::F32,
        };
        let tensor = self.tensor;
        let dense = Dense::new(rows.len(), tensor.cols, float, bytes).map_err(|source| tensor.format_error(source))?;
        self.see(rows, Matrix::Dense(dense))
    }
}
