//! Runs a quantizer over the rows of a matrix, on several threads.

use std::ops::Range;
use std::thread;

use halfpi_kernels::format::{Codes, FormatError, Layout, Matrix, Packed, TILE_ROWS};

use super::super::scales::ScaleType;
use super::super::{Distortion, Format, Method, PackError, Scales};
use super::{Feedback, Grid, Quantizer};

/// More threads than this are not started, whatever is asked for.
pub(super) const MAX_THREADS: usize = 256;

/// Writes a row of floats.
pub(in super::super) type ReadRow<'a> = &'a (dyn Fn(usize, &mut [f32]) + Sync);

/// How a matrix becomes codes.
pub(in super::super) struct Coding {
    pub quantizer: Quantizer,
    pub layout: Layout,
    pub scales: Scales,
    /// The scale of all weights, where the source has it.
    pub given: Option<f32>,
}

impl Coding {
    /// How a matrix of `rows` x `cols` gets a format, or `None` if that has no codes.
    ///
    /// # Errors
    /// [`FormatError`] if the shape does not fit.
    pub fn new(
        (rows, cols): (usize, usize),
        format: Format,
        scales: Scales,
        method: Method,
    ) -> Result<Option<Self>, FormatError> {
        let (Some(codes), Some(quantizer)) = (format.codes(), Quantizer::new(format, method)) else {
            return Ok(None);
        };
        let scales = scales.fitting(cols, codes);
        let layout = Layout::new(rows, cols, codes, scales.group(), false)?;
        let layout = match scales {
            // One scale counts for many weights: its bits are worth having.
            Scales::Tensor => layout.with_f32_scales(),
            Scales::Row | Scales::Group(_) => layout,
        };
        Ok(Some(Self {
            quantizer,
            layout,
            scales,
            given: None,
        }))
    }

    /// The same with the levels of another ladder.
    ///
    /// # Errors
    /// [`FormatError`] if the codes are of another width.
    pub fn with_ladder_of(self, codes: Codes) -> Result<Self, FormatError> {
        let layout = &self.layout;
        let other = Layout::new(layout.rows(), layout.cols(), codes, layout.scale_group(), false)?;
        Ok(Self {
            quantizer: Quantizer::ladder(codes).unwrap_or(self.quantizer),
            layout: if layout.has_f32_scales() {
                other.with_f32_scales()
            } else {
                other
            },
            ..self
        })
    }

    /// The same with so many neighbours sharing a level, if the levels are symmetric.
    pub fn with_cluster(self, columns: usize) -> Self {
        let quantizer = match self.quantizer {
            Quantizer::Grid(grid) => Quantizer::Cluster(grid, columns),
            other => other,
        };
        Self { quantizer, ..self }
    }

    /// The same for another number of rows.
    ///
    /// # Errors
    /// [`FormatError`] if the shape does not fit.
    pub fn with_rows(&self, rows: usize) -> Result<Self, FormatError> {
        let layout = &self.layout;
        let other = Layout::new(rows, layout.cols(), layout.codes(), layout.scale_group(), false)?;
        Ok(Self {
            quantizer: self.quantizer.clone(),
            layout: if layout.has_f32_scales() {
                other.with_f32_scales()
            } else {
                other
            },
            scales: self.scales,
            given: self.given,
        })
    }

    /// The scale of all weights, if they have one in common.
    pub fn tensor_scale(&self, read: ReadRow<'_>) -> Option<f32> {
        if self.scales != Scales::Tensor {
            return None;
        }
        if self.given.is_some() {
            return self.given;
        }
        let mut weights = vec![0.0; self.layout.rows() * self.layout.cols()];
        for (row, out) in weights.chunks_exact_mut(self.layout.cols()).enumerate() {
            read(row, out);
        }
        Some(self.quantizer.tensor_scale(&weights, self.layout.cols()))
    }
}

/// The packed form of some rows.
pub(in super::super) struct Batch {
    pub codes: Vec<u8>,
    pub scales: Vec<u8>,
    /// Of the weights.
    pub distortion: Distortion,
    /// Of what they are there for: of the outputs, where feedback chose them for those, and else of the weights again.
    pub judged: Distortion,
}

impl Batch {
    /// The tensor as a file holds it, if these are all of its rows.
    pub fn file_bytes(&self, layout: &Layout) -> Vec<u8> {
        [&layout.header()[..], &self.codes, &self.scales].concat()
    }
}

/// Packs rows `range` of a matrix. The range begins at a unit of the layout and ends at one, or at the last row.
pub(in super::super) fn pack_rows(
    name: &str,
    coding: &Coding,
    tensor_scale: Option<f32>,
    range: Range<usize>,
    read: ReadRow<'_>,
    threads: usize,
) -> Result<Batch, PackError> {
    let worker = Worker::new(name, coding, tensor_scale, read)?;
    worker.share(range, threads)
}

/// Packs all of a matrix, `weights`, with error feedback.
pub(in super::super) fn pack_with_feedback(
    name: &str,
    coding: &Coding,
    weights: &[f32],
    feedback: &Feedback<'_>,
    threads: usize,
) -> Result<Batch, PackError> {
    let (rows, cols) = (coding.layout.rows(), coding.layout.cols());
    let read = |row: usize, out: &mut [f32]| out.copy_from_slice(&weights[row * cols..][..cols]);
    let worker = Worker {
        feedback: Some(feedback),
        ..Worker::new(name, coding, coding.tensor_scale(&read), &read)?
    };
    worker.share(0..rows, threads)
}

struct Worker<'a> {
    name: &'a str,
    quantizer: &'a Quantizer,
    ty: ScaleType,
    /// The layout of one unit alone.
    unit: Layout,
    tensor_scale: Option<f32>,
    feedback: Option<&'a Feedback<'a>>,
    /// Rows from here on are padding.
    end: usize,
    read: ReadRow<'a>,
}

impl<'a> Worker<'a> {
    fn new(name: &'a str, coding: &'a Coding, tensor_scale: Option<f32>, read: ReadRow<'a>) -> Result<Self, PackError> {
        let layout = &coding.layout;
        let unit = Layout::new(
            layout.unit_rows(),
            layout.cols(),
            layout.codes(),
            layout.scale_group(),
            false,
        );
        let unit = unit.map_err(|source| PackError::Format {
            name: name.to_owned(),
            source,
        })?;
        let (ty, unit) = if layout.has_f32_scales() {
            (ScaleType::F32, unit.with_f32_scales())
        } else {
            (ScaleType::F16, unit)
        };
        Ok(Self {
            name,
            quantizer: &coding.quantizer,
            ty,
            unit,
            tensor_scale,
            feedback: None,
            end: layout.rows(),
            read,
        })
    }

    /// Packs rows `range`, on several threads.
    fn share(&self, range: Range<usize>, threads: usize) -> Result<Batch, PackError> {
        let rows = self.unit.rows();
        let units = range.len().div_ceil(rows);
        let mut codes = vec![0; units * self.unit.codes_bytes()];
        let mut scales = vec![0; units * self.unit.scales_bytes()];
        // One entry a unit, summed in order: the figures do not depend on the number of threads.
        let mut distortions = vec![[Distortion::default(); 2]; units];
        let share = units.div_ceil(threads.clamp(1, MAX_THREADS)).max(1);
        thread::scope(|scope| {
            let parts = codes
                .chunks_mut(share * self.unit.codes_bytes())
                .zip(scales.chunks_mut(share * self.unit.scales_bytes()))
                .zip(distortions.chunks_mut(share));
            let threads: Vec<_> = parts
                .enumerate()
                .map(|(part, ((codes, scales), distortions))| {
                    let first = range.start + part * share * rows;
                    scope.spawn(move || self.run(first, codes, scales, distortions))
                })
                .collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let sum = |i: usize| {
            let units = distortions.iter().map(|distortions| distortions[i]);
            units.fold(Distortion::default(), Distortion::plus)
        };
        Ok(Batch {
            distortion: sum(0),
            judged: sum(if self.feedback.is_some() { 1 } else { 0 }),
            codes,
            scales,
        })
    }

    /// Packs whole units from row `first` on.
    fn run(
        &self,
        first: usize,
        codes: &mut [u8],
        scales: &mut [u8],
        distortions: &mut [[Distortion; 2]],
    ) -> Result<(), PackError> {
        let (rows, cols) = (self.unit.rows(), self.unit.cols());
        let (mut weights, mut stored) = (vec![0.0; rows * cols], vec![0.0; cols]);
        let mut bytes = vec![0; self.unit.bytes()];
        let units = codes
            .chunks_exact_mut(self.unit.codes_bytes())
            .zip(scales.chunks_exact_mut(self.unit.scales_bytes()))
            .zip(distortions)
            .zip((first..).step_by(rows));
        for (((codes, scales), [distortion, outputs]), first) in units {
            let present = rows.min(self.end - first);
            weights[present * cols..].fill(0.0);
            for (i, weights) in weights.chunks_exact_mut(cols).take(present).enumerate() {
                (self.read)(first + i, weights);
                if !weights.iter().all(|weight| weight.is_finite()) {
                    return Err(PackError::NotFinite {
                        name: self.name.to_owned(),
                        row: first + i,
                    });
                }
            }
            bytes.fill(0);
            match (self.feedback, self.quantizer) {
                (Some(feedback), Quantizer::Grid(grid)) => {
                    let weights = &weights[..present * cols];
                    self.unit_with_feedback(feedback, grid, first, weights, &mut bytes)
                }
                _ => self.unit(&weights, present, &mut bytes),
            }
            .map_err(self.error())?;
            let (unit_codes, unit_scales) = bytes.split_at(codes.len());
            codes.copy_from_slice(unit_codes);
            scales.copy_from_slice(unit_scales);
            let packed = Matrix::Packed(Packed::new(self.unit, &bytes).map_err(self.error())?);
            for (row, weights) in weights.chunks_exact(cols).take(present).enumerate() {
                packed.dequantize_row(row, &mut stored).map_err(self.error())?;
                for (&weight, &stored) in weights.iter().zip(&stored) {
                    distortion.add(weight, stored);
                }
                if let Some(feedback) = self.feedback {
                    let errors = weights.iter().zip(&stored).map(|(weight, stored)| weight - stored);
                    outputs.signal += feedback.cost(first + row, weights);
                    outputs.error += feedback.cost(first + row, &errors.collect::<Vec<_>>());
                }
            }
        }
        Ok(())
    }

    fn error(&self) -> impl Fn(FormatError) -> PackError {
        |source| PackError::Format {
            name: self.name.to_owned(),
            source,
        }
    }

    /// Packs the rows of a unit, of which `present` exist, into zeroed bytes.
    fn unit(&self, weights: &[f32], present: usize, bytes: &mut [u8]) -> Result<(), FormatError> {
        let cols = self.unit.cols();
        let group = cols / self.unit.scale_groups();
        // Rows that share codes are a tile apart.
        let together = self.unit.rows() / TILE_ROWS;
        let (mut part, mut part_codes) = (vec![0.0; together * group], vec![0; together * group]);
        let mut part_scales = vec![0.0; together];
        let (codes, scales) = bytes.split_at_mut(self.unit.codes_bytes());
        for lane in 0..present.min(TILE_ROWS) {
            for first in (0..cols).step_by(group) {
                for (j, part) in part.chunks_exact_mut(group).enumerate() {
                    let at = (j * TILE_ROWS + lane) * cols + first;
                    part.copy_from_slice(&weights[at..at + group]);
                }
                let quantizer = self.quantizer;
                quantizer.quantize(&part, self.ty, self.tensor_scale, &mut part_codes, &mut part_scales);
                let rows = (lane..present).step_by(TILE_ROWS);
                for ((row, part_codes), &scale) in rows.zip(part_codes.chunks_exact(group)).zip(&part_scales) {
                    let at = self.unit.scale_position(row, first);
                    self.ty.write(scale, &mut scales[at..]);
                    for (col, &code) in (first..).zip(part_codes) {
                        self.unit.write_code(codes, row, col, code)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Packs the rows of a unit, which begins at row `first` of the matrix, into zeroed bytes.
    fn unit_with_feedback(
        &self,
        feedback: &Feedback<'_>,
        grid: &Grid,
        first: usize,
        weights: &[f32],
        bytes: &mut [u8],
    ) -> Result<(), FormatError> {
        let (cols, groups) = (self.unit.cols(), self.unit.scale_groups());
        let rounded = feedback.round(grid, first, weights, cols / groups, (self.ty, self.tensor_scale));
        let (codes, scales) = bytes.split_at_mut(self.unit.codes_bytes());
        for (row, row_codes) in rounded.codes.chunks_exact(cols).enumerate() {
            for (col, &code) in row_codes.iter().enumerate() {
                self.unit.write_code(codes, row, col, code)?;
            }
            for (group, &scale) in rounded.scales[row * groups..][..groups].iter().enumerate() {
                let at = self.unit.scale_position(row, group * (cols / groups));
                self.ty.write(scale, &mut scales[at..]);
            }
        }
        Ok(())
    }
}
