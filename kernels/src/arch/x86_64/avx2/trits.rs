//! Dense ternary codes ([`trits`](crate::format::codes::trits)).

use super::bytes::{add, bits, broadcast, load, load_table, look_up, nibbles, store};
use super::lanes::Lanes;
use super::sums::{Multiply, Sums, restore};
use crate::arch::simd::Simd;
use crate::arch::x86_64::AHEAD;
use crate::format::codes::trits::{BYTES, COLS, TABLES};
use core::arch::x86_64::*;

// SAFETY of every block below: the caller upholds the contract of the method of `Products` that the function is for.

/// The trits `[a, b, c]` of each magnitude in one byte, `a + 4b + 16c`.
const THREE: [i8; 16] = {
    let mut three = [0; 16];
    let mut magnitude = 0;
    while magnitude < 16 {
        three[magnitude] = TABLES[0][magnitude] + 4 * TABLES[1][magnitude] + 16 * TABLES[2][magnitude];
        magnitude += 1;
    }
    three
};

/// Three codes 0, 1, 2 in two bits each, from magnitudes and, in the top bits, their signs.
#[inline(always)]
unsafe fn three_codes(magnitudes: __m256i, signs: __m256i) -> __m256i {
    // SAFETY: registers only. (`vpsignb` gives 0 where the sign byte is 0.)
    unsafe {
        let signs = _mm256_or_si256(signs, _mm256_set1_epi8(1));
        let three = _mm256_sign_epi8(look_up(load_table(&THREE), magnitudes), signs);
        add(three, 1 + 4 + 16)
    }
}

#[inline(always)]
pub(super) unsafe fn dot<M: Multiply>(codes: *const u8, blocks: usize, x: *const i8, x_sum: i32) -> [__m256i; 2] {
    // SAFETY: blocks of codes and activations are there.
    unsafe {
        let mut sums = Sums::<M>::new();
        for half in 0..2 {
            for block in 0..blocks {
                let (codes, x) = (codes.add(block * BYTES + half * 32), x.add(block * COLS));
                let mut signs = load(codes.add(256));
                // The second and third trits stay where they are in their bytes. Of weights up to 8, 16 products fit; of
                // those up to 32, 4.
                let mut fourfold = _mm256_setzero_si256();
                for magnitudes in [4..8, 0..4] {
                    let mut sixteenfold = _mm256_setzero_si256();
                    for magnitude in magnitudes.rev() {
                        if half == 0 && magnitude < 5 {
                            Lanes::<M>::prefetch(codes.wrapping_add(AHEAD + magnitude * 64));
                        }
                        let magnitudes = nibbles(load(codes.add(magnitude / 2 * 64)))[magnitude % 2];
                        let three = three_codes(magnitudes, signs);
                        signs = _mm256_add_epi8(signs, signs);
                        let x = x.add(magnitude * 12);
                        sums.add(half, bits(three, 0b00_00_11), broadcast(x));
                        fourfold = M::add(fourfold, bits(three, 0b00_11_00), broadcast(x.add(4)));
                        sixteenfold = M::add(sixteenfold, bits(three, 0b11_00_00), broadcast(x.add(8)));
                    }
                    sums.add_shifted::<4>(half, sixteenfold);
                }
                sums.add_shifted::<2>(half, fourfold);
                // 24 products of weights up to 2; 64 fit.
                sums.widen_half(half);
            }
        }
        restore(sums.finish(), -1, x_sum)
    }
}

#[inline(always)]
pub(super) unsafe fn expand(block: *const u8, to: *mut u8) {
    // SAFETY: a block, and room for three groups, are there.
    unsafe {
        for half in (0..64).step_by(32) {
            let (codes, to) = (block.add(half), to.add(half));
            let mut signs = load(codes.add(256));
            for magnitude in (0..8).rev() {
                let magnitudes = nibbles(load(codes.add(magnitude / 2 * 64)))[magnitude % 2];
                let three = three_codes(magnitudes, signs);
                signs = _mm256_add_epi8(signs, signs);
                // Columns 12 * magnitude on: steps 3 * magnitude on.
                let to = to.add(magnitude * 3 * 64);
                store(to, bits(three, 3));
                store(to.add(64), bits(_mm256_srli_epi16::<2>(three), 3));
                store(to.add(128), bits(_mm256_srli_epi16::<4>(three), 3));
            }
        }
    }
}
