//! Random codes and scales of packed matrices.

use half::f16;
use halfpi_kernels::format::{Codes, Layout, Matrix, Packed, ScaleGroup, TILE_ROWS, tables};

use super::random::Random;
use crate::Result;

/// Scales that differ from row to row and group to group by size and sign, so that a mix-up shows in the results.
pub(super) struct RandomScales([f16; 16]);

/// Factors of either sign as much, for codes whose values are not even around 0.
const EVEN: [i8; 16] = [1, -2, -3, 4, -5, 6, 7, -8, -9, 10, 11, -12, 13, -14, -15, 16];
/// Factors of llama.cpp's blocks, which tests of what models say have been chosen for.
const UNEVEN: [i8; 16] = [1, -2, 3, -4, 5, 6, 7, -8, 9, 10, -11, 12, 13, -14, 15, 16];

impl RandomScales {
    /// Scales that give weights of random codes this standard deviation.
    fn new(codes: Codes, deviation: f32, factors: [i8; 16]) -> Self {
        let factors = factors.map(|n| f32::from(n) / 16.0);
        let mean_square = factors.iter().map(|n| n * n).sum::<f32>() / factors.len() as f32;
        let scale = deviation / (mean_square_value(codes) * mean_square).sqrt();
        Self(factors.map(|factor| f16::from_f32(factor * scale)))
    }

    /// Scales of llama.cpp's blocks, whose codes are like these.
    pub(super) fn of_blocks(codes: Codes, deviation: f32) -> Self {
        Self::new(codes, deviation, UNEVEN)
    }

    /// One of them, chosen by the low bits.
    pub(super) fn pick(&self, bits: usize) -> f16 {
        self.0[bits % 16]
    }
}

/// The mean square of the values that random codes stand for; on a sample, where codes are for several weights.
fn mean_square_value(codes: Codes) -> f32 {
    let of = |values: &[i8]| {
        let squares = values.iter().map(|&value| f32::from(value) * f32::from(value));
        squares.sum::<f32>() / values.len() as f32
    };
    match codes {
        Codes::Int8 => return of(&(-127..=127).collect::<Vec<_>>()),
        Codes::Codebook4(table) => return of(&table),
        _ => {}
    }
    let sample = || {
        let layout = Layout::new(32, 960, codes, ScaleGroup::Row, false).ok()?;
        let mut bytes = vec![0; layout.bytes()];
        let (unit_codes, scales) = bytes.split_at_mut(layout.codes_bytes());
        fill_unit(&layout, layout.rows(), &mut Random::new(0), unit_codes);
        let one = f16::ONE.to_le_bytes();
        scales.chunks_exact_mut(2).for_each(|scale| scale.copy_from_slice(&one));
        let matrix = Matrix::Packed(Packed::new(layout, &bytes).ok()?);
        let (mut sum, mut row) = (0.0, vec![0.0; layout.cols()]);
        for i in 0..layout.rows() {
            matrix.dequantize_row(i, &mut row).ok()?;
            sum += row.iter().map(|value| value * value).sum::<f32>();
        }
        Some(sum / (layout.rows() * layout.cols()) as f32)
    };
    // No codes refuse this shape.
    sample().unwrap_or(1.0)
}

/// No format's tools make the code -128, and the kernels' tables have none.
pub(super) fn avoid_minus_128(codes: &mut [u8]) {
    for code in codes {
        if *code == 0x80 {
            *code = 0;
        }
    }
}

/// Writes the header, random codes and scales of a matrix.
pub(super) fn fill(
    layout: &Layout,
    deviation: f32,
    random: &mut Random,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    write(&layout.header())?;
    let rows = code_rows(layout);
    let mut unit = vec![0; layout.unit_bytes()];
    for first in (0..rows).step_by(layout.unit_rows()) {
        fill_unit(layout, layout.unit_rows().min(rows - first), random, &mut unit);
        write(&unit)?;
    }
    let picks = RandomScales::new(layout.codes(), deviation, EVEN);
    let mut scales = vec![0; layout.scales_bytes()];
    let step = layout.cols() / layout.scale_groups();
    for row in 0..rows {
        for group in 0..layout.scale_groups() {
            let at = layout.scale_position(row, group * step);
            scales[at..at + 2].copy_from_slice(&picks.pick(row + 5 * group).to_le_bytes());
        }
    }
    write(&scales)
}

/// Rows that have codes of their own: complex ones, where a matrix is the real form of a complex one.
fn code_rows(layout: &Layout) -> usize {
    match layout.codes() {
        Codes::PhaseComplex => layout.rows() / 2,
        _ => layout.rows(),
    }
}

/// Random codes for the first `rows` rows of a unit; what has no weights is zero.
fn fill_unit(layout: &Layout, rows: usize, random: &mut Random, unit: &mut [u8]) {
    random.fill(unit);
    match layout.codes() {
        // 3, which stands for 2, becomes 1.
        Codes::Codebook2(tables::TERNARY) => unit.iter_mut().for_each(|byte| *byte &= !(*byte & *byte << 1 & 0xaa)),
        Codes::Int8 | Codes::PhaseAxis { magnitudes: true } => avoid_minus_128(unit),
        _ => {}
    }
    // The columns that blocks have room for, and what codes there must be.
    let (cols, zero) = match layout.codes() {
        Codes::Trits => (layout.cols().next_multiple_of(96), 1),
        _ => (layout.cols(), 0),
    };
    // No codes refuse this shape: it is that of one unit.
    let Ok(room) = Layout::new(2 * TILE_ROWS, cols, layout.codes(), ScaleGroup::Row, false) else {
        return;
    };
    for row in 0..TILE_ROWS {
        let missing = if row < rows { layout.cols() } else { 0 };
        for col in missing..cols {
            // The buffer is long enough for the first tile of rows.
            let _ = room.write_code(unit, row, col, zero);
        }
    }
}
