//! From floats to packed codes.
//!
//! A quantizer turns the weights that share a scale into that scale and their codes. [`pack_rows`] runs it over the rows
//! of a matrix, a unit of the layout at a time, and measures what was lost by reading back what it wrote.

mod feedback;
mod grid;
mod integers;
mod ladder;
mod phase_axis;
mod phase_complex;
mod phase_pair;
mod search;
mod table;
mod ternary;
mod tiles;
mod trained;

use halfpi_kernels::format::{Codes, FormatError, tables};

pub(super) use self::feedback::{Factor, Feedback};
pub(super) use self::grid::Grid;
use self::grid::Rule;
use self::integers::Integers;
use self::ladder::Ladder;
use self::phase_axis::PhaseAxis;
pub(super) use self::phase_complex::{PhaseScales, layout as phase_complex_layout, pack_complex_rows, quantized};
use self::phase_pair::PhasePair;
use self::search::exact;
use self::table::Table;
pub(super) use self::tiles::{Batch, Coding, pack_rows, pack_with_feedback};
use super::scales::ScaleType;
use super::{Distortion, Format, Method, PackError, Scales};

/// Turns the weights that share a scale into the scale and their codes.
#[derive(Clone)]
pub(super) enum Quantizer {
    /// A code for each weight.
    Grid(Grid),
    /// The same, with one magnitude for so many neighbours: the level nearest to their mean, which leaves the least
    /// squared error.
    Cluster(Grid, usize),
    /// A code for two columns.
    PhaseAxis(PhaseAxis),
    /// A code for two columns of two rows.
    PhasePair(PhasePair),
}

impl Quantizer {
    /// The quantizer of a format, if it has one. The method suits the format.
    pub(super) fn new(format: Format, method: Method) -> Option<Self> {
        let rule = match method {
            Method::LeastSquares => Rule::LeastSquares,
            Method::Largest => Rule::Largest,
            Method::AbsMean => Rule::AbsMean,
            Method::Sparsity(share) => Rule::Sparse(share),
        };
        let ternary = if rule == Rule::LeastSquares {
            Rule::Ternary
        } else {
            rule
        };
        let grid = match format {
            // At 8 bits a search gains nothing worth its time.
            Format::Q8 | Format::Halfpi8 => Grid::Integers(Integers::INT8, Rule::Largest),
            Format::Q6 => Grid::Integers(Integers::INT6, rule),
            Format::Halfpi4 => Grid::Integers(Integers::INT4, rule),
            Format::Halfpi2 => Grid::Integers(Integers::INT2, rule),
            Format::Ternary | Format::TernaryDense => Grid::Integers(Integers::TERNARY, ternary),
            Format::Phi4 => Grid::Ladder8(Ladder::new(&tables::PHI)),
            Format::Phi4Additive => Grid::Table(Box::new(Table::new(tables::PHI_ADDITIVE))),
            Format::Phi5 => Grid::Ladder16(Ladder::new(&tables::PHI5)),
            Format::Phi5Additive => Grid::Ladder16(Ladder::new(&tables::PHI5_ADDITIVE)),
            Format::PhaseMagnitude => return Some(Quantizer::PhaseAxis(PhaseAxis::Magnitudes)),
            Format::PhaseAxis => return Some(Quantizer::PhaseAxis(PhaseAxis::Unit)),
            Format::PhaseT1 => return Some(Quantizer::PhasePair(PhasePair::one_stage())),
            Format::PhaseT2 => return Some(Quantizer::PhasePair(PhasePair::two_stages())),
            Format::PhaseComplex | Format::F32 | Format::F16 | Format::Bf16 | Format::Lossless => return None,
        };
        Some(Quantizer::Grid(grid))
    }

    /// The quantizer of a ladder's codes, if they are such.
    pub(super) fn ladder(codes: Codes) -> Option<Self> {
        match codes {
            Codes::Codebook4(table) => Some(Quantizer::Grid(Grid::Ladder8(Ladder::new(&table)))),
            Codes::Codebook5(table) => Some(Quantizer::Grid(Grid::Ladder16(Ladder::new(&table)))),
            _ => None,
        }
    }

    /// Chooses the codes of a group of finite weights in rows that share codes, one row after another, and the scale of
    /// each row, unless it is given. Scales are of type `ty`.
    fn quantize(&self, weights: &[f32], ty: ScaleType, given: Option<f32>, codes: &mut [u16], scales: &mut [f32]) {
        match self {
            Quantizer::Grid(grid) => {
                scales[0] = given.map_or_else(|| grid.stored_scale(weights, ty), |scale| ty.round(scale));
                grid.codes(weights, scales[0], codes);
            }
            Quantizer::Cluster(grid, columns) => {
                let weights = shared(weights, *columns);
                scales[0] = given.map_or_else(|| grid.stored_scale(&weights, ty), |scale| ty.round(scale));
                grid.codes(&weights, scales[0], codes);
            }
            Quantizer::PhaseAxis(axis) => scales[0] = axis.quantize(weights, ty, given, codes),
            Quantizer::PhasePair(pair) => pair.quantize(weights, ty, given, codes, scales),
        }
    }

    /// One scale for a whole matrix of `cols` columns: one with which nothing is lost, if there is one.
    fn tensor_scale(&self, weights: &[f32], cols: usize) -> f32 {
        let (scale, exact) = match self {
            Quantizer::Grid(grid) => (grid.scale(weights, None), grid.exact(weights, ScaleType::F32)),
            Quantizer::Cluster(grid, columns) => {
                let weights = shared(weights, *columns);
                (grid.scale(&weights, None), grid.exact(&weights, ScaleType::F32))
            }
            Quantizer::PhaseAxis(axis) => (axis.scale(weights), exact(&Integers::INT8, weights, ScaleType::F32)),
            Quantizer::PhasePair(pair) => (
                pair.tensor_scale(weights, cols),
                exact(&pair.integers(), weights, ScaleType::F32),
            ),
        };
        exact.unwrap_or(scale)
    }
}

/// The weights with the mean magnitude of their cluster.
fn shared(weights: &[f32], columns: usize) -> Vec<f32> {
    // Room for as many and no more: they may be all of a matrix.
    let mut shared = Vec::with_capacity(weights.len());
    for cluster in weights.chunks(columns) {
        let sum: f64 = cluster.iter().map(|weight| f64::from(weight.abs())).sum();
        let mean = (sum / cluster.len() as f64) as f32;
        shared.extend(cluster.iter().map(|weight| mean.copysign(*weight)));
    }
    shared
}

/// A scale's inverse, 0 for the scale of weights that are all 0.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 {
        0.0
    } else {
        (1.0 / scale).clamp(f32::MIN, f32::MAX)
    }
}

/// Packs a matrix in memory: `weights` is `[rows][cols]`.
///
/// Returns the bytes of the tensor as a file holds it (header, codes, scales) and what was lost.
///
/// # Errors
/// [`PackError`] if the format has no codes, the shape does not fit it or a weight is not finite.
pub fn pack_matrix(
    weights: &[f32],
    (rows, cols): (usize, usize),
    format: Format,
    scales: impl Into<Scales>,
    threads: usize,
) -> Result<(Vec<u8>, Distortion), PackError> {
    pack_matrix_by(weights, (rows, cols), format, scales.into(), Method::default(), threads)
}

/// Packs a matrix whose weights are all levels of the format times a scale of their row or group, as training leaves
/// them, with these levels and scales: no weight changes. `None` if they are not, or the format keeps no scales so; ternary
/// formats and `halfpi2` do, the latter with -2 to 1 or with ±1 and ±3.
///
/// # Errors
/// [`PackError`] if a weight is not finite.
pub fn pack_trained(
    weights: &[f32],
    (rows, cols): (usize, usize),
    format: Format,
    threads: usize,
) -> Result<Option<Vec<u8>>, PackError> {
    if weights.len() != rows.saturating_mul(cols) {
        return Ok(None);
    }
    let read = |row: usize, out: &mut [f32]| out.copy_from_slice(&weights[row * cols..][..cols]);
    let Some(coding) = Coding::trained((rows, cols), format, &read) else {
        return Ok(None);
    };
    let batch = pack_rows("the matrix", &coding, None, 0..rows, &read, threads)?;
    Ok(Some(batch.file_bytes(&coding.layout)))
}

/// The same with another way to choose scales.
///
/// # Errors
/// As [`pack_matrix`], and [`PackError::Method`] if the format has no such way.
pub fn pack_matrix_by(
    weights: &[f32],
    (rows, cols): (usize, usize),
    format: Format,
    scales: Scales,
    method: Method,
    threads: usize,
) -> Result<(Vec<u8>, Distortion), PackError> {
    let name = "the matrix";
    let shape = |source| PackError::Format {
        name: name.into(),
        source,
    };
    if weights.len() != rows.saturating_mul(cols) {
        return Err(shape(FormatError::Length {
            what: "weights",
            expected: rows.saturating_mul(cols),
            found: weights.len(),
        }));
    }
    let read = |row: usize, out: &mut [f32]| out.copy_from_slice(&weights[row * cols..][..cols]);
    if !method.suits(format) {
        return Err(PackError::Method { method, format });
    }
    let coding = Coding::new((rows, cols), format, scales, method).map_err(shape)?;
    let coding = coding.ok_or(PackError::NoCodes { format })?;
    let tensor_scale = coding.tensor_scale(&read);
    let batch = pack_rows(name, &coding, tensor_scale, 0..rows, &read, threads)?;
    Ok((batch.file_bytes(&coding.layout), batch.distortion))
}
