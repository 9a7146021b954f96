//! Planes of 8, 4, 2 and 1 bits.

use super::{
    Room, Sink, Step, Unpack, bits, down, each, high, high_below_high, high_below_low, load_step, look_up,
    look_up_wide, low, low_below_high, low_below_low, table, wide_table,
};
use crate::format::codes::planes;
use core::arch::aarch64::*;

/// 8-bit codes.
#[derive(Clone, Copy)]
pub(crate) struct Bits8;

impl Unpack for Bits8 {
    const BYTES: usize = 512;
    const ROOM: Room = Room::Much;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract (likewise below).
        unsafe {
            sink.take::<0, ROW, R>([load_step(block), load_step(block.add(64))]);
            sink.take::<1, ROW, R>([load_step(block.add(128)), load_step(block.add(192))]);
            sink.take::<2, ROW, R>([load_step(block.add(256)), load_step(block.add(320))]);
            sink.take::<3, ROW, R>([load_step(block.add(384)), load_step(block.add(448))]);
        }
    }
}

/// 2-bit codes as they are: 0 to 3.
#[derive(Clone, Copy)]
pub(crate) struct Bits2;

impl Unpack for Bits2 {
    const BYTES: usize = planes::CODEBOOK2_BYTES;
    const SMALL: bool = true;
    const ROOM: Room = Room::Some;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let codes = load_step(block);
            sink.take::<0, ROW, R>([bits(codes, 3), bits(down::<2, R>(codes), 3)]);
            sink.take::<1, ROW, R>([bits(down::<4, R>(codes), 3), down::<6, R>(codes)]);
            let codes = load_step(block.add(64));
            sink.take::<2, ROW, R>([bits(codes, 3), bits(down::<2, R>(codes), 3)]);
            sink.take::<3, ROW, R>([bits(down::<4, R>(codes), 3), down::<6, R>(codes)]);
        }
    }
}

/// 4-bit codes and their table.
#[derive(Clone, Copy)]
pub(crate) struct Bits4(uint8x16_t);

impl Bits4 {
    #[inline(always)]
    pub(crate) unsafe fn new(entries: &[i8; 16]) -> Self {
        // SAFETY: as the trait's contract.
        Self(unsafe { table(entries) })
    }
}

impl Unpack for Bits4 {
    const BYTES: usize = planes::CODEBOOK4_BYTES;
    const ROOM: Room = Room::Much;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let [a, b]: [Step<R>; 2] = [load_step(block), load_step(block.add(64))];
            sink.take::<0, ROW, R>([look_up(self.0, low(a)), look_up(self.0, low(b))]);
            sink.take::<2, ROW, R>([look_up(self.0, high(a)), look_up(self.0, high(b))]);
            let [a, b]: [Step<R>; 2] = [load_step(block.add(128)), load_step(block.add(192))];
            sink.take::<1, ROW, R>([look_up(self.0, low(a)), look_up(self.0, low(b))]);
            sink.take::<3, ROW, R>([look_up(self.0, high(a)), look_up(self.0, high(b))]);
        }
    }
}

/// 5-bit codes and their table.
#[derive(Clone, Copy)]
pub(crate) struct Bits5(uint8x16x2_t);

impl Bits5 {
    #[inline(always)]
    pub(crate) unsafe fn new(entries: &[i8; 32]) -> Self {
        // SAFETY: as the trait's contract.
        Self(unsafe { wide_table(entries) })
    }

    /// Two steps of nibbles, each with its fifth bits: those of low nibbles in bit 0, of high ones in bit 4.
    #[inline(always)]
    unsafe fn pair<const LOW: usize, const HIGH: usize, const ROW: usize, const R: usize, S: Sink>(
        self,
        codes: *const u8,
        [c, d]: [Step<R>; 2],
        sink: &mut S,
    ) {
        // SAFETY: as the trait's contract.
        unsafe {
            let [a, b] = [load_step(codes), load_step(codes.add(64))];
            sink.take::<LOW, ROW, R>([
                look_up_wide(self.0, low_below_low(a, c)),
                look_up_wide(self.0, low_below_low(b, d)),
            ]);
            sink.take::<HIGH, ROW, R>([
                look_up_wide(self.0, high_below_high(a, c)),
                look_up_wide(self.0, high_below_high(b, d)),
            ]);
        }
    }
}

impl Unpack for Bits5 {
    const BYTES: usize = planes::CODEBOOK5_BYTES;
    const ROOM: Room = Room::TooMuch;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let fifth = load_step(block.add(256));
            let [a, b] = [bits(fifth, 0x11), bits(down::<1, R>(fifth), 0x11)];
            self.pair::<0, 2, ROW, R, S>(block, [a, b], sink);
            let [a, b] = [bits(down::<2, R>(fifth), 0x11), bits(down::<3, R>(fifth), 0x11)];
            self.pair::<1, 3, ROW, R, S>(block.add(128), [a, b], sink);
        }
    }
}

/// 6-bit codes as they are: 0 to 63.
#[derive(Clone, Copy)]
pub(crate) struct Bits6;

impl Unpack for Bits6 {
    const BYTES: usize = planes::INT6_BYTES;
    const ROOM: Room = Room::TooMuch;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            // The upper bits of columns 0..16 and 16..32; each nibble has those of one step.
            let [left, right] = [load_step(block.add(256)), load_step(block.add(320))];
            let [even_left, odd_left] = [bits(left, 0x33), bits(down::<2, R>(left), 0x33)];
            let [even_right, odd_right] = [bits(right, 0x33), bits(down::<2, R>(right), 0x33)];
            let [a, b] = [load_step(block), load_step(block.add(64))];
            sink.take::<0, ROW, R>([low_below_low(a, even_left), low_below_low(b, odd_left)]);
            sink.take::<2, ROW, R>([high_below_low(a, even_right), high_below_low(b, odd_right)]);
            let [a, b] = [load_step(block.add(128)), load_step(block.add(192))];
            sink.take::<1, ROW, R>([low_below_high(a, even_left), low_below_high(b, odd_left)]);
            sink.take::<3, ROW, R>([high_below_high(a, even_right), high_below_high(b, odd_right)]);
        }
    }
}

/// Passes values on after one more step: 2-bit codes looked up, 6-bit codes made signed.
pub(crate) struct Then<'s, S, F>(pub &'s mut S, pub F);

/// What [`Then`] does to a step.
///
/// # Safety
/// As for [`Simd`](crate::arch::simd::Simd).
pub(crate) trait Map: Copy {
    unsafe fn map<const R: usize>(self, values: Step<R>) -> Step<R>;
}

/// 2-bit codes to a table's entries.
#[derive(Clone, Copy)]
pub(crate) struct LookUp2(uint8x16_t);

impl LookUp2 {
    #[inline(always)]
    pub(crate) unsafe fn new(entries: &[i8; 4]) -> Self {
        let mut all = [0; 16];
        all[..4].copy_from_slice(entries);
        // SAFETY: as the trait's contract.
        Self(unsafe { table(&all) })
    }
}

impl Map for LookUp2 {
    #[inline(always)]
    unsafe fn map<const R: usize>(self, codes: Step<R>) -> Step<R> {
        // SAFETY: as the trait's contract.
        unsafe { look_up(self.0, codes) }
    }
}

/// 6-bit codes to -32..32.
#[derive(Clone, Copy)]
pub(crate) struct Minus32;

impl Map for Minus32 {
    #[inline(always)]
    unsafe fn map<const R: usize>(self, codes: Step<R>) -> Step<R> {
        // SAFETY: as the trait's contract.
        unsafe { each!(c of codes => vsubq_u8(c, vdupq_n_u8(32))) }
    }
}

impl<S: Sink, F: Map> Sink for Then<'_, S, F> {
    #[inline(always)]
    unsafe fn take<const PAIR: usize, const ROW: usize, const R: usize>(&mut self, [a, b]: [Step<R>; 2]) {
        // SAFETY: as the trait's contract.
        unsafe { self.0.take::<PAIR, ROW, R>([self.1.map(a), self.1.map(b)]) }
    }
}
