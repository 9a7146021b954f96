//! Weights that training has left on a grid: they keep their scales, to the bit.

use halfpi_kernels::format::{Codes, Layout, tables};

use super::super::scales::ScaleType;
use super::super::{Format, Method, Scales};
use super::grid::Rule;
use super::integers::Integers;
use super::tiles::ReadRow;
use super::{Coding, Grid, Quantizer};

/// Scales that training may have had, those of the most weights first.
const SCALES: [Scales; 5] = [
    Scales::Row,
    Scales::Group(256),
    Scales::Group(128),
    Scales::Group(64),
    Scales::Group(32),
];

impl Coding {
    /// How the weights of a matrix are stored without any loss, if all of them are levels of the format times a scale of
    /// their row or group. `halfpi2` may also be ±1 and ±3 (ParetoQ, arXiv:2502.02631, section 3.2).
    pub fn trained((rows, cols): (usize, usize), format: Format, read: ReadRow<'_>) -> Option<Self> {
        grids(format).into_iter().find_map(|(codes, grid, quantizer)| {
            let fitting = SCALES
                .into_iter()
                .filter(|scales| scales.fitting(cols, codes) == *scales);
            fitting.into_iter().find_map(|scales| {
                let layout = Layout::new(rows, cols, codes, scales.group(), false).ok()?;
                let layout = match scale_type(&layout, &grid, read)? {
                    ScaleType::F16 => layout,
                    // A scale of 32 bits for few weights is for those of 2 bits, whose training has one.
                    ScaleType::F32 if scales == Scales::Row || is_narrow(codes) => layout.with_f32_scales(),
                    ScaleType::F32 => return None,
                };
                Some(Self {
                    quantizer: quantizer.clone(),
                    layout,
                    scales,
                    given: None,
                })
            })
        })
    }
}

/// The codes that a format may have, the grid that their weights are on, and what chooses them.
fn grids(format: Format) -> Vec<(Codes, Grid, Quantizer)> {
    let integers = |codes, integers| {
        let grid = Grid::Integers(integers, Rule::LeastSquares);
        (codes, grid.clone(), Quantizer::Grid(grid))
    };
    let (Some(codes), Some(quantizer)) = (format.codes(), Quantizer::new(format, Method::default())) else {
        return Vec::new();
    };
    let on = |integers| (codes, Grid::Integers(integers, Rule::LeastSquares), quantizer.clone());
    match (format, &quantizer) {
        (Format::Halfpi2, _) => vec![
            integers(codes, Integers::INT2),
            integers(Codes::Codebook2(tables::ODD2), Integers::ODD2),
        ],
        // Whose own rule is to have the largest weight at 127.
        (Format::Q8 | Format::Halfpi8, _) => vec![integers(codes, Integers::INT8)],
        (Format::Q6, _) => vec![integers(codes, Integers::INT6_WHOLE)],
        (Format::Ternary | Format::TernaryDense, _) => vec![integers(codes, Integers::TERNARY)],
        (_, Quantizer::Grid(grid)) => vec![(codes, grid.clone(), quantizer.clone())],
        (Format::PhaseT1, _) => vec![on(Integers::PAIRS[0])],
        (Format::PhaseT2, _) => vec![on(Integers::PAIRS[1])],
        (Format::PhaseMagnitude, _) => vec![on(Integers::INT8)],
        _ => Vec::new(),
    }
}

fn is_narrow(codes: Codes) -> bool {
    matches!(codes, Codes::Codebook2(_) | Codes::Trits)
}

/// What holds the scales of weights that are levels times a scale, if they all are. Others are seen to be by their first
/// row.
fn scale_type(layout: &Layout, grid: &Grid, read: ReadRow<'_>) -> Option<ScaleType> {
    let mut ty = ScaleType::F16;
    let mut row = vec![0.0; layout.cols()];
    let group = layout.cols() / layout.scale_groups();
    for i in 0..layout.rows() {
        read(i, &mut row);
        for weights in row.chunks_exact(group) {
            if weights.iter().all(|&weight| weight == 0.0) || grid.exact(weights, ty).is_some() {
                continue;
            }
            // None that fits f16 so far; the scales of other rows fit f32 all the more.
            ty = ScaleType::F32;
            grid.exact(weights, ty)?;
        }
    }
    Some(ty)
}
