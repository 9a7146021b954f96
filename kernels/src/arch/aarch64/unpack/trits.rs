//! Dense ternary codes.

use super::{
    Room, Sink, Step, Unpack, bits, down, high_below_high, high_below_low, load_step, look_up_wide, low_below_high,
    low_below_low, wide_table,
};
use crate::format::codes::trits;
use core::arch::aarch64::*;

/// Dense ternary codes. A magnitude and its sign are an index into 32 entries.
#[derive(Clone, Copy)]
pub(crate) struct Trits([uint8x16x2_t; 3]);

/// The first, second and third trit of each magnitude, then of each negative one.
static TRITS: [[i8; 32]; 3] = {
    let mut signed = [[0; 32]; 3];
    let mut i = 0;
    while i < 3 * 16 {
        let trit = trits::TABLES[i / 16][i % 16];
        signed[i / 16][i % 16] = trit;
        signed[i / 16][16 + i % 16] = -trit;
        i += 1;
    }
    signed
};

impl Trits {
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: as the trait's contract.
        unsafe { Self([wide_table(&TRITS[0]), wide_table(&TRITS[1]), wide_table(&TRITS[2])]) }
    }

    /// The six steps of a step of nibbles, from two indices into the tables.
    #[inline(always)]
    unsafe fn six<const A: usize, const B: usize, const C: usize, const ROW: usize, const R: usize, S: Sink>(
        self,
        [a, b]: [Step<R>; 2],
        sink: &mut S,
    ) {
        let [first, second, third] = self.0;
        // SAFETY: as the trait's contract.
        unsafe {
            sink.take::<A, ROW, R>([look_up_wide(first, a), look_up_wide(second, a)]);
            sink.take::<B, ROW, R>([look_up_wide(third, a), look_up_wide(first, b)]);
            sink.take::<C, ROW, R>([look_up_wide(second, b), look_up_wide(third, b)]);
        }
    }
}

impl Unpack for Trits {
    const BYTES: usize = trits::BYTES;
    const COLS: usize = trits::COLS;
    const SMALL: bool = true;
    const ROOM: Room = Room::Much;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let signs = load_step(block.add(256));
            let [even, odd] = [bits(signs, 0x11), bits(down::<1, R>(signs), 0x11)];
            let codes = load_step(block);
            self.six::<0, 1, 2, ROW, R, S>([low_below_low(codes, even), high_below_low(codes, odd)], sink);
            let codes = load_step(block.add(128));
            self.six::<6, 7, 8, ROW, R, S>([low_below_high(codes, even), high_below_high(codes, odd)], sink);
            let [even, odd] = [bits(down::<2, R>(signs), 0x11), bits(down::<3, R>(signs), 0x11)];
            let codes = load_step(block.add(64));
            self.six::<3, 4, 5, ROW, R, S>([low_below_low(codes, even), high_below_low(codes, odd)], sink);
            let codes = load_step(block.add(192));
            self.six::<9, 10, 11, ROW, R, S>([low_below_high(codes, even), high_below_high(codes, odd)], sink);
        }
    }
}
