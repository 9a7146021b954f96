//! Powers of i.

use super::{Room, Sink, Step, Unpack, UnpackTwo, each, high, load_step, look_up, look_up_both, low, table};
use crate::format::codes::{phase, planes};
use core::arch::aarch64::*;

/// The table's entries for two steps of nibbles.
#[inline(always)]
unsafe fn look_up_steps<const R: usize>(table: uint8x16_t, [a, b]: [Step<R>; 2]) -> [Step<R>; 2] {
    // SAFETY: as `look_up` (likewise below).
    unsafe { [look_up(table, a), look_up(table, b)] }
}

/// The sums of two steps' values.
#[inline(always)]
unsafe fn add<const R: usize>([a, b]: [Step<R>; 2], [c, d]: [Step<R>; 2]) -> [Step<R>; 2] {
    // SAFETY: registers only.
    unsafe {
        [
            each!(a of a, c of c => vaddq_u8(a, c)),
            each!(b of b, d of d => vaddq_u8(b, d)),
        ]
    }
}

/// Their differences.
#[inline(always)]
unsafe fn sub<const R: usize>([a, b]: [Step<R>; 2], [c, d]: [Step<R>; 2]) -> [Step<R>; 2] {
    // SAFETY: registers only.
    unsafe {
        [
            each!(a of a, c of c => vsubq_u8(a, c)),
            each!(b of b, d of d => vsubq_u8(b, d)),
        ]
    }
}

/// Numbers on an axis, with magnitudes.
#[derive(Clone, Copy)]
pub(crate) struct Axis;

impl Axis {
    /// Of each byte of a step, whether it is the second column's. `bits` has those of 16 rows for two steps, `STEP`
    /// tells which.
    #[inline(always)]
    unsafe fn is_second<const STEP: usize, const ROW: usize, const R: usize>(bits: uint8x16_t) -> Step<R> {
        const BYTE: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
        const BIT: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        // SAFETY: as the trait's contract.
        unsafe {
            let (byte, bit) = (vld1q_u8(BYTE.as_ptr()), vld1q_u8(BIT.as_ptr()));
            let mut second = [bit; R];
            for (i, second) in second.iter_mut().enumerate() {
                let byte = vaddq_u8(byte, vdupq_n_u8((STEP * 8 + (ROW + i) * 2) as u8));
                *second = vtstq_u8(vqtbl1q_u8(bits, byte), bit);
            }
            second
        }
    }

    #[inline(always)]
    unsafe fn pair<const FIRST: usize, const SECOND: usize, const ROW: usize, const R: usize, S: Sink>(
        codes: *const u8,
        bits: uint8x16_t,
        sink: &mut S,
    ) {
        // SAFETY: as the trait's contract.
        unsafe {
            let [a, b]: [Step<R>; 2] = [load_step(codes), load_step(codes.add(64))];
            let [p, q] = [Self::is_second::<0, ROW, R>(bits), Self::is_second::<1, ROW, R>(bits)];
            sink.take::<FIRST, ROW, R>([
                each!(c of a, second of p => vbicq_u8(c, second)),
                each!(c of b, second of q => vbicq_u8(c, second)),
            ]);
            sink.take::<SECOND, ROW, R>([
                each!(c of a, second of p => vandq_u8(c, second)),
                each!(c of b, second of q => vandq_u8(c, second)),
            ]);
        }
    }
}

impl Unpack for Axis {
    const BYTES: usize = phase::AXIS_BYTES;
    const ROOM: Room = Room::TooMuch;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let bits = block.sub(ROW * 16).add(256);
            Self::pair::<0, 2, ROW, R, S>(block, vld1q_u8(bits), sink);
            Self::pair::<1, 3, ROW, R, S>(block.add(128), vld1q_u8(bits.add(16)), sink);
        }
    }
}

/// The real part of the power of i in a nibble's low two bits, the one in its high two, then their imaginary parts.
static POWERS: [[i8; 16]; 4] = {
    let mut tables = [[0; 16]; 4];
    let mut code = 0;
    while code < 16 {
        tables[0][code as usize] = phase::re(code);
        tables[1][code as usize] = phase::re(code >> 2);
        tables[2][code as usize] = phase::im(code);
        tables[3][code as usize] = phase::im(code >> 2);
        code += 1;
    }
    tables
};

/// Powers of i, two a nibble. Each is a real and an imaginary part.
#[derive(Clone, Copy)]
pub(crate) struct Powers {
    re: [uint8x16_t; 2],
    im: [uint8x16_t; 2],
}

impl Powers {
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        let [a, b, c, d] = &POWERS;
        // SAFETY: as the trait's contract.
        unsafe {
            Self {
                re: [table(a), table(b)],
                im: [table(c), table(d)],
            }
        }
    }
}

/// Each power of i is two columns.
impl Unpack for Powers {
    const BYTES: usize = phase::PHASE_BYTES;
    const SMALL: bool = true;
    const ROOM: Room = Room::Some;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let codes = load_step::<R>(block);
            let (low, high) = (low(codes), high(codes));
            sink.take::<0, ROW, R>(look_up_both(self.re, low));
            sink.take::<2, ROW, R>(look_up_both(self.im, low));
            sink.take::<1, ROW, R>(look_up_both(self.re, high));
            sink.take::<3, ROW, R>(look_up_both(self.im, high));
        }
    }
}

impl Powers {
    /// A step: 16 columns.
    #[inline(always)]
    unsafe fn step<const FIRST: usize, const SECOND: usize, const ROW: usize, const R: usize, A: Sink, B: Sink>(
        self,
        codes: Step<R>,
        re: &mut A,
        im: &mut B,
    ) {
        // SAFETY: as the trait's contract.
        unsafe {
            let (low, high) = (low(codes), high(codes));
            re.take::<FIRST, ROW, R>(look_up_both(self.re, low));
            im.take::<FIRST, ROW, R>(look_up_both(self.im, low));
            re.take::<SECOND, ROW, R>(look_up_both(self.re, high));
            im.take::<SECOND, ROW, R>(look_up_both(self.im, high));
        }
    }
}

/// Native complex codes: real parts, imaginary parts.
impl UnpackTwo for Powers {
    const BYTES: usize = planes::CODEBOOK2_BYTES;
    const ROOM: Room = Room::Some;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, A: Sink, B: Sink>(self, block: *const u8, re: &mut A, im: &mut B) {
        // SAFETY: as the trait's contract.
        unsafe {
            self.step::<0, 1, ROW, R, A, B>(load_step(block), re, im);
            self.step::<2, 3, ROW, R, A, B>(load_step(block.add(64)), re, im);
        }
    }

    /// Step by step, so that few activations are kept.
    #[inline(always)]
    unsafe fn unpack<A: Sink, B: Sink>(self, block: *const u8, re: &mut A, im: &mut B) {
        // SAFETY: as the trait's contract.
        unsafe {
            self.step::<0, 1, 0, 2, A, B>(load_step(block), re, im);
            self.step::<0, 1, 2, 2, A, B>(load_step(block.add(32)), re, im);
            self.step::<2, 3, 0, 2, A, B>(load_step(block.add(64)), re, im);
            self.step::<2, 3, 2, 2, A, B>(load_step(block.add(96)), re, im);
        }
    }
}

/// The weights of a nibble's block, row by row.
static PAIRS: [[i8; 16]; 4] = {
    let mut tables = [[0; 16]; 4];
    let mut i = 0;
    while i < 4 * 16 {
        tables[i / 16][i % 16] = phase::pair_value(i as u16 % 16, 1, i / 32, i / 16 % 2);
        i += 1;
    }
    tables
};

/// Phase pairs of one stage.
#[derive(Clone, Copy)]
pub(crate) struct Pairs1([uint8x16_t; 4]);

impl Pairs1 {
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        let [a, b, c, d] = &PAIRS;
        // SAFETY: as the trait's contract.
        Self(unsafe { [table(a), table(b), table(c), table(d)] })
    }

    #[inline(always)]
    unsafe fn step<const FIRST: usize, const SECOND: usize, const ROW: usize, const R: usize, A: Sink, B: Sink>(
        self,
        codes: Step<R>,
        upper: &mut A,
        lower: &mut B,
    ) {
        let [a, b, c, d] = self.0;
        // SAFETY: as the trait's contract.
        unsafe {
            let (low, high) = (low(codes), high(codes));
            upper.take::<FIRST, ROW, R>([look_up(a, low), look_up(a, high)]);
            upper.take::<SECOND, ROW, R>([look_up(b, low), look_up(b, high)]);
            lower.take::<FIRST, ROW, R>([look_up(c, low), look_up(c, high)]);
            lower.take::<SECOND, ROW, R>([look_up(d, low), look_up(d, high)]);
        }
    }
}

impl UnpackTwo for Pairs1 {
    const BYTES: usize = 128;
    const ROOM: Room = Room::Some;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, A: Sink, B: Sink>(
        self,
        block: *const u8,
        upper: &mut A,
        lower: &mut B,
    ) {
        // SAFETY: as the trait's contract.
        unsafe {
            self.step::<0, 2, ROW, R, A, B>(load_step(block), upper, lower);
            self.step::<1, 3, ROW, R, A, B>(load_step(block.add(64)), upper, lower);
        }
    }
}

/// Phase pairs of two stages: the tables of real and of imaginary parts.
#[derive(Clone, Copy)]
pub(crate) struct Pairs2([uint8x16_t; 2]);

impl Pairs2 {
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: as the trait's contract.
        Self(unsafe { [table(&phase::RE2), table(&phase::IM2)] })
    }

    #[inline(always)]
    unsafe fn pair<const FIRST: usize, const SECOND: usize, const ROW: usize, const R: usize, A: Sink, B: Sink>(
        self,
        codes: *const u8,
        upper: &mut A,
        lower: &mut B,
    ) {
        let [re, im] = self.0;
        // SAFETY: as the trait's contract.
        unsafe {
            let [a, b] = [load_step(codes), load_step(codes.add(64))];
            let (u, w) = ([low(a), low(b)], [high(a), high(b)]);
            let (u_re, w_re) = (look_up_steps(re, u), look_up_steps(re, w));
            let last = sub(u_re, w_re);
            upper.take::<FIRST, ROW, R>(add(u_re, w_re));
            let (u_im, w_im) = (look_up_steps(im, u), look_up_steps(im, w));
            upper.take::<SECOND, ROW, R>(sub(w_im, u_im));
            // A sink wants its first columns first.
            lower.take::<FIRST, ROW, R>(add(w_im, u_im));
            lower.take::<SECOND, ROW, R>(last);
        }
    }
}

impl UnpackTwo for Pairs2 {
    const BYTES: usize = 256;
    const ROOM: Room = Room::Much;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, A: Sink, B: Sink>(
        self,
        block: *const u8,
        upper: &mut A,
        lower: &mut B,
    ) {
        // SAFETY: as the trait's contract.
        unsafe {
            self.pair::<0, 2, ROW, R, A, B>(block, upper, lower);
            self.pair::<1, 3, ROW, R, A, B>(block.add(128), upper, lower);
        }
    }
}
