//! How codes become values, in registers: a type a format.
//!
//! Values leave in *pairs of steps*, 16 rows by 8 columns, to a [`Sink`] that multiplies them with activations or
//! writes a panel. Which columns share a byte (see [`format::codes`](crate::format::codes)) makes pairs the natural
//! unit: two nibbles of a byte, or two neighbouring bytes, are two steps.

mod phase;
mod planes;
mod trits;

pub(super) use phase::{Axis, Pairs1, Pairs2, Powers};
pub(super) use planes::{Bits2, Bits4, Bits5, Bits6, Bits8, LookUp2, Minus32, Then};
pub(super) use trits::Trits;

use core::arch::aarch64::*;

/// 4 columns of `R` times 4 rows, a register each.
pub(super) type Step<const R: usize> = [uint8x16_t; R];

/// How many registers a format takes to unpack 16 rows at a time, or a sink leaves.
#[derive(Clone, Copy)]
pub(super) enum Room {
    Little,
    Some,
    Much,
    /// No sink leaves so many.
    TooMuch,
}

/// Where values go.
///
/// # Safety
/// As for [`Simd`](crate::arch::simd::Simd).
pub(super) trait Sink {
    /// The registers that it leaves.
    const ROOM: Room = Room::Much;

    /// Takes columns `8 * PAIR..8 * PAIR + 8` of rows from `4 * ROW` on.
    unsafe fn take<const PAIR: usize, const ROW: usize, const R: usize>(&mut self, values: [Step<R>; 2]);
}

/// Takes nothing: for kernels that want one of a format's two parts.
pub(super) struct Nothing;

impl Sink for Nothing {
    #[inline(always)]
    unsafe fn take<const PAIR: usize, const ROW: usize, const R: usize>(&mut self, _values: [Step<R>; 2]) {}
}

/// A format: how a block of its codes becomes values.
///
/// # Safety
/// As for [`Simd`](crate::arch::simd::Simd); `block` is one of this format.
pub(super) trait Unpack: Copy {
    /// Of a block.
    const BYTES: usize;
    /// Columns of a block.
    const COLS: usize = 32;
    /// Whether 16 bits hold the sum of a row's products in a block: values are at most 8 away from zero.
    const SMALL: bool = false;
    /// The registers that 16 rows at a time take.
    const ROOM: Room;

    /// Unpacks `R` times 4 rows from `4 * ROW` on, whose part of the first step begins at `block`.
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S);

    /// Unpacks 16 rows at once where the registers allow it, which makes more independent work, else 8 and 8.
    #[inline(always)]
    unsafe fn unpack<S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            if Self::ROOM as u8 <= S::ROOM as u8 {
                self.rows::<0, 4, S>(block, sink);
            } else {
                self.rows::<0, 2, S>(block, sink);
                self.rows::<2, 2, S>(block.add(32), sink);
            }
        }
    }
}

/// A format that gives two values for each place: those of two rows, or of the two parts of a complex number.
///
/// # Safety
/// As for [`Unpack`].
pub(super) trait UnpackTwo: Copy {
    /// Of a block.
    const BYTES: usize;
    /// The registers that 16 rows at a time take if only one of the values is wanted.
    const ROOM: Room;

    /// As [`Unpack::rows`].
    unsafe fn rows<const ROW: usize, const R: usize, A: Sink, B: Sink>(
        self,
        block: *const u8,
        first: &mut A,
        second: &mut B,
    );

    /// 8 rows at a time, as two values take registers twice.
    #[inline(always)]
    unsafe fn unpack<A: Sink, B: Sink>(self, block: *const u8, first: &mut A, second: &mut B) {
        // SAFETY: as the trait's contract.
        unsafe {
            self.rows::<0, 2, A, B>(block, first, second);
            self.rows::<2, 2, A, B>(block.add(32), first, second);
        }
    }
}

/// Applies an expression to each register of a step. (A closure would not be compiled for NEON.)
macro_rules! each {
    ($a:ident of $x:expr => $f:expr) => {{
        let mut step = $x;
        for value in &mut step {
            let $a = *value;
            *value = $f;
        }
        step
    }};
    ($a:ident of $x:expr, $b:ident of $y:expr => $f:expr) => {{
        let mut step = $x;
        for (value, $b) in step.iter_mut().zip($y) {
            let $a = *value;
            *value = $f;
        }
        step
    }};
}

/// The bytes of a step.
///
/// # Safety
/// They are there.
#[inline(always)]
pub(super) unsafe fn load_step<const R: usize>(from: *const u8) -> Step<R> {
    // SAFETY: as this function's contract.
    unsafe {
        let mut step = [vdupq_n_u8(0); R];
        for (i, rows) in step.iter_mut().enumerate() {
            *rows = vld1q_u8(from.add(i * 16));
        }
        step
    }
}

/// A table of 16 bytes.
#[inline(always)]
unsafe fn table(entries: &[i8; 16]) -> uint8x16_t {
    // SAFETY: 16 bytes are there.
    unsafe { vld1q_u8(entries.as_ptr().cast()) }
}

/// A table of 32 bytes.
#[inline(always)]
unsafe fn wide_table(entries: &[i8; 32]) -> uint8x16x2_t {
    let entries = entries.as_ptr().cast();
    // SAFETY: 32 bytes are there.
    unsafe { uint8x16x2_t(vld1q_u8(entries), vld1q_u8(entries.add(16))) }
}

#[inline(always)]
unsafe fn look_up<const R: usize>(table: uint8x16_t, codes: Step<R>) -> Step<R> {
    // SAFETY: the caller upholds the trait's contract (likewise below).
    unsafe { each!(c of codes => vqtbl1q_u8(table, c)) }
}

/// The same codes in two tables.
#[inline(always)]
unsafe fn look_up_both<const R: usize>([a, b]: [uint8x16_t; 2], codes: Step<R>) -> [Step<R>; 2] {
    // SAFETY: as `look_up`.
    unsafe { [look_up(a, codes), look_up(b, codes)] }
}

#[inline(always)]
unsafe fn look_up_wide<const R: usize>(table: uint8x16x2_t, codes: Step<R>) -> Step<R> {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes => vqtbl2q_u8(table, c)) }
}

/// Each byte's low nibble.
#[inline(always)]
unsafe fn low<const R: usize>(codes: Step<R>) -> Step<R> {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes => vandq_u8(c, vdupq_n_u8(15))) }
}

/// Each byte's high nibble.
#[inline(always)]
unsafe fn high<const R: usize>(codes: Step<R>) -> Step<R> {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes => vshrq_n_u8::<4>(c)) }
}

/// The low nibbles of `codes` below the low nibbles of `upper`.
#[inline(always)]
unsafe fn low_below_low<const R: usize>(codes: Step<R>, upper: Step<R>) -> Step<R> {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes, u of upper => vsliq_n_u8::<4>(c, u)) }
}

/// The low nibbles of `codes` below the high nibbles of `upper`.
#[inline(always)]
unsafe fn low_below_high<const R: usize>(codes: Step<R>, upper: Step<R>) -> Step<R> {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes, u of upper => vbslq_u8(vdupq_n_u8(15), c, u)) }
}

/// The high nibbles of `codes` below the low nibbles of `upper`.
#[inline(always)]
unsafe fn high_below_low<const R: usize>(codes: Step<R>, upper: Step<R>) -> Step<R> {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes, u of upper => vsriq_n_u8::<4>(vshlq_n_u8::<4>(u), c)) }
}

/// The high nibbles of `codes` below the high nibbles of `upper`.
#[inline(always)]
unsafe fn high_below_high<const R: usize>(codes: Step<R>, upper: Step<R>) -> Step<R> {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes, u of upper => vsriq_n_u8::<4>(u, c)) }
}

/// The bits of `mask`.
#[inline(always)]
pub(super) unsafe fn bits<const R: usize>(codes: Step<R>, mask: u8) -> Step<R> {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes => vandq_u8(c, vdupq_n_u8(mask))) }
}

/// Each byte shifted down.
#[inline(always)]
pub(super) unsafe fn down<const SHIFT: i32, const R: usize>(codes: Step<R>) -> Step<R> {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes => vshrq_n_u8::<SHIFT>(c)) }
}

use each;
