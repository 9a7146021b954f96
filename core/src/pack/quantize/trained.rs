//! Weights that training has left on a grid: they keep their scales, to the bit.

use halfpi_kernels::format::{Codes, Layout, tables};

use super::super::scales::ScaleType;
use super::super::{Format, Scales};
use super::grid::Rule;
use super::integers::Integers;
use super::search::exact;
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
    /// their row or group: ternary ones, integers from -2 to 1, or ±1 and ±3 (ParetoQ, arXiv:2502.02631, section 3.2).
    pub fn trained((rows, cols): (usize, usize), format: Format, read: ReadRow<'_>) -> Option<Self> {
        let grids: &[(Codes, Integers)] = match format {
            Format::Ternary => &[(Codes::Codebook2(tables::TERNARY), Integers::TERNARY)],
            Format::TernaryDense => &[(Codes::Trits, Integers::TERNARY)],
            Format::Halfpi2 => &[
                (Codes::Codebook2(tables::INT2), Integers::INT2),
                (Codes::Codebook2(tables::ODD2), Integers::ODD2),
            ],
            _ => return None,
        };
        grids.iter().find_map(|&(codes, integers)| {
            let fitting = SCALES
                .into_iter()
                .filter(|scales| scales.fitting(cols, codes) == *scales);
            fitting.into_iter().find_map(|scales| {
                let layout = Layout::new(rows, cols, codes, scales.group(), false).ok()?;
                let ty = scale_type(&layout, &integers, read)?;
                Some(Self {
                    quantizer: Quantizer::Grid(Grid::Integers(integers, Rule::LeastSquares)),
                    layout: match ty {
                        ScaleType::F16 => layout,
                        ScaleType::F32 => layout.with_f32_scales(),
                    },
                    scales,
                    given: None,
                })
            })
        })
    }
}

/// What holds the scales of weights that are levels times a scale, if they all are. Others are seen to be by their first
/// row.
fn scale_type(layout: &Layout, integers: &Integers, read: ReadRow<'_>) -> Option<ScaleType> {
    let mut ty = ScaleType::F16;
    let mut row = vec![0.0; layout.cols()];
    let group = layout.cols() / layout.scale_groups();
    for i in 0..layout.rows() {
        read(i, &mut row);
        for weights in row.chunks_exact(group) {
            if weights.iter().all(|&weight| weight == 0.0) {
                continue;
            }
            let scale = exact(integers, weights)?;
            if ScaleType::F16.round(scale) != scale {
                ty = ScaleType::F32;
            }
        }
    }
    Some(ty)
}
