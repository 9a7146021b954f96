//! Powers of i ([`phase`](crate::format::codes::phase)).

use super::bytes::{add, broadcast, load, load_table, look_up, nibbles, store};
use super::lanes::Lanes;
use super::sums::{Multiply, Sums, offset, restore};
use crate::arch::simd::Simd;
use crate::arch::x86_64::AHEAD;
use crate::format::codes::Bounds;
use crate::format::codes::phase::{AXIS_BYTES, IM2, PHASE_BYTES, RE2, im, pair_value, re};
use crate::format::codes::planes::CODEBOOK2_BYTES;
use core::arch::x86_64::*;

// SAFETY of every block below: the caller upholds the contract of the method of `Products` that the function is for.

/// For two codes in a nibble: the real and the imaginary part of the first, then of the second, plus 1.
const PARTS: [[i8; 16]; 4] = {
    let mut parts = [[0; 16]; 4];
    let mut codes = 0;
    while codes < 16 {
        let (first, second) = (codes as u16, codes as u16 >> 2);
        parts[0][codes] = re(first) + 1;
        parts[1][codes] = im(first) + 1;
        parts[2][codes] = re(second) + 1;
        parts[3][codes] = im(second) + 1;
        codes += 1;
    }
    parts
};

/// The weights of a block of two rows and two columns, row by row, for each code of one stage: less the least that they
/// can be.
const ONE_STAGE: [[i8; 16]; 4] = {
    let mut weights = [[0; 16]; 4];
    let mut i = 0;
    while i < 4 * 16 {
        weights[i / 16][i % 16] = pair_value(i as u16 % 16, 1, i / 32, i / 16 % 2) - Bounds::ONE_STAGE.least;
        i += 1;
    }
    weights
};

/// Parts of the numbers of two stages, less the least that a weight can be.
const fn biased(mut parts: [i8; 16]) -> [i8; 16] {
    let mut i = 0;
    while i < 16 {
        parts[i] -= Bounds::TWO_STAGES.least;
        i += 1;
    }
    parts
}

const BIASED_RE2: [i8; 16] = biased(RE2);
const BIASED_IM2: [i8; 16] = biased(IM2);

/// The entries of four tables for each index.
#[inline(always)]
unsafe fn look_up_all(tables: &[[i8; 16]; 4], indices: __m256i) -> [__m256i; 4] {
    // SAFETY: registers only.
    unsafe {
        let [a, b, c, d] = tables;
        [
            look_up(load_table(a), indices),
            look_up(load_table(b), indices),
            look_up(load_table(c), indices),
            look_up(load_table(d), indices),
        ]
    }
}

/// The weights of pairs of rows and columns, row by row, less the least that they can be: for one stage those of the
/// low nibbles, then those of the high ones; for two stages the same ones twice.
#[inline(always)]
unsafe fn blocks<const STAGES: usize>(codes: __m256i) -> [[__m256i; 4]; 2] {
    // SAFETY: registers only.
    unsafe {
        let [low, high] = nibbles(codes);
        if STAGES == 1 {
            return [look_up_all(&ONE_STAGE, low), look_up_all(&ONE_STAGE, high)];
        }
        let (u, w) = (low, high);
        let (u_re, w_re) = (look_up(load_table(&BIASED_RE2), u), look_up(load_table(&RE2), w));
        let (u_im, w_im) = (look_up(load_table(&IM2), u), look_up(load_table(&BIASED_IM2), w));
        let weights = [
            _mm256_add_epi8(u_re, w_re),
            _mm256_sub_epi8(w_im, u_im),
            _mm256_add_epi8(w_im, u_im),
            _mm256_sub_epi8(u_re, w_re),
        ];
        [weights; 2]
    }
}

/// The upper 16 rows, and the lower ones.
#[inline(always)]
pub(super) unsafe fn dot_pair<M: Multiply, const STAGES: usize>(
    codes: *const u8,
    groups: usize,
    x: *const i8,
    x_sum: i32,
) -> [[__m256i; 2]; 2] {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        let (mut upper, mut lower) = (Sums::<M>::new(), Sums::<M>::new());
        for group in 0..groups {
            let (codes, x) = (codes.add(group * 128 * STAGES), x.add(group * 32));
            for step in 0..2 * STAGES {
                let codes = codes.add(step * 64);
                Lanes::<M>::prefetch(codes.wrapping_add(AHEAD));
                for half in 0..2 {
                    let weights = blocks::<STAGES>(load(codes.add(half * 32)));
                    // A step has 8 pairs of columns, or 4.
                    for (i, [a, b, c, d]) in weights.into_iter().take(3 - STAGES).enumerate() {
                        let x = x.add(step * 8 / STAGES + i * 4);
                        let x = [broadcast(x), broadcast(x.add(16))];
                        upper.add(half, a, x[0]);
                        lower.add(half, c, x[0]);
                        upper.add_aside(half, b, x[1]);
                        lower.add_aside(half, d, x[1]);
                    }
                }
            }
            // 8 products of weights up to 4 or 12; 32 or 10 fit.
            if STAGES == 2 || group % 4 == 3 {
                upper.widen();
                lower.widen();
            }
        }
        let least = Bounds::pairs(STAGES as u8).least;
        [
            restore(upper.finish(), least, x_sum),
            restore(lower.finish(), least, x_sum),
        ]
    }
}

#[inline(always)]
pub(super) unsafe fn expand_pair<const STAGES: usize>(codes: *const u8, upper: *mut u8, lower: *mut u8) {
    // SAFETY: a block, and room for a group of each, are there.
    unsafe {
        for at in (0..128 * STAGES).step_by(32) {
            let (step, half) = (at / 64, at % 64);
            let weights = blocks::<STAGES>(load(codes.add(at)));
            for (i, [a, b, c, d]) in weights.into_iter().take(3 - STAGES).enumerate() {
                let at = (step * 2 / STAGES + i) * 64 + half;
                store(upper.add(at), a);
                store(upper.add(at + 256), b);
                store(lower.add(at), c);
                store(lower.add(at + 256), d);
            }
        }
    }
}

/// For 8 rows and 4 pairs of columns, all ones where the magnitude is the second column's.
#[inline(always)]
unsafe fn is_second(codes: *const u8, step: usize, half: usize) -> __m256i {
    // SAFETY: 32 bits are there.
    unsafe {
        let bits = _mm256_set1_epi32(codes.add(256 + step * 8 + half * 4).cast::<i32>().read_unaligned());
        // Each byte eight times, and one bit of it each time.
        let (low, high) = (0, 0x0101_0101_0101_0101);
        let spread = _mm256_setr_epi64x(low, high, 2 * high, 3 * high);
        let one_bit = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
        let bits = _mm256_and_si256(_mm256_shuffle_epi8(bits, spread), one_bit);
        _mm256_cmpeq_epi8(bits, one_bit)
    }
}

#[inline(always)]
pub(super) unsafe fn dot_axis<M: Multiply>(codes: *const u8, groups: usize, x: *const i8) -> [__m256i; 2] {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        let mut sums = Sums::<M>::new();
        for group in 0..groups {
            let (codes, x) = (codes.add(group * AXIS_BYTES), x.add(group * 32));
            Lanes::<M>::prefetch(codes.wrapping_add(AHEAD + 256));
            for step in 0..4 {
                Lanes::<M>::prefetch(codes.wrapping_add(AHEAD + step * 64));
                let (first, second) = (broadcast(x.add(step * 4)), broadcast(x.add(16 + step * 4)));
                for half in 0..2 {
                    // Not the weight is put in one of two columns: its column's activation is taken.
                    let x = _mm256_blendv_epi8(first, second, is_second(codes, step, half));
                    sums.add_signed(half, load(codes.add(step * 64 + half * 32)), x);
                }
            }
        }
        sums.finish()
    }
}

#[inline(always)]
pub(super) unsafe fn expand_axis<M: Multiply>(codes: *const u8, to: *mut u8) {
    // SAFETY: a group of codes, and room for one of values, are there (likewise below).
    unsafe {
        let lacking = offset::<M>(Bounds::INT8).wrapping_neg();
        for at in (0..256).step_by(32) {
            let (step, half) = (at / 64, at % 64 / 32);
            let (values, is_second) = (load(codes.add(at)), is_second(codes, step, half));
            store(to.add(at), add(_mm256_andnot_si256(is_second, values), lacking));
            store(to.add(at + 256), add(_mm256_and_si256(is_second, values), lacking));
        }
    }
}

#[inline(always)]
pub(super) unsafe fn dot_phases<M: Multiply>(
    codes: *const u8,
    groups: usize,
    x: *const i8,
    x_sum: i32,
) -> [__m256i; 2] {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        // Of first and of second columns: additions that need not wait for each other.
        let (mut first, mut second) = (Sums::<M>::new(), Sums::<M>::new());
        for group in 0..groups {
            let (codes, x) = (codes.add(group * PHASE_BYTES), x.add(group * 32));
            Lanes::<M>::prefetch(codes.wrapping_add(AHEAD));
            for half in 0..2 {
                for (i, codes) in nibbles(load(codes.add(half * 32))).into_iter().enumerate() {
                    let (x, [a, b, c, d]) = (x.add(i * 8), look_up_all(&PARTS, codes));
                    first.add(half, a, broadcast(x));
                    second.add(half, b, broadcast(x.add(16)));
                    first.add(half, c, broadcast(x.add(4)));
                    second.add(half, d, broadcast(x.add(20)));
                }
            }
            // 4 products of weights up to 2; 64 fit, as many as a call has.
        }
        let mut sums = first.finish();
        for (sum, second) in sums.iter_mut().zip(second.finish()) {
            *sum = _mm256_add_epi32(*sum, second);
        }
        restore(sums, -1, x_sum)
    }
}

#[inline(always)]
pub(super) unsafe fn expand_phases(codes: *const u8, to: *mut u8) {
    // SAFETY: as `expand_axis`.
    unsafe {
        for half in (0..64).step_by(32) {
            for (i, codes) in nibbles(load(codes.add(half))).into_iter().enumerate() {
                let (to, [a, b, c, d]) = (to.add(i * 128 + half), look_up_all(&PARTS, codes));
                store(to, a);
                store(to.add(256), b);
                store(to.add(64), c);
                store(to.add(64 + 256), d);
            }
        }
    }
}

/// `a·re`, `b·im`, `b·re`, `a·im`.
#[inline(always)]
pub(super) unsafe fn dot_complex<M: Multiply>(
    codes: *const u8,
    groups: usize,
    re: *const i8,
    im: *const i8,
    x_sums: [i32; 2],
) -> [[__m256i; 2]; 4] {
    // SAFETY: groups of codes, and of real and imaginary parts, are there.
    unsafe {
        let mut sums = [Sums::<M>::new(); 4];
        for group in 0..groups {
            let codes = codes.add(group * CODEBOOK2_BYTES);
            for step in 0..2 {
                let codes = codes.add(step * 64);
                Lanes::<M>::prefetch(codes.wrapping_add(AHEAD));
                for half in 0..2 {
                    for (i, codes) in nibbles(load(codes.add(half * 32))).into_iter().enumerate() {
                        let [a, b, c, d] = look_up_all(&PARTS, codes);
                        for (plane, (a, b)) in [(a, b), (c, d)].into_iter().enumerate() {
                            let col = group * 32 + step * 16 + i * 8 + plane * 4;
                            let (re, im) = (broadcast(re.add(col)), broadcast(im.add(col)));
                            sums[0].add(half, a, re);
                            sums[1].add(half, b, im);
                            sums[2].add(half, b, re);
                            sums[3].add(half, a, im);
                        }
                    }
                }
            }
            // 8 products of weights up to 2; 64 fit.
            if group % 8 == 7 {
                for sums in &mut sums {
                    sums.widen();
                }
            }
        }
        let [a_re, b_im, b_re, a_im] = sums;
        let [re, im] = x_sums;
        [
            restore(a_re.finish(), -1, re),
            restore(b_im.finish(), -1, im),
            restore(b_re.finish(), -1, re),
            restore(a_im.finish(), -1, im),
        ]
    }
}

#[inline(always)]
pub(super) unsafe fn expand_complex(codes: *const u8, re: *mut u8, im: *mut u8) {
    // SAFETY: a block, and room for a group of each, are there.
    unsafe {
        for at in (0..128).step_by(32) {
            let (step, half) = (at / 64, at % 64);
            for (i, codes) in nibbles(load(codes.add(at))).into_iter().enumerate() {
                let (to, [a, b, c, d]) = (step * 256 + i * 128 + half, look_up_all(&PARTS, codes));
                store(re.add(to), a);
                store(im.add(to), b);
                store(re.add(to + 64), c);
                store(im.add(to + 64), d);
            }
        }
    }
}
