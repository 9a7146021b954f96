//! From floats to packed codes.
//!
//! A quantizer turns the weights that share a scale into that scale and their codes. [`pack_rows`] runs it over the rows
//! of a matrix, a tile of 16 at a time, and measures what was lost against the values that the file will give back.

mod ladder;
mod phase_complex;
mod q8;
mod tiles;

use half::f16;
use halfpi_kernels::format::{Codes, Layout, ScaleGroup, tables};

pub(super) use self::phase_complex::{PhaseScales, layout as phase_complex_layout, pack_complex_rows, quantized};
pub(super) use self::tiles::pack_rows;
use super::{Distortion, Format};
use ladder::Ladder;

/// Turns the weights that share a scale into the scale and their codes.
pub(super) enum Quantizer {
    /// 8-bit integers.
    Int8,
    /// A table of eight magnitudes with a sign.
    Ladder(Ladder),
}

impl Quantizer {
    /// The quantizer of a format, if it has codes.
    pub(super) fn new(format: Format) -> Option<Self> {
        match format {
            Format::Q8 => Some(Quantizer::Int8),
            Format::Phi4 => Some(Quantizer::Ladder(Ladder::new(tables::PHI))),
            Format::Phi4Additive => Some(Quantizer::Ladder(Ladder::new(tables::PHI_ADDITIVE))),
            Format::PhaseComplex | Format::F32 | Format::F16 | Format::Bf16 | Format::Lossless => None,
        }
    }

    pub(super) fn codes(&self) -> Codes {
        match self {
            Quantizer::Int8 => Codes::Int8,
            Quantizer::Ladder(ladder) => Codes::Codebook4(ladder.table()),
        }
    }

    /// Chooses the scale of `weights`, which are finite, and fills in their codes. A weight becomes scale * value(code).
    fn quantize(&self, weights: &[f32], codes: &mut [u8]) -> f16 {
        match self {
            Quantizer::Int8 => q8::quantize(weights, codes),
            Quantizer::Ladder(ladder) => ladder.quantize(weights, codes),
        }
    }

    /// The value of a code.
    fn value(&self, code: u8) -> f32 {
        match self {
            Quantizer::Int8 => f32::from(code as i8),
            Quantizer::Ladder(ladder) => ladder.value(code),
        }
    }
}

/// The nearest f16; what is out of its range becomes its largest value, never infinity.
fn to_f16(scale: f32) -> f16 {
    f16::from_f32(scale.min(f16::MAX.to_f32()))
}

/// A scale's inverse, 0 for the scale of weights that are all 0.
fn inverse(scale: f16) -> f32 {
    let scale = scale.to_f32();
    if scale > 0.0 { 1.0 / scale } else { 0.0 }
}

/// Packs a matrix in memory: `weights` is `[rows][cols]`.
///
/// Returns the bytes of the tensor as a file holds it (header, codes, scales) and what was lost.
///
/// # Errors
/// [`PackError`](super::PackError) if the format has no codes, the shape does not fit it or a weight is not finite.
pub fn pack_matrix(
    weights: &[f32],
    (rows, cols): (usize, usize),
    format: Format,
    group: ScaleGroup,
    threads: usize,
) -> Result<(Vec<u8>, Distortion), super::PackError> {
    let name = "the matrix";
    let shape = |source| super::PackError::Format {
        name: name.into(),
        source,
    };
    let quantizer = Quantizer::new(format).ok_or(super::PackError::NoCodes { format })?;
    let layout = Layout::new(rows, cols, quantizer.codes(), group, false).map_err(shape)?;
    if weights.len() != rows * cols {
        return Err(shape(halfpi_kernels::format::FormatError::Length {
            what: "weights",
            expected: rows * cols,
            found: weights.len(),
        }));
    }
    let read = |row: usize, out: &mut [f32]| out.copy_from_slice(&weights[row * cols..][..cols]);
    let batch = pack_rows(name, &quantizer, &layout, (rows, cols), 0..rows, &read, threads)?;
    let mut bytes = layout.header().to_vec();
    bytes.extend(batch.codes);
    bytes.extend(batch.scales);
    Ok((bytes, batch.distortion))
}
