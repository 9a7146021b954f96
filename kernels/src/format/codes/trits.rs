//! Dense ternary: three values in five bits, 1.67 bits a weight.
//!
//! Three trits a, b, c in -1..=1 are the number `9a + 3b + c` in -13..=13, stored as a magnitude of four bits and a
//! sign. A block is 16 rows by 96 columns in 5 steps of 64 bytes: four of nibbles, then one of signs. Byte `4 * row + j`
//! of step `s` holds magnitude `2 * s` in the low nibble and `2 * s + 1` in the high one; bit `h` of the sign byte is
//! the sign of magnitude `h`. The trits of magnitude `h` are columns `12 * h + j`, `12 * h + 4 + j` and
//! `12 * h + 8 + j`.
//!
//! Magnitudes 14 and 15 stand for three zeros, so every byte has a meaning. The last block's missing columns are zero.

use super::{Values, value_at};

pub(crate) const COLS: usize = 96;
/// Groups of a block.
pub(crate) const GROUPS: usize = 3;
pub(crate) const BYTES: usize = 320;

/// The first, second and third trit of each magnitude.
pub(crate) const TABLES: [[i8; 16]; 3] = {
    let mut tables = [[0; 16]; 3];
    let mut magnitude = 0;
    while magnitude < 14 {
        let digits = magnitude as i8 + 13;
        tables[0][magnitude] = digits / 9 - 1;
        tables[1][magnitude] = digits / 3 % 3 - 1;
        tables[2][magnitude] = digits % 3 - 1;
        magnitude += 1;
    }
    tables
};

/// The codes of a number's trits in two bits each, the first lowest. The number is its magnitude, and 16 more if it is
/// negative.
const CODES: [u8; 32] = {
    let mut codes = [0; 32];
    let mut number = 0;
    while number < 32 {
        let mut which = 0;
        while which < 3 {
            let trit = TABLES[which][number % 16];
            let code = if number < 16 { 1 + trit } else { 1 - trit };
            codes[number] |= (code as u8) << (2 * which);
            which += 1;
        }
        number += 1;
    }
    codes
};

/// Magnitude `half` of a row's byte `j`, and whether it is negative.
fn read(block: &[u8], row: usize, half: usize, j: usize) -> (u8, bool) {
    let nibbles = block[half / 2 * 64 + row * 4 + j];
    (
        nibbles >> (half % 2 * 4) & 15,
        block[256 + row * 4 + j] >> half & 1 == 1,
    )
}

fn trit(magnitude: u8, negative: bool, which: usize) -> i8 {
    let trit = TABLES[which][usize::from(magnitude)];
    if negative { -trit } else { trit }
}

pub(super) fn get(block: &[u8], row: usize, col: usize) -> u16 {
    let (half, which, j) = (col / 12, col % 12 / 4, col % 4);
    let (magnitude, negative) = read(block, row, half, j);
    (trit(magnitude, negative, which) + 1) as u16
}

pub(super) fn put(block: &mut [u8], row: usize, col: usize, code: u16) {
    let (half, j) = (col / 12, col % 4);
    let (magnitude, negative) = read(block, row, half, j);
    let mut number = 0;
    for which in 0..3 {
        let old = trit(magnitude, negative, which);
        let trit = if which == col % 12 / 4 {
            (code % 3) as i8 - 1
        } else {
            old
        };
        number = number * 3 + trit;
    }
    let nibble = half % 2 * 4;
    let byte = &mut block[half / 2 * 64 + row * 4 + j];
    *byte = *byte & !(15 << nibble) | number.unsigned_abs() << nibble;
    let signs = &mut block[256 + row * 4 + j];
    *signs = *signs & !(1 << half) | u8::from(number < 0) << half;
}

/// Writes a block as steps of 2-bit codes: six of them, or fewer at the end of a row.
///
/// Byte `4 * row + j` of the block's steps stands for 24 columns, four apart. They are a run of 48 bits, and a byte of
/// each step of 2-bit codes is for the next four of them.
pub(crate) fn expand(block: &[u8; BYTES], steps: &mut [u8]) {
    for at in 0..64 {
        let mut run = 0u64;
        for half in 0..8 {
            let magnitude = block[half / 2 * 64 + at] >> (half % 2 * 4) & 15;
            let sign = block[256 + at] >> half & 1;
            run |= u64::from(CODES[usize::from(magnitude | sign << 4)]) << (6 * half);
        }
        for (step, byte) in steps.chunks_exact_mut(64).zip(run.to_le_bytes()) {
            step[at] = byte;
        }
    }
}

/// The three groups of a block.
pub(crate) fn decode(block: &[u8; BYTES]) -> [Values; 3] {
    let mut values = [[0; 512]; 3];
    for half in 0..8 {
        for row in 0..16 {
            for j in 0..4 {
                let (magnitude, negative) = read(block, row, half, j);
                for which in 0..3 {
                    let col = half * 12 + which * 4 + j;
                    values[col / 32][value_at(row, col % 32)] = trit(magnitude, negative, which) as u8;
                }
            }
        }
    }
    values
}
