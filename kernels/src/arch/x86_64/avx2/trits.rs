//! Dense ternary codes ([`trits`](crate::format::codes::trits)).

use super::bytes::{add, bits, broadcast, load, load_table, look_up, nibbles, store};
use super::lanes::Lanes;
use super::sums::{Multiply, Sums, restore};
use crate::arch::products::AHEAD;
use crate::arch::simd::Simd;
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
        // Of the first trits, the second ones four times, and the third ones 16 times.
        let mut sums = [Sums::<M>::new(); 3];
        for half in 0..2 {
            for block in 0..blocks {
                let (codes, x) = (codes.add(block * BYTES + half * 32), x.add(block * COLS));
                let mut signs = load(codes.add(256));
                for magnitude in (0..8).rev() {
                    if half == 0 && magnitude < 5 {
                        Lanes::<M>::prefetch(codes.wrapping_add(AHEAD + magnitude * 64));
                    }
                    let magnitudes = nibbles(load(codes.add(magnitude / 2 * 64)))[magnitude % 2];
                    let three = three_codes(magnitudes, signs);
                    signs = _mm256_add_epi8(signs, signs);
                    let x = x.add(magnitude * 12);
                    sums[0].add(half, bits(three, 0b00_00_11), broadcast(x));
                    sums[1].add(half, bits(three, 0b00_11_00), broadcast(x.add(4)));
                    sums[2].add(half, bits(three, 0b11_00_00), broadcast(x.add(8)));
                    // Of weights up to 32, 4 products fit; of those up to 8, 16; and of those up to 2, 64, which are
                    // more than a call has.
                    if magnitude % 4 == 0 {
                        sums[2].widen_half(half);
                    }
                }
                sums[1].widen_half(half);
            }
        }
        let [mut once, fourfold, sixteenfold] = [sums[0].finish(), sums[1].finish(), sums[2].finish()];
        for half in 0..2 {
            let fourfold = _mm256_srai_epi32::<2>(fourfold[half]);
            let sixteenfold = _mm256_srai_epi32::<4>(sixteenfold[half]);
            once[half] = _mm256_add_epi32(once[half], _mm256_add_epi32(fourfold, sixteenfold));
        }
        restore(once, -1, x_sum)
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
