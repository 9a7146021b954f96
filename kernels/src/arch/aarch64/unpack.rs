//! How codes become values, in registers: a function a format.
//!
//! Values leave in *pairs of steps*, 16 rows by 8 columns, to a [`Sink`] that multiplies them with activations or
//! writes a panel. Which columns share a byte (see [`format::codes`](crate::format::codes)) makes pairs the natural
//! unit: two nibbles of a byte, or two neighbouring bytes, are two steps.

use crate::format::codes::{phase, planes, trits};
use core::arch::aarch64::*;

/// 16 rows by 4 columns, a register for 4 rows.
pub(super) type Step = [uint8x16_t; 4];

/// Where values go.
///
/// # Safety
/// As for [`Simd`](crate::arch::simd::Simd).
pub(super) trait Sink {
    /// Takes columns `8 * PAIR..8 * PAIR + 8`.
    unsafe fn take<const PAIR: usize>(&mut self, values: [Step; 2]);
}

/// Takes nothing: for kernels that want one of a format's two parts.
pub(super) struct Nothing;

impl Sink for Nothing {
    #[inline(always)]
    unsafe fn take<const PAIR: usize>(&mut self, _values: [Step; 2]) {}
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

    unsafe fn unpack<S: Sink>(self, block: *const u8, sink: &mut S);
}

/// A format that gives two values for each place: those of two rows, or of the two parts of a complex number.
///
/// # Safety
/// As for [`Unpack`].
pub(super) trait UnpackTwo: Copy {
    /// Of a block.
    const BYTES: usize;

    unsafe fn unpack<A: Sink, B: Sink>(self, block: *const u8, first: &mut A, second: &mut B);
}

/// Applies an expression to each register of a step. (A closure would not be compiled for NEON.)
macro_rules! each {
    ($a:ident of $x:expr => $f:expr) => {{
        let [p, q, r, s] = $x;
        [
            {
                let $a = p;
                $f
            },
            {
                let $a = q;
                $f
            },
            {
                let $a = r;
                $f
            },
            {
                let $a = s;
                $f
            },
        ]
    }};
    ($a:ident of $x:expr, $b:ident of $y:expr => $f:expr) => {{
        let ([p, q, r, s], [t, u, v, w]) = ($x, $y);
        [
            {
                let ($a, $b) = (p, t);
                $f
            },
            {
                let ($a, $b) = (q, u);
                $f
            },
            {
                let ($a, $b) = (r, v);
                $f
            },
            {
                let ($a, $b) = (s, w);
                $f
            },
        ]
    }};
}

/// The 64 bytes of a step.
///
/// # Safety
/// They are there.
#[inline(always)]
pub(super) unsafe fn load_step(from: *const u8) -> Step {
    // SAFETY: as this function's contract.
    unsafe {
        [
            vld1q_u8(from),
            vld1q_u8(from.add(16)),
            vld1q_u8(from.add(32)),
            vld1q_u8(from.add(48)),
        ]
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
unsafe fn look_up(table: uint8x16_t, codes: Step) -> Step {
    // SAFETY: the caller upholds the trait's contract (likewise below).
    unsafe { each!(c of codes => vqtbl1q_u8(table, c)) }
}

/// The same codes in two tables.
#[inline(always)]
unsafe fn look_up_both([a, b]: [uint8x16_t; 2], codes: Step) -> [Step; 2] {
    // SAFETY: as `look_up`.
    unsafe { [look_up(a, codes), look_up(b, codes)] }
}

#[inline(always)]
unsafe fn look_up_wide(table: uint8x16x2_t, codes: Step) -> Step {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes => vqtbl2q_u8(table, c)) }
}

/// Each byte's low nibble.
#[inline(always)]
unsafe fn low(codes: Step) -> Step {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes => vandq_u8(c, vdupq_n_u8(15))) }
}

/// Each byte's high nibble.
#[inline(always)]
unsafe fn high(codes: Step) -> Step {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes => vshrq_n_u8::<4>(c)) }
}

/// The low nibbles of `codes` below the low nibbles of `upper`.
#[inline(always)]
unsafe fn low_below_low(codes: Step, upper: Step) -> Step {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes, u of upper => vsliq_n_u8::<4>(c, u)) }
}

/// The low nibbles of `codes` below the high nibbles of `upper`.
#[inline(always)]
unsafe fn low_below_high(codes: Step, upper: Step) -> Step {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes, u of upper => vbslq_u8(vdupq_n_u8(15), c, u)) }
}

/// The high nibbles of `codes` below the low nibbles of `upper`.
#[inline(always)]
unsafe fn high_below_low(codes: Step, upper: Step) -> Step {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes, u of upper => vsriq_n_u8::<4>(vshlq_n_u8::<4>(u), c)) }
}

/// The high nibbles of `codes` below the high nibbles of `upper`.
#[inline(always)]
unsafe fn high_below_high(codes: Step, upper: Step) -> Step {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes, u of upper => vsriq_n_u8::<4>(u, c)) }
}

/// The bits of `mask`.
#[inline(always)]
unsafe fn bits(codes: Step, mask: u8) -> Step {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes => vandq_u8(c, vdupq_n_u8(mask))) }
}

/// Each byte shifted down.
#[inline(always)]
unsafe fn down<const SHIFT: i32>(codes: Step) -> Step {
    // SAFETY: as `look_up`.
    unsafe { each!(c of codes => vshrq_n_u8::<SHIFT>(c)) }
}

/// 8-bit codes.
#[derive(Clone, Copy)]
pub(super) struct Bits8;

impl Unpack for Bits8 {
    const BYTES: usize = 512;

    #[inline(always)]
    unsafe fn unpack<S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract (likewise below).
        unsafe {
            sink.take::<0>([load_step(block), load_step(block.add(64))]);
            sink.take::<1>([load_step(block.add(128)), load_step(block.add(192))]);
            sink.take::<2>([load_step(block.add(256)), load_step(block.add(320))]);
            sink.take::<3>([load_step(block.add(384)), load_step(block.add(448))]);
        }
    }
}

/// 2-bit codes as they are: 0 to 3.
#[derive(Clone, Copy)]
pub(super) struct Bits2;

impl Bits2 {
    #[inline(always)]
    unsafe fn step<const LOW: usize, const HIGH: usize, S: Sink>(codes: Step, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            sink.take::<LOW>([bits(codes, 3), bits(down::<2>(codes), 3)]);
            sink.take::<HIGH>([bits(down::<4>(codes), 3), down::<6>(codes)]);
        }
    }
}

impl Unpack for Bits2 {
    const BYTES: usize = planes::CODEBOOK2_BYTES;
    const SMALL: bool = true;

    #[inline(always)]
    unsafe fn unpack<S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            Self::step::<0, 1, S>(load_step(block), sink);
            Self::step::<2, 3, S>(load_step(block.add(64)), sink);
        }
    }
}

/// 4-bit codes and their table.
#[derive(Clone, Copy)]
pub(super) struct Bits4(uint8x16_t);

impl Bits4 {
    #[inline(always)]
    pub(super) unsafe fn new(entries: &[i8; 16]) -> Self {
        // SAFETY: as the trait's contract.
        Self(unsafe { table(entries) })
    }

    #[inline(always)]
    unsafe fn pair<const LOW: usize, const HIGH: usize, S: Sink>(self, codes: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let [a, b] = [load_step(codes), load_step(codes.add(64))];
            sink.take::<LOW>([look_up(self.0, low(a)), look_up(self.0, low(b))]);
            sink.take::<HIGH>([look_up(self.0, high(a)), look_up(self.0, high(b))]);
        }
    }
}

impl Unpack for Bits4 {
    const BYTES: usize = planes::CODEBOOK4_BYTES;

    #[inline(always)]
    unsafe fn unpack<S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            self.pair::<0, 2, S>(block, sink);
            self.pair::<1, 3, S>(block.add(128), sink);
        }
    }
}

/// 5-bit codes and their table.
#[derive(Clone, Copy)]
pub(super) struct Bits5(uint8x16x2_t);

impl Bits5 {
    #[inline(always)]
    pub(super) unsafe fn new(entries: &[i8; 32]) -> Self {
        // SAFETY: as the trait's contract.
        Self(unsafe { wide_table(entries) })
    }

    /// Two steps of nibbles, each with its fifth bits: those of low nibbles in bit 0, of high ones in bit 4.
    #[inline(always)]
    unsafe fn pair<const LOW: usize, const HIGH: usize, S: Sink>(
        self,
        codes: *const u8,
        [c, d]: [Step; 2],
        sink: &mut S,
    ) {
        // SAFETY: as the trait's contract.
        unsafe {
            let [a, b] = [load_step(codes), load_step(codes.add(64))];
            sink.take::<LOW>([
                look_up_wide(self.0, low_below_low(a, c)),
                look_up_wide(self.0, low_below_low(b, d)),
            ]);
            sink.take::<HIGH>([
                look_up_wide(self.0, high_below_high(a, c)),
                look_up_wide(self.0, high_below_high(b, d)),
            ]);
        }
    }
}

impl Unpack for Bits5 {
    const BYTES: usize = planes::CODEBOOK5_BYTES;

    #[inline(always)]
    unsafe fn unpack<S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let fifth = load_step(block.add(256));
            let [a, b] = [bits(fifth, 0x11), bits(down::<1>(fifth), 0x11)];
            self.pair::<0, 2, S>(block, [a, b], sink);
            let [a, b] = [bits(down::<2>(fifth), 0x11), bits(down::<3>(fifth), 0x11)];
            self.pair::<1, 3, S>(block.add(128), [a, b], sink);
        }
    }
}

/// 6-bit codes as they are: 0 to 63.
#[derive(Clone, Copy)]
pub(super) struct Bits6;

impl Unpack for Bits6 {
    const BYTES: usize = planes::INT6_BYTES;

    #[inline(always)]
    unsafe fn unpack<S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            // The upper bits of columns 0..16 and 16..32; each nibble has those of one step.
            let [left, right] = [load_step(block.add(256)), load_step(block.add(320))];
            let [a, b] = [load_step(block), load_step(block.add(64))];
            sink.take::<0>([
                low_below_low(a, bits(left, 0x33)),
                low_below_low(b, bits(down::<2>(left), 0x33)),
            ]);
            sink.take::<2>([
                high_below_low(a, bits(right, 0x33)),
                high_below_low(b, bits(down::<2>(right), 0x33)),
            ]);
            let [a, b] = [load_step(block.add(128)), load_step(block.add(192))];
            sink.take::<1>([
                low_below_high(a, bits(left, 0x33)),
                low_below_high(b, bits(down::<2>(left), 0x33)),
            ]);
            sink.take::<3>([
                high_below_high(a, bits(right, 0x33)),
                high_below_high(b, bits(down::<2>(right), 0x33)),
            ]);
        }
    }
}

/// Dense ternary codes. A magnitude and its sign are an index into 32 entries.
#[derive(Clone, Copy)]
pub(super) struct Trits([uint8x16x2_t; 3]);

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
    pub(super) unsafe fn new() -> Self {
        // SAFETY: as the trait's contract.
        unsafe { Self([wide_table(&TRITS[0]), wide_table(&TRITS[1]), wide_table(&TRITS[2])]) }
    }

    /// The six steps of a step of nibbles, from two indices into the tables.
    #[inline(always)]
    unsafe fn six<const A: usize, const B: usize, const C: usize, S: Sink>(self, [a, b]: [Step; 2], sink: &mut S) {
        let [first, second, third] = self.0;
        // SAFETY: as the trait's contract.
        unsafe {
            sink.take::<A>([look_up_wide(first, a), look_up_wide(second, a)]);
            sink.take::<B>([look_up_wide(third, a), look_up_wide(first, b)]);
            sink.take::<C>([look_up_wide(second, b), look_up_wide(third, b)]);
        }
    }
}

impl Unpack for Trits {
    const BYTES: usize = trits::BYTES;
    const COLS: usize = trits::COLS;
    const SMALL: bool = true;

    #[inline(always)]
    unsafe fn unpack<S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let signs = load_step(block.add(256));
            let [even, odd] = [bits(signs, 0x11), bits(down::<1>(signs), 0x11)];
            let codes = load_step(block);
            self.six::<0, 1, 2, S>([low_below_low(codes, even), high_below_low(codes, odd)], sink);
            let codes = load_step(block.add(128));
            self.six::<6, 7, 8, S>([low_below_high(codes, even), high_below_high(codes, odd)], sink);
            let [even, odd] = [bits(down::<2>(signs), 0x11), bits(down::<3>(signs), 0x11)];
            let codes = load_step(block.add(64));
            self.six::<3, 4, 5, S>([low_below_low(codes, even), high_below_low(codes, odd)], sink);
            let codes = load_step(block.add(192));
            self.six::<9, 10, 11, S>([low_below_high(codes, even), high_below_high(codes, odd)], sink);
        }
    }
}

/// Numbers on an axis, with magnitudes.
#[derive(Clone, Copy)]
pub(super) struct Axis;

impl Axis {
    /// Byte `i` of the result tells whether bit `i` of the two bytes from `2 * row` on is set.
    #[inline(always)]
    unsafe fn is_second(bits: uint8x16_t, row: u8) -> uint8x16_t {
        const BYTE: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
        const BIT: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        // SAFETY: as the trait's contract.
        unsafe {
            let byte = vaddq_u8(vld1q_u8(BYTE.as_ptr()), vdupq_n_u8(2 * row));
            vtstq_u8(vqtbl1q_u8(bits, byte), vld1q_u8(BIT.as_ptr()))
        }
    }

    #[inline(always)]
    unsafe fn pair<const FIRST: usize, const SECOND: usize, S: Sink>(codes: *const u8, bits: uint8x16_t, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let [a, b] = [load_step(codes), load_step(codes.add(64))];
            let rows = [0, 1, 2, 3];
            let second_a = each!(row of rows => Self::is_second(bits, row));
            let second_b = each!(row of rows => Self::is_second(bits, row + 4));
            sink.take::<FIRST>([
                each!(c of a, second of second_a => vbicq_u8(c, second)),
                each!(c of b, second of second_b => vbicq_u8(c, second)),
            ]);
            sink.take::<SECOND>([
                each!(c of a, second of second_a => vandq_u8(c, second)),
                each!(c of b, second of second_b => vandq_u8(c, second)),
            ]);
        }
    }
}

impl Unpack for Axis {
    const BYTES: usize = phase::AXIS_BYTES;

    #[inline(always)]
    unsafe fn unpack<S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            Self::pair::<0, 2, S>(block, vld1q_u8(block.add(256)), sink);
            Self::pair::<1, 3, S>(block.add(128), vld1q_u8(block.add(272)), sink);
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
pub(super) struct Powers {
    re: [uint8x16_t; 2],
    im: [uint8x16_t; 2],
}

impl Powers {
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
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

    #[inline(always)]
    unsafe fn unpack<S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe {
            let codes = load_step(block);
            let (low, high) = (low(codes), high(codes));
            sink.take::<0>(look_up_both(self.re, low));
            sink.take::<2>(look_up_both(self.im, low));
            sink.take::<1>(look_up_both(self.re, high));
            sink.take::<3>(look_up_both(self.im, high));
        }
    }
}

/// Native complex codes: real parts, imaginary parts.
impl UnpackTwo for Powers {
    const BYTES: usize = planes::CODEBOOK2_BYTES;

    #[inline(always)]
    unsafe fn unpack<A: Sink, B: Sink>(self, block: *const u8, re: &mut A, im: &mut B) {
        // SAFETY: as the trait's contract.
        unsafe {
            let codes = load_step(block);
            let (first, second) = (low(codes), high(codes));
            re.take::<0>(look_up_both(self.re, first));
            im.take::<0>(look_up_both(self.im, first));
            re.take::<1>(look_up_both(self.re, second));
            im.take::<1>(look_up_both(self.im, second));
            let codes = load_step(block.add(64));
            let (first, second) = (low(codes), high(codes));
            re.take::<2>(look_up_both(self.re, first));
            im.take::<2>(look_up_both(self.im, first));
            re.take::<3>(look_up_both(self.re, second));
            im.take::<3>(look_up_both(self.im, second));
        }
    }
}

/// The weights of a nibble's block, row by row; for two stages, twice those of the first stage's nibble come first.
static PAIRS: [[[i8; 16]; 4]; 2] = {
    let mut tables = [[[0; 16]; 4]; 2];
    let mut i = 0;
    while i < 4 * 16 {
        let value = phase::pair_value(i as u16 % 16, 1, i / 32, i / 16 % 2);
        tables[0][i / 16][i % 16] = value;
        tables[1][i / 16][i % 16] = 2 * value;
        i += 1;
    }
    tables
};

/// Phase pairs of one stage.
#[derive(Clone, Copy)]
pub(super) struct Pairs1([uint8x16_t; 4]);

impl Pairs1 {
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        // SAFETY: as the trait's contract.
        Self(unsafe { each!(entries of PAIRS[0] => table(&entries)) })
    }

    #[inline(always)]
    unsafe fn step<const FIRST: usize, const SECOND: usize, A: Sink, B: Sink>(
        self,
        codes: Step,
        upper: &mut A,
        lower: &mut B,
    ) {
        let [a, b, c, d] = self.0;
        // SAFETY: as the trait's contract.
        unsafe {
            let (low, high) = (low(codes), high(codes));
            upper.take::<FIRST>([look_up(a, low), look_up(a, high)]);
            upper.take::<SECOND>([look_up(b, low), look_up(b, high)]);
            lower.take::<FIRST>([look_up(c, low), look_up(c, high)]);
            lower.take::<SECOND>([look_up(d, low), look_up(d, high)]);
        }
    }
}

impl UnpackTwo for Pairs1 {
    const BYTES: usize = 128;

    #[inline(always)]
    unsafe fn unpack<A: Sink, B: Sink>(self, block: *const u8, upper: &mut A, lower: &mut B) {
        // SAFETY: as the trait's contract.
        unsafe {
            self.step::<0, 2, A, B>(load_step(block), upper, lower);
            self.step::<1, 3, A, B>(load_step(block.add(64)), upper, lower);
        }
    }
}

/// Phase pairs of two stages.
#[derive(Clone, Copy)]
pub(super) struct Pairs2 {
    first: [uint8x16_t; 4],
    second: [uint8x16_t; 4],
}

impl Pairs2 {
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        // SAFETY: as the trait's contract.
        unsafe {
            Self {
                first: each!(entries of PAIRS[1] => table(&entries)),
                second: each!(entries of PAIRS[0] => table(&entries)),
            }
        }
    }

    /// One of the four weights of each block, in two steps.
    #[inline(always)]
    unsafe fn weights(self, which: usize, first: [Step; 2], second: [Step; 2]) -> [Step; 2] {
        let (twice, once) = (self.first[which], self.second[which]);
        let ([a, b], [c, d]) = (first, second);
        // SAFETY: as the trait's contract.
        unsafe {
            [
                each!(p of look_up(twice, a), q of look_up(once, c) => vaddq_u8(p, q)),
                each!(p of look_up(twice, b), q of look_up(once, d) => vaddq_u8(p, q)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn pair<const FIRST: usize, const SECOND: usize, A: Sink, B: Sink>(
        self,
        codes: *const u8,
        upper: &mut A,
        lower: &mut B,
    ) {
        // SAFETY: as the trait's contract.
        unsafe {
            let [a, b] = [load_step(codes), load_step(codes.add(64))];
            let (first, second) = ([low(a), low(b)], [high(a), high(b)]);
            upper.take::<FIRST>(self.weights(0, first, second));
            upper.take::<SECOND>(self.weights(1, first, second));
            lower.take::<FIRST>(self.weights(2, first, second));
            lower.take::<SECOND>(self.weights(3, first, second));
        }
    }
}

impl UnpackTwo for Pairs2 {
    const BYTES: usize = 256;

    #[inline(always)]
    unsafe fn unpack<A: Sink, B: Sink>(self, block: *const u8, upper: &mut A, lower: &mut B) {
        // SAFETY: as the trait's contract.
        unsafe {
            self.pair::<0, 2, A, B>(block, upper, lower);
            self.pair::<1, 3, A, B>(block.add(128), upper, lower);
        }
    }
}

/// Passes values on after one more step: 2-bit codes looked up, 6-bit codes made signed.
pub(super) struct Then<'s, S, F>(pub &'s mut S, pub F);

/// What [`Then`] does to a step.
///
/// # Safety
/// As for [`Simd`](crate::arch::simd::Simd).
pub(super) trait Map: Copy {
    unsafe fn map(self, values: Step) -> Step;
}

/// 2-bit codes to a table's entries.
#[derive(Clone, Copy)]
pub(super) struct LookUp2(uint8x16_t);

impl LookUp2 {
    #[inline(always)]
    pub(super) unsafe fn new(entries: &[i8; 4]) -> Self {
        let mut all = [0; 16];
        all[..4].copy_from_slice(entries);
        // SAFETY: as the trait's contract.
        Self(unsafe { table(&all) })
    }
}

impl Map for LookUp2 {
    #[inline(always)]
    unsafe fn map(self, codes: Step) -> Step {
        // SAFETY: as the trait's contract.
        unsafe { look_up(self.0, codes) }
    }
}

/// 6-bit codes to -32..32.
#[derive(Clone, Copy)]
pub(super) struct Minus32;

impl Map for Minus32 {
    #[inline(always)]
    unsafe fn map(self, codes: Step) -> Step {
        // SAFETY: as the trait's contract.
        unsafe { each!(c of codes => vsubq_u8(c, vdupq_n_u8(32))) }
    }
}

impl<S: Sink, F: Map> Sink for Then<'_, S, F> {
    #[inline(always)]
    unsafe fn take<const PAIR: usize>(&mut self, [a, b]: [Step; 2]) {
        // SAFETY: as the trait's contract.
        unsafe { self.0.take::<PAIR>([self.1.map(a), self.1.map(b)]) }
    }
}
