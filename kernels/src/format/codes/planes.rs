//! Planes of 4, 2 and 1 bits: a code's bits lie in one or two of them.
//!
//! In a group of 16 rows by 32 columns, byte `4 * row + j` of step `s` holds
//! - 4 bits (4 steps): column `4 * s + j` in the low nibble, `16 + 4 * s + j` in the high one;
//! - 2 bits (2 steps): column `16 * s + 4 * p + j` in bits `2 * p` and `2 * p + 1`;
//! - 1 bit (1 step): column `4 * p + j` in bit `p`.

use super::{Values, value_at};

pub(crate) const CODEBOOK2_BYTES: usize = 128;
pub(crate) const CODEBOOK4_BYTES: usize = 256;
/// Four bits of each code, then the fifth.
pub(crate) const CODEBOOK5_BYTES: usize = 256 + 64;
/// Four bits of each code, then the upper two.
pub(crate) const INT6_BYTES: usize = 256 + 128;

const fn place4(row: usize, col: usize) -> (usize, usize) {
    (col % 16 / 4 * 64 + row * 4 + col % 4, col / 16 * 4)
}

const fn place2(row: usize, col: usize) -> (usize, usize) {
    (col / 16 * 64 + row * 4 + col % 4, col % 16 / 4 * 2)
}

const fn place1(row: usize, col: usize) -> (usize, usize) {
    (row * 4 + col % 4, col / 4)
}

fn get(plane: &[u8], (byte, shift): (usize, usize), mask: u8) -> u16 {
    u16::from(plane[byte] >> shift & mask)
}

fn put(plane: &mut [u8], (byte, shift): (usize, usize), mask: u8, code: u16) {
    plane[byte] = plane[byte] & !(mask << shift) | (code as u8 & mask) << shift;
}

pub(super) fn get4(plane: &[u8], row: usize, col: usize) -> u16 {
    get(plane, place4(row, col), 15)
}

pub(super) fn get2(plane: &[u8], row: usize, col: usize) -> u16 {
    get(plane, place2(row, col), 3)
}

pub(super) fn get1(plane: &[u8], row: usize, col: usize) -> u16 {
    get(plane, place1(row, col), 1)
}

pub(super) fn put4(plane: &mut [u8], row: usize, col: usize, code: u16) {
    put(plane, place4(row, col), 15, code);
}

pub(super) fn put2(plane: &mut [u8], row: usize, col: usize, code: u16) {
    put(plane, place2(row, col), 3, code);
}

pub(super) fn put1(plane: &mut [u8], row: usize, col: usize, code: u16) {
    put(plane, place1(row, col), 1, code);
}

/// Every code of a group, looked up. `code` reads one.
#[inline(always)]
fn decode(code: impl Fn(usize, usize) -> u16, value: impl Fn(u16) -> i8) -> Values {
    let mut values = [0; 512];
    for col in 0..32 {
        for row in 0..16 {
            values[value_at(row, col)] = value(code(row, col)) as u8;
        }
    }
    values
}

pub(crate) fn decode2(block: &[u8; CODEBOOK2_BYTES], table: &[i8; 4]) -> Values {
    decode(|row, col| get2(block, row, col), |code| table[usize::from(code)])
}

pub(crate) fn decode4(block: &[u8; CODEBOOK4_BYTES], table: &[i8; 16]) -> Values {
    decode(|row, col| get4(block, row, col), |code| table[usize::from(code)])
}

pub(crate) fn decode5(block: &[u8; CODEBOOK5_BYTES], table: &[i8; 32]) -> Values {
    let (low, high) = block.split_at(256);
    let code = |row, col| get4(low, row, col) | get1(high, row, col) << 4;
    decode(code, |code| table[usize::from(code)])
}

pub(crate) fn decode6(block: &[u8; INT6_BYTES]) -> Values {
    let (low, high) = block.split_at(256);
    let code = |row, col| get4(low, row, col) | get2(high, row, col) << 4;
    decode(code, |code| code as i8 - 32)
}
