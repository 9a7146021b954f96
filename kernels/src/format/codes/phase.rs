//! Powers of i. Multiplying by one is never a multiplication: it swaps and negates.
//!
//! - Pairs (widely linear): byte `4 * pair + j` of step `s` holds, for one stage (2 steps), the codes of column pairs
//!   `8 * s + j` and `8 * s + 4 + j` in the low and the high nibble; for two stages (4 steps), both of column pair
//!   `4 * s + j`: in the low nibble `u` of the first and of the second stage, in the high one `w`. So each nibble is one
//!   complex number, two table look-ups, and the four weights are their sums and differences.
//! - One axis with magnitudes: 4 steps of signed bytes, byte `4 * row + j` of step `s` for column pair `4 * s + j`; then
//!   8 bytes a step whose bit `4 * row + j` says that the byte is the second column's.
//! - One axis without magnitudes: one step, byte `4 * row + j` holds the codes of column pairs `4 * p + j` in bits
//!   `2 * p` and `2 * p + 1`.
//! - Native complex weights lie as 2-bit codes do.

use super::planes::{CODEBOOK2_BYTES, get2};
use super::{Values, value_at};

pub(crate) const AXIS_BYTES: usize = 256 + 32;
pub(crate) const PHASE_BYTES: usize = 64;

/// The real part of `i^code`.
pub(crate) const fn re(code: u16) -> i8 {
    [1, 0, -1, 0][(code & 3) as usize]
}

/// The imaginary part of `i^code`.
pub(crate) const fn im(code: u16) -> i8 {
    [0, 1, 0, -1][(code & 3) as usize]
}

/// The real parts of `2 i^a + i^b`, for `a` in the low two bits of a nibble and `b` in the high ones.
pub(crate) const RE2: [i8; 16] = two_stages(false);
/// The imaginary parts.
pub(crate) const IM2: [i8; 16] = two_stages(true);

const fn two_stages(imaginary: bool) -> [i8; 16] {
    let mut parts = [0; 16];
    let mut codes = 0;
    while codes < 16 {
        let (first, second) = (codes as u16, codes as u16 >> 2);
        parts[codes] = if imaginary {
            2 * im(first) + im(second)
        } else {
            2 * re(first) + re(second)
        };
        codes += 1;
    }
    parts
}

/// A stage's weight of the block at this row and column of it (0 or 1).
const fn stage_value(code: u16, row: usize, col: usize) -> i8 {
    let (u, w) = (code, code >> 2);
    match (row, col) {
        (0, 0) => re(u) + re(w),
        (0, _) => im(w) - im(u),
        (_, 0) => im(u) + im(w),
        _ => re(u) - re(w),
    }
}

pub(crate) const fn pair_value(code: u16, stages: u8, row: usize, col: usize) -> i8 {
    let first = stage_value(code, row, col);
    if stages == 1 {
        first
    } else {
        2 * first + stage_value(code >> 4, row, col)
    }
}

/// Between two stages' codes, `u` and `w` of each, and how they lie, both `u` and both `w`.
const fn swap_middle(code: u16) -> u16 {
    code & 0b11_00_00_11 | (code & 0b00_00_11_00) << 2 | (code & 0b00_11_00_00) >> 2
}

/// The byte and the shift of the code of a pair of rows and a pair of columns.
fn pair_place(stages: u8, pair: usize, col: usize) -> (usize, usize) {
    if stages == 1 {
        (col / 8 * 64 + pair * 4 + col % 4, col % 8 / 4 * 4)
    } else {
        (col / 4 * 64 + pair * 4 + col % 4, 0)
    }
}

pub(super) fn get_pair(block: &[u8], stages: u8, pair: usize, col: usize) -> u16 {
    let (byte, shift) = pair_place(stages, pair, col);
    if stages == 1 {
        u16::from(block[byte] >> shift & 15)
    } else {
        swap_middle(u16::from(block[byte]))
    }
}

pub(super) fn put_pair(block: &mut [u8], stages: u8, pair: usize, col: usize, code: u16) {
    let (byte, shift) = pair_place(stages, pair, col);
    if stages == 1 {
        block[byte] = block[byte] & !(15 << shift) | (code as u8 & 15) << shift;
    } else {
        block[byte] = swap_middle(code) as u8;
    }
}

pub(crate) fn decode_pair(block: &[u8], stages: u8) -> [Values; 2] {
    let mut values = [[0; 512]; 2];
    for pair in 0..16 {
        for col in 0..16 {
            let code = get_pair(block, stages, pair, col);
            for (row, values) in values.iter_mut().enumerate() {
                for half in 0..2 {
                    values[value_at(pair, half * 16 + col)] = pair_value(code, stages, row, half) as u8;
                }
            }
        }
    }
    values
}

/// The bit in the eight bytes of a step, as a little-endian number, of a row and a column pair.
const fn axis_bit(row: usize, col: usize) -> (usize, usize) {
    let bit = row * 4 + col % 4;
    (256 + col / 4 * 8 + bit / 8, bit % 8)
}

const fn phase_place(row: usize, col: usize) -> (usize, usize) {
    (row * 4 + col % 4, col / 4 * 2)
}

pub(super) fn get_axis(block: &[u8], magnitudes: bool, row: usize, col: usize) -> u16 {
    if magnitudes {
        let (byte, bit) = axis_bit(row, col);
        u16::from(block[value_at(row, col)]) | u16::from(block[byte] >> bit & 1) << 8
    } else {
        let (byte, shift) = phase_place(row, col);
        u16::from(block[byte] >> shift & 3)
    }
}

pub(super) fn put_axis(block: &mut [u8], magnitudes: bool, row: usize, col: usize, code: u16) {
    if magnitudes {
        block[value_at(row, col)] = code as u8;
        let (byte, bit) = axis_bit(row, col);
        block[byte] = block[byte] & !(1 << bit) | ((code >> 8) as u8 & 1) << bit;
    } else {
        let (byte, shift) = phase_place(row, col);
        block[byte] = block[byte] & !(3 << shift) | (code as u8 & 3) << shift;
    }
}

/// The value of the first (0) or second (1) column of a pair.
pub(super) const fn axis_value(code: u16, magnitudes: bool, part: usize) -> i8 {
    if magnitudes {
        if (code >> 8) as usize & 1 == part {
            code as u8 as i8
        } else {
            0
        }
    } else if part == 0 {
        re(code)
    } else {
        im(code)
    }
}

pub(crate) fn decode_axis(block: &[u8], magnitudes: bool) -> Values {
    let mut values = [0; 512];
    for row in 0..16 {
        for col in 0..16 {
            let code = get_axis(block, magnitudes, row, col);
            for part in 0..2 {
                values[value_at(row, part * 16 + col)] = axis_value(code, magnitudes, part) as u8;
            }
        }
    }
    values
}

/// The real and the imaginary parts of a block.
pub(crate) fn decode_complex(block: &[u8; CODEBOOK2_BYTES]) -> [Values; 2] {
    let mut values = [[0; 512]; 2];
    for row in 0..16 {
        for col in 0..32 {
            let code = get2(block, row, col);
            values[0][value_at(row, col)] = re(code) as u8;
            values[1][value_at(row, col)] = im(code) as u8;
        }
    }
    values
}
