//! Codes of 8 bits, and codes in planes of 4, 2 and 1 bits ([`planes`](crate::format::codes::planes)).

use super::bytes::{add, bits, broadcast, load, load_table, look_up, nibbles, store};
use super::lanes::Lanes;
use super::sums::{Multiply, Signed, Sums, at_once, offset, restore};
use crate::arch::products::GROUP_BYTES;
use crate::arch::simd::Simd;
use crate::arch::x86_64::AHEAD;
use crate::format::codes::planes::{CODEBOOK2_BYTES, CODEBOOK4_BYTES, CODEBOOK5_BYTES, INT6_BYTES};
use crate::format::codes::{Bounds, Table};
use core::arch::x86_64::*;

// SAFETY of every block below: the caller upholds the contract of the method of `Products` that the function is for.

/// 16 entries of a table, less the offset.
#[inline(always)]
unsafe fn entries<M: Multiply>(table: &[i8; 16], bounds: Bounds) -> __m256i {
    // SAFETY: registers only.
    unsafe { _mm256_sub_epi8(load_table(table), _mm256_set1_epi8(offset::<M>(bounds))) }
}

/// 8-bit codes, and panels for one column.
#[inline(always)]
pub(super) unsafe fn dot8<M: Multiply>(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> [__m256i; 2] {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        let offset = offset::<M>(Bounds::INT8);
        let mut sums = Sums::<M>::new();
        for step in 0..groups * 8 {
            let codes = codes.add(step * 64);
            Lanes::<M>::prefetch(codes.wrapping_add(AHEAD));
            let x = broadcast(x.add(step * 4));
            for half in 0..2 {
                let values = load(codes.add(half * 32));
                if offset == 0 {
                    sums.add_signed(half, values, x);
                } else {
                    sums.add(half, add(values, offset), x);
                }
            }
        }
        restore(sums.finish(), offset, x_sum)
    }
}

#[inline(always)]
pub(super) unsafe fn expand8<M: Multiply>(values: *const u8, to: *mut u8) {
    // SAFETY: a group of values, and room for one, are there (likewise below).
    unsafe {
        let offset = offset::<M>(Bounds::INT8);
        for at in (0..GROUP_BYTES).step_by(32) {
            store(to.add(at), add(load(values.add(at)), offset.wrapping_neg()));
        }
    }
}

/// Adds the products of planes of 2 bits, of one group or two: at most 16 of weights up to 3, of which 43 fit.
#[inline(always)]
unsafe fn add_twos<M: Multiply, const GROUPS: usize>(sums: &mut Sums<M>, codes: *const u8, x: *const i8) {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        // Bits 2 and 3 stay where they are: these sums are four times too large. Of weights up to 12, 10 products fit.
        let mut fourfold = [_mm256_setzero_si256(); 2];
        for step in 0..2 * GROUPS {
            let (codes, x) = (codes.add(step * 64), x.add(step * 16));
            Lanes::<M>::prefetch(codes.wrapping_add(AHEAD));
            let x = [
                broadcast(x),
                broadcast(x.add(4)),
                broadcast(x.add(8)),
                broadcast(x.add(12)),
            ];
            for (half, fourfold) in fourfold.iter_mut().enumerate() {
                let codes = load(codes.add(half * 32));
                let high = _mm256_srli_epi16::<4>(codes);
                sums.add(half, bits(codes, 0b0011), x[0]);
                sums.add_aside(half, bits(high, 0b0011), x[2]);
                *fourfold = M::add(*fourfold, bits(codes, 0b1100), x[1]);
                *fourfold = M::add(*fourfold, bits(high, 0b1100), x[3]);
            }
        }
        for (half, fourfold) in fourfold.into_iter().enumerate() {
            sums.add_shifted::<2>(half, fourfold);
        }
    }
}

#[inline(always)]
pub(super) unsafe fn dot2<M: Multiply>(
    codes: *const u8,
    table: &[i8; 4],
    groups: usize,
    x: *const i8,
    x_sum: i32,
) -> [__m256i; 2] {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        let mut sums = Sums::<M>::new();
        for group in (0..groups - groups % 2).step_by(2) {
            add_twos::<M, 2>(&mut sums, codes.add(group * CODEBOOK2_BYTES), x.add(group * 32));
            sums.widen();
        }
        if groups % 2 == 1 {
            let last = groups - 1;
            add_twos::<M, 1>(&mut sums, codes.add(last * CODEBOOK2_BYTES), x.add(last * 32));
        }
        // Entries rise by 1 or 2, so a product of codes is one of values, doubled or not.
        let mut sums = sums.finish();
        let doubled = _mm_cvtsi32_si128(i32::from(table[1].wrapping_sub(table[0]) == 2));
        for sum in &mut sums {
            *sum = _mm256_sll_epi32(*sum, doubled);
        }
        restore(sums, table[0], x_sum)
    }
}

#[inline(always)]
pub(super) unsafe fn expand2<M: Multiply>(codes: *const u8, table: &[i8; 4], to: *mut u8) {
    let entries = core::array::from_fn(|i| table[i % 4].wrapping_sub(offset::<M>(Bounds::of(table))));
    // SAFETY: as `expand8`.
    unsafe {
        let entries = load_table(&entries);
        for step in 0..2 {
            for half in (0..64).step_by(32) {
                let (mut codes, to) = (load(codes.add(step * 64 + half)), to.add(step * 256 + half));
                for plane in 0..4 {
                    store(to.add(plane * 64), look_up(entries, bits(codes, 3)));
                    codes = _mm256_srli_epi16::<2>(codes);
                }
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn dot4<M: Multiply>(
    codes: *const u8,
    table: &Table<16>,
    groups: usize,
    x: *const i8,
    x_sum: i32,
) -> [__m256i; 2] {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        let entries = entries::<M>(&table.entries, table.bounds);
        let sums = at_once!(M, table.bounds, |AT_ONCE| dot4_with::<M, AT_ONCE>(
            codes, entries, groups, x
        ));
        restore(sums, offset::<M>(table.bounds), x_sum)
    }
}

#[inline(always)]
unsafe fn dot4_with<M: Multiply, const AT_ONCE: usize>(
    codes: *const u8,
    entries: __m256i,
    groups: usize,
    x: *const i8,
) -> [__m256i; 2] {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        let mut sums = Sums::<M>::new();
        for group in 0..groups {
            let (codes, x) = (codes.add(group * CODEBOOK4_BYTES), x.add(group * 32));
            for step in 0..4 {
                let codes = codes.add(step * 64);
                Lanes::<M>::prefetch(codes.wrapping_add(AHEAD));
                let x = [Signed::of(x.add(step * 4)), Signed::of(x.add(step * 4 + 16))];
                for half in 0..2 {
                    for (nibbles, x) in nibbles(load(codes.add(half * 32))).into_iter().zip(x) {
                        sums.add_entries::<AT_ONCE>(half, look_up(entries, nibbles), x);
                    }
                }
                if AT_ONCE == 2 {
                    sums.widen();
                }
            }
            if AT_ONCE == 8 {
                sums.widen();
            }
        }
        sums.finish()
    }
}

#[inline(always)]
pub(super) unsafe fn expand4<M: Multiply>(codes: *const u8, table: &Table<16>, to: *mut u8) {
    // SAFETY: as `expand8`.
    unsafe {
        let entries = entries::<M>(&table.entries, table.bounds);
        for at in (0..256).step_by(32) {
            let [low, high] = nibbles(load(codes.add(at)));
            store(to.add(at), look_up(entries, low));
            store(to.add(at + 256), look_up(entries, high));
        }
    }
}

/// A table of 32 entries: those whose fifth bit is 0, then the others.
#[inline(always)]
unsafe fn entries5<M: Multiply>(table: &Table<32>) -> [__m256i; 2] {
    let (low, high) = table.entries.split_at(16);
    // SAFETY: registers only; both halves hold 16 entries.
    unsafe {
        [
            entries::<M>(&*low.as_ptr().cast(), table.bounds),
            entries::<M>(&*high.as_ptr().cast(), table.bounds),
        ]
    }
}

/// What the table has for each nibble and the top bit of `fifth`.
#[inline(always)]
unsafe fn look_up5(entries: [__m256i; 2], nibbles: __m256i, fifth: __m256i) -> __m256i {
    // SAFETY: registers only.
    unsafe { _mm256_blendv_epi8(look_up(entries[0], nibbles), look_up(entries[1], nibbles), fifth) }
}

/// Doubles each byte: its next lower bit becomes the top one.
#[inline(always)]
unsafe fn next_bit(bytes: __m256i) -> __m256i {
    // SAFETY: registers only.
    unsafe { _mm256_add_epi8(bytes, bytes) }
}

#[inline(always)]
pub(super) unsafe fn dot5<M: Multiply>(
    codes: *const u8,
    table: &Table<32>,
    groups: usize,
    x: *const i8,
    x_sum: i32,
) -> [__m256i; 2] {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        let entries = entries5::<M>(table);
        let sums = at_once!(M, table.bounds, |AT_ONCE| dot5_with::<M, AT_ONCE>(
            codes, entries, groups, x
        ));
        restore(sums, offset::<M>(table.bounds), x_sum)
    }
}

#[inline(always)]
unsafe fn dot5_with<M: Multiply, const AT_ONCE: usize>(
    codes: *const u8,
    entries: [__m256i; 2],
    groups: usize,
    x: *const i8,
) -> [__m256i; 2] {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        let mut sums = Sums::<M>::new();
        for group in 0..groups {
            let (codes, x) = (codes.add(group * CODEBOOK5_BYTES), x.add(group * 32));
            Lanes::<M>::prefetch(codes.wrapping_add(AHEAD + 256));
            // From the last step to the first, so that the fifth bits come up one after the other: column 16 of a step
            // in bits 4.., column 0 in bits 0...
            let mut high: [__m256i; 2] = [load(codes.add(256)), load(codes.add(256 + 32))];
            let mut low = high;
            for low in &mut low {
                *low = _mm256_slli_epi16::<4>(*low);
            }
            for step in (0..4).rev() {
                let codes = codes.add(step * 64);
                Lanes::<M>::prefetch(codes.wrapping_add(AHEAD));
                let x = [Signed::of(x.add(step * 4)), Signed::of(x.add(step * 4 + 16))];
                for half in 0..2 {
                    let nibbles = nibbles(load(codes.add(half * 32)));
                    sums.add_entries::<AT_ONCE>(half, look_up5(entries, nibbles[0], low[half]), x[0]);
                    sums.add_entries::<AT_ONCE>(half, look_up5(entries, nibbles[1], high[half]), x[1]);
                    low[half] = next_bit(low[half]);
                    high[half] = next_bit(high[half]);
                }
                if AT_ONCE == 2 {
                    sums.widen();
                }
            }
            if AT_ONCE == 8 {
                sums.widen();
            }
        }
        sums.finish()
    }
}

#[inline(always)]
pub(super) unsafe fn expand5<M: Multiply>(codes: *const u8, table: &Table<32>, to: *mut u8) {
    // SAFETY: as `expand8`.
    unsafe {
        let entries = entries5::<M>(table);
        for half in (0..64).step_by(32) {
            let mut high = load(codes.add(256 + half));
            let mut low = _mm256_slli_epi16::<4>(high);
            for at in (0..4).rev().map(|step| step * 64 + half) {
                let nibbles = nibbles(load(codes.add(at)));
                store(to.add(at), look_up5(entries, nibbles[0], low));
                store(to.add(at + 256), look_up5(entries, nibbles[1], high));
                (low, high) = (next_bit(low), next_bit(high));
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn dot6<M: Multiply>(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> [__m256i; 2] {
    // SAFETY: groups of codes and activations are there.
    unsafe {
        let (mut low, mut high) = (Sums::<M>::new(), Sums::<M>::new());
        for group in 0..groups {
            let (codes, x) = (codes.add(group * INT6_BYTES), x.add(group * 32));
            for step in 0..4 {
                let codes = codes.add(step * 64);
                Lanes::<M>::prefetch(codes.wrapping_add(AHEAD));
                let x = [broadcast(x.add(step * 4)), broadcast(x.add(step * 4 + 16))];
                for half in 0..2 {
                    for (nibbles, x) in nibbles(load(codes.add(half * 32))).into_iter().zip(x) {
                        low.add(half, nibbles, x);
                    }
                }
            }
            low.widen();
            add_twos::<M, 1>(&mut high, codes.add(256), x);
            high.widen();
        }
        let mut sums = low.finish();
        for (sum, high) in sums.iter_mut().zip(high.finish()) {
            *sum = _mm256_add_epi32(*sum, _mm256_slli_epi32::<4>(high));
        }
        restore(sums, Bounds::INT6.least, x_sum)
    }
}

#[inline(always)]
pub(super) unsafe fn expand6(codes: *const u8, to: *mut u8) {
    // SAFETY: as `expand8`.
    unsafe {
        for half in (0..64).step_by(32) {
            for (i, to) in [to, to.add(256)].into_iter().enumerate() {
                // The upper two bits of 16 columns, those of each step in turn where they belong.
                let high = load(codes.add(256 + i * 64 + half));
                let high = [
                    _mm256_slli_epi16::<4>(high),
                    _mm256_slli_epi16::<2>(high),
                    high,
                    _mm256_srli_epi16::<2>(high),
                ];
                for (step, high) in high.into_iter().enumerate() {
                    let low = nibbles(load(codes.add(step * 64 + half)))[i];
                    store(to.add(step * 64 + half), _mm256_or_si256(low, bits(high, 0x30)));
                }
            }
        }
    }
}
