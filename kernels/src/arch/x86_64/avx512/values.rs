//! What codes stand for: groups of values as unsigned bytes, 128 more than they are, a register a step.

use crate::format::codes::{phase, trits};
use core::arch::x86_64::*;

/// A group: step `s` is columns `4 * s..4 * s + 4` of 16 rows.
pub(super) type Group = [__m512i; 8];

/// What is added to values. Flipping the top bit of a byte adds it, and subtracts it too.
const BIAS: i8 = i8::MIN;

/// 64 bytes.
///
/// # Safety
/// They are there.
#[inline(always)]
pub(super) unsafe fn load(from: *const u8) -> __m512i {
    // SAFETY: as this function's contract, and that of `Simd`.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// Sixteen bytes, in each 128-bit lane.
#[inline(always)]
unsafe fn in_lanes(bytes: &[i8; 16]) -> __m512i {
    // SAFETY: the caller upholds the contract of `Simd` (likewise below); the reference holds 16 bytes.
    unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(bytes.as_ptr().cast())) }
}

/// Values plus 128.
#[inline(always)]
unsafe fn bias(values: __m512i) -> __m512i {
    // SAFETY: as `in_lanes`.
    unsafe { _mm512_xor_si512(values, _mm512_set1_epi8(BIAS)) }
}

/// The low and the high nibbles.
#[inline(always)]
unsafe fn nibbles(codes: __m512i) -> [__m512i; 2] {
    // SAFETY: as `in_lanes`.
    unsafe {
        let mask = _mm512_set1_epi8(15);
        [
            _mm512_and_si512(codes, mask),
            _mm512_and_si512(_mm512_srli_epi16::<4>(codes), mask),
        ]
    }
}

/// The table's entry for each nibble.
#[inline(always)]
unsafe fn look_up(table: __m512i, nibbles: __m512i) -> __m512i {
    // SAFETY: as `in_lanes`.
    unsafe { _mm512_shuffle_epi8(table, nibbles) }
}

/// The low nibbles of `codes` below the other bits of `high`.
#[inline(always)]
unsafe fn join(codes: __m512i, high: __m512i) -> __m512i {
    /// `mask ? codes : high`.
    const CHOOSE: i32 = 0b1100_1010;
    // SAFETY: as `in_lanes`.
    unsafe { _mm512_ternarylogic_epi32::<CHOOSE>(_mm512_set1_epi8(15), codes, high) }
}

/// Bits `2 * i` and `2 * i + 1` of each byte moved to bits 4 and 5, for each `i`; other bits are anything.
#[inline(always)]
unsafe fn to_bit_4(plane: __m512i) -> [__m512i; 4] {
    // SAFETY: as `in_lanes`.
    unsafe {
        [
            _mm512_slli_epi16::<4>(plane),
            _mm512_slli_epi16::<2>(plane),
            plane,
            _mm512_srli_epi16::<2>(plane),
        ]
    }
}

/// 8-bit codes.
///
/// # Safety
/// A group of codes is there (likewise below).
#[inline(always)]
pub(super) unsafe fn of8(codes: *const u8) -> Group {
    // SAFETY: as this function's contract (likewise below).
    unsafe {
        let mut values = [_mm512_setzero_si512(); 8];
        for (step, values) in values.iter_mut().enumerate() {
            *values = bias(load(codes.add(step * 64)));
        }
        values
    }
}

/// The table for nibbles that hold two codes: the entry of the low one, and of the high one.
#[inline(always)]
unsafe fn of_both(table: &[i8; 4]) -> [__m512i; 2] {
    // SAFETY: as `in_lanes`.
    unsafe {
        let low = bias(_mm512_set1_epi32(i32::from_le_bytes(table.map(|entry| entry as u8))));
        let high = in_lanes(&[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
        [low, _mm512_shuffle_epi8(low, high)]
    }
}

/// The four values of each byte of 2-bit codes.
#[inline(always)]
unsafe fn planes2(codes: __m512i, tables: [__m512i; 2]) -> [__m512i; 4] {
    // SAFETY: as `in_lanes`.
    unsafe {
        let [low, high] = nibbles(codes);
        [
            look_up(tables[0], low),
            look_up(tables[1], low),
            look_up(tables[0], high),
            look_up(tables[1], high),
        ]
    }
}

/// 2-bit codes.
#[inline(always)]
pub(super) unsafe fn of2(codes: *const u8, table: &[i8; 4]) -> Group {
    // SAFETY: as `of8`.
    unsafe {
        let tables = of_both(table);
        let [a, b, c, d] = planes2(load(codes), tables);
        let [e, f, g, h] = planes2(load(codes.add(64)), tables);
        [a, b, c, d, e, f, g, h]
    }
}

/// 4-bit codes.
#[inline(always)]
pub(super) unsafe fn of4(codes: *const u8, table: &[i8; 16]) -> Group {
    // SAFETY: as `of8`.
    unsafe {
        let table = bias(in_lanes(table));
        let mut values = [_mm512_setzero_si512(); 8];
        for step in 0..4 {
            let [low, high] = nibbles(load(codes.add(step * 64)));
            values[step] = look_up(table, low);
            values[step + 4] = look_up(table, high);
        }
        values
    }
}

/// Two forms of a table of 32 entries: for indices in bits 0-4 and for indices in bits 0-3 and 5. The sixth bit of each
/// may be anything.
#[inline(always)]
unsafe fn for_bits_4_and_5(table: &[i8; 32]) -> [__m512i; 2] {
    // SAFETY: as `in_lanes`; the reference holds 32 bytes.
    unsafe {
        let table = bias(_mm512_broadcast_i64x4(_mm256_loadu_si256(table.as_ptr().cast())));
        [table, _mm512_shuffle_i64x2::<0b01_01_00_00>(table, table)]
    }
}

/// 5-bit codes.
#[inline(always)]
pub(super) unsafe fn of5<const VBMI: bool>(codes: *const u8, table: &[i8; 32]) -> Group {
    // SAFETY: as `of8`.
    unsafe {
        let plane = load(codes.add(256));
        let mut values = [_mm512_setzero_si512(); 8];
        if VBMI {
            let tables = for_bits_4_and_5(table);
            // The fifth bits of steps 0 and 1, 2 and 3, 4 and 5, 6 and 7.
            let fifths = to_bit_4(plane);
            for step in 0..4 {
                let codes = load(codes.add(step * 64));
                let low = join(codes, fifths[step / 2]);
                let high = join(_mm512_srli_epi16::<4>(codes), fifths[2 + step / 2]);
                values[step] = _mm512_permutexvar_epi8(low, tables[step % 2]);
                values[step + 4] = _mm512_permutexvar_epi8(high, tables[step % 2]);
            }
        } else {
            let (first, second) = table.split_at(16);
            let first = bias(_mm512_broadcast_i32x4(_mm_loadu_si128(first.as_ptr().cast())));
            let second = bias(_mm512_broadcast_i32x4(_mm_loadu_si128(second.as_ptr().cast())));
            for step in 0..4 {
                for (half, codes) in nibbles(load(codes.add(step * 64))).into_iter().enumerate() {
                    let step = step + 4 * half;
                    let fifth = _mm512_test_epi8_mask(plane, _mm512_set1_epi8((1u8 << step) as i8));
                    values[step] = _mm512_mask_shuffle_epi8(look_up(first, codes), fifth, second, codes);
                }
            }
        }
        values
    }
}

/// 6-bit codes.
#[inline(always)]
pub(super) unsafe fn of6(codes: *const u8) -> Group {
    // SAFETY: as `of8`.
    unsafe {
        let fifths = [to_bit_4(load(codes.add(256))), to_bit_4(load(codes.add(320)))];
        let mut values = [_mm512_setzero_si512(); 8];
        for step in 0..4 {
            let codes = load(codes.add(step * 64));
            values[step] = join(codes, fifths[0][step]);
            values[step + 4] = join(_mm512_srli_epi16::<4>(codes), fifths[1][step]);
        }
        for values in &mut values {
            let codes = _mm512_and_si512(*values, _mm512_set1_epi8(63));
            *values = _mm512_add_epi8(codes, _mm512_set1_epi8(BIAS.wrapping_sub(32)));
        }
        values
    }
}

/// Each trit of a number, whose fifth bit is the sign.
const SIGNED_TRITS: [[i8; 32]; 3] = {
    let mut tables = [[0; 32]; 3];
    let mut i = 0;
    while i < 48 {
        let trit = trits::TABLES[i / 16][i % 16];
        tables[i / 16][i % 16] = trit;
        tables[i / 16][i % 16 + 16] = -trit;
        i += 1;
    }
    tables
};

/// A block of trits: three groups.
#[inline(always)]
pub(super) unsafe fn of_trits<const VBMI: bool>(block: *const u8) -> [__m512i; 24] {
    // SAFETY: as `of8`.
    unsafe {
        let signs = load(block.add(256));
        let mut values = [_mm512_setzero_si512(); 24];
        if VBMI {
            let to_bit_4 = to_bit_4(signs);
            for line in 0..4 {
                let codes = load(block.add(line * 64));
                let low = join(codes, to_bit_4[line]);
                let high = join(_mm512_srli_epi16::<4>(codes), to_bit_4[line]);
                for (which, table) in SIGNED_TRITS.iter().enumerate() {
                    let tables = for_bits_4_and_5(table);
                    values[6 * line + which] = _mm512_permutexvar_epi8(low, tables[0]);
                    values[6 * line + 3 + which] = _mm512_permutexvar_epi8(high, tables[1]);
                }
            }
        } else {
            for line in 0..4 {
                for (half, codes) in nibbles(load(block.add(line * 64))).into_iter().enumerate() {
                    let half = 2 * line + half;
                    let negative = _mm512_test_epi8_mask(signs, _mm512_set1_epi8((1u8 << half) as i8));
                    for (which, table) in trits::TABLES.iter().enumerate() {
                        let trits = look_up(bias(in_lanes(table)), codes);
                        // 128 + t becomes 128 - t, modulo 256.
                        values[3 * half + which] = _mm512_mask_sub_epi8(trits, negative, _mm512_setzero_si512(), trits);
                    }
                }
            }
        }
        values
    }
}

/// Numbers on an axis, with their magnitudes.
#[inline(always)]
pub(super) unsafe fn of_axis(codes: *const u8) -> Group {
    // SAFETY: as `of8`.
    unsafe {
        let (zero, mut values) = (_mm512_set1_epi8(BIAS), [_mm512_setzero_si512(); 8]);
        for step in 0..4 {
            let numbers = bias(load(codes.add(step * 64)));
            let second = codes.add(256 + step * 8).cast::<u64>().read_unaligned();
            values[step] = _mm512_mask_mov_epi8(numbers, second, zero);
            values[step + 4] = _mm512_mask_mov_epi8(zero, second, numbers);
        }
        values
    }
}

/// Real and imaginary parts of powers of i.
const RE: [i8; 4] = [phase::re(0), phase::re(1), phase::re(2), phase::re(3)];
const IM: [i8; 4] = [phase::im(0), phase::im(1), phase::im(2), phase::im(3)];

/// Powers of i, each two columns.
#[inline(always)]
pub(super) unsafe fn of_phases(codes: *const u8) -> Group {
    // SAFETY: as `of8`.
    unsafe {
        let codes = load(codes);
        let ([a, b, c, d], [e, f, g, h]) = (planes2(codes, of_both(&RE)), planes2(codes, of_both(&IM)));
        [a, b, c, d, e, f, g, h]
    }
}

/// Native complex codes: their real and their imaginary parts.
#[inline(always)]
pub(super) unsafe fn of_complex(codes: *const u8) -> [Group; 2] {
    // SAFETY: as `of8`.
    unsafe { [of2(codes, &RE), of2(codes, &IM)] }
}

/// The four weights of each nibble of the only stage, by row and column.
const ONE_STAGE: [[[i8; 16]; 2]; 2] = {
    let mut tables = [[[0; 16]; 2]; 2];
    let mut i = 0;
    while i < 64 {
        let (code, row, col) = (i / 4, i / 2 % 2, i % 2);
        tables[row][col][code] = phase::pair_value(code as u16, 1, row, col);
        i += 1;
    }
    tables
};

/// Phase pairs: the upper and the lower 16 rows.
#[inline(always)]
pub(super) unsafe fn of_pairs<const STAGES: usize>(codes: *const u8) -> [Group; 2] {
    // SAFETY: as `of8`.
    unsafe {
        let mut values = [[_mm512_setzero_si512(); 8]; 2];
        for line in 0..2 * STAGES {
            let [low, high] = nibbles(load(codes.add(line * 64)));
            if STAGES == 1 {
                for (values, tables) in values.iter_mut().zip(&ONE_STAGE) {
                    for (values, table) in values.chunks_exact_mut(4).zip(tables) {
                        let table = bias(in_lanes(table));
                        values[2 * line] = look_up(table, low);
                        values[2 * line + 1] = look_up(table, high);
                    }
                }
            } else {
                let (re, im) = (in_lanes(&phase::RE2), in_lanes(&phase::IM2));
                let (u_re, w_re) = (look_up(bias(re), low), look_up(re, high));
                let (u_im, w_im) = (look_up(im, low), look_up(bias(im), high));
                values[0][line] = _mm512_add_epi8(u_re, w_re);
                values[0][4 + line] = _mm512_sub_epi8(w_im, u_im);
                values[1][line] = _mm512_add_epi8(w_im, u_im);
                values[1][4 + line] = _mm512_sub_epi8(u_re, w_re);
            }
        }
        values
    }
}
