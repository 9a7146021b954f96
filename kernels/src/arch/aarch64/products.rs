//! Dot products and panels of every format, over what multiplies.

use super::lanes::Lanes;
use super::unpack::{
    Axis, Bits2, Bits4, Bits5, Bits6, Bits8, LookUp2, Minus32, Nothing, Pairs1, Pairs2, Powers, Room, Sink, Step, Then,
    Trits, Unpack, UnpackTwo,
};
use crate::arch::products::Products;
use crate::arch::simd::Simd;
use crate::format::codes::{Bounds, Table};
use core::arch::aarch64::*;
use core::arch::asm;
use core::marker::PhantomData;

/// How far ahead kernels for one column ask for codes, in bytes: far enough for a memory access to arrive.
const AHEAD: usize = 4096;

/// The sums of 16 rows.
pub(super) type Totals = [int32x4_t; 4];

/// What multiplies int8 values with activations, and adds.
///
/// # Safety
/// As for [`Simd`](crate::arch::simd::Simd).
pub(super) trait IntegerProducts: Copy {
    /// Whether many registers are free: sums take only 4 for 16 rows.
    const WIDE: bool;
    /// Sums of 16 rows, in whatever form.
    type Sums: Copy;
    /// Sums of few products with small values (see [`Unpack::SMALL`]), which may take fewer bits.
    type Block: Copy;

    unsafe fn zero() -> Self::Sums;
    unsafe fn total(sums: Self::Sums) -> Totals;
    /// Adds the products of columns `8 * PAIR..8 * PAIR + 8` of a block, whose activations begin at `x`.
    unsafe fn add<const PAIR: usize, const ROW: usize, const R: usize>(
        sums: &mut Self::Sums,
        values: [Step<R>; 2],
        x: *const i8,
    );

    /// Begins a block whose sums add to `sums`.
    unsafe fn open(sums: Self::Sums) -> Self::Block;
    /// As [`add`](Self::add). Of each row, pair 0 is the first.
    unsafe fn add_small<const PAIR: usize, const ROW: usize, const R: usize>(
        block: &mut Self::Block,
        values: [Step<R>; 2],
        x: *const i8,
    );
    /// What [`open`](Self::open) was given and the block's sums.
    unsafe fn close(sums: Self::Sums, block: Self::Block) -> Self::Sums;

    /// 2-bit codes, 0 to 3, times activations.
    #[inline(always)]
    unsafe fn dot2(codes: *const u8, groups: usize, x: *const i8) -> Totals {
        // SAFETY: as the trait's contract.
        unsafe { dot::<Self, _>(Bits2, codes, groups, x) }
    }
}

/// Panels, and what multiplies them with several columns of activations.
///
/// # Safety
/// As for [`Simd`].
pub(super) trait Columns: Copy {
    /// Writes a pair of steps to its place in a panel.
    #[inline(always)]
    unsafe fn store<const ROW: usize, const R: usize>([a, b]: [Step<R>; 2], to: *mut u8) {
        // SAFETY: 128 bytes are there.
        unsafe {
            for (i, (a, b)) in a.into_iter().zip(b).enumerate() {
                let to = to.add((ROW + i) * 16);
                vst1q_u8(to, a);
                vst1q_u8(to.add(64), b);
            }
        }
    }

    unsafe fn dot_columns<const N: usize>(panel: *const u8, groups: usize, x: *const i8, stride: usize) -> [Totals; N];
}

/// Multiplies a block's values with activations.
struct Dot<P: IntegerProducts> {
    sums: P::Sums,
    x: *const i8,
}

impl<P: IntegerProducts> Sink for Dot<P> {
    const ROOM: Room = if P::WIDE { Room::Much } else { Room::Little };

    #[inline(always)]
    unsafe fn take<const PAIR: usize, const ROW: usize, const R: usize>(&mut self, values: [Step<R>; 2]) {
        // SAFETY: as the trait's contract.
        unsafe { P::add::<PAIR, ROW, R>(&mut self.sums, values, self.x) }
    }
}

/// The same with a block of small values.
struct SmallDot<P: IntegerProducts> {
    block: P::Block,
    x: *const i8,
}

impl<P: IntegerProducts> SmallDot<P> {
    #[inline(always)]
    unsafe fn new(sums: P::Sums, x: *const i8) -> Self {
        // SAFETY: as the trait's contract.
        let block = unsafe { P::open(sums) };
        Self { block, x }
    }
}

impl<P: IntegerProducts> Sink for SmallDot<P> {
    const ROOM: Room = if P::WIDE { Room::Much } else { Room::Some };

    #[inline(always)]
    unsafe fn take<const PAIR: usize, const ROW: usize, const R: usize>(&mut self, values: [Step<R>; 2]) {
        // SAFETY: as the trait's contract.
        unsafe { P::add_small::<PAIR, ROW, R>(&mut self.block, values, self.x) }
    }
}

/// Gives values to two others.
struct Both<A, B>(A, B);

impl<A: Sink, B: Sink> Sink for Both<A, B> {
    #[inline(always)]
    unsafe fn take<const PAIR: usize, const ROW: usize, const R: usize>(&mut self, values: [Step<R>; 2]) {
        // SAFETY: as the trait's contract.
        unsafe {
            self.0.take::<PAIR, ROW, R>(values);
            self.1.take::<PAIR, ROW, R>(values);
        }
    }
}

/// Writes values to a panel.
struct ToPanel<C>(*mut u8, PhantomData<C>);

impl<C> ToPanel<C> {
    fn new(to: *mut u8) -> Self {
        Self(to, PhantomData)
    }
}

impl<C: Columns> Sink for ToPanel<C> {
    #[inline(always)]
    unsafe fn take<const PAIR: usize, const ROW: usize, const R: usize>(&mut self, values: [Step<R>; 2]) {
        // SAFETY: as the trait's contract: the panel has room for the block.
        unsafe { C::store::<ROW, R>(values, self.0.add(PAIR * 128)) }
    }
}

/// The first of a format's two values alone.
#[derive(Clone, Copy)]
struct First<U>(U);

impl<U: UnpackTwo> Unpack for First<U> {
    const BYTES: usize = U::BYTES;
    const SMALL: bool = true;
    const ROOM: Room = U::ROOM;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe { self.0.rows::<ROW, R, _, _>(block, sink, &mut Nothing) }
    }
}

/// The second alone.
#[derive(Clone, Copy)]
struct Second<U>(U);

impl<U: UnpackTwo> Unpack for Second<U> {
    const BYTES: usize = U::BYTES;
    const SMALL: bool = true;
    const ROOM: Room = U::ROOM;

    #[inline(always)]
    unsafe fn rows<const ROW: usize, const R: usize, S: Sink>(self, block: *const u8, sink: &mut S) {
        // SAFETY: as the trait's contract.
        unsafe { self.0.rows::<ROW, R, _, _>(block, &mut Nothing, sink) }
    }
}

/// Asks for as many bytes of codes (at most 512) ahead of those at `codes`.
#[inline(always)]
pub(super) unsafe fn ask_ahead(codes: *const u8, bytes: usize) {
    macro_rules! lines {
        ($($line:literal)*) => {$(
            if $line * 64 < bytes {
                asm!("prfm pldl1keep, [{}, {}]", in(reg) codes, const AHEAD + $line * 64,
                    options(readonly, nostack, preserves_flags));
            }
        )*};
    }
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        lines!(0 1 2 3 4 5 6 7);
    }
}

/// Blocks of codes times activations.
///
/// # Safety
/// As for [`Products`].
#[inline(always)]
unsafe fn dot<P: IntegerProducts, U: Unpack>(format: U, codes: *const u8, blocks: usize, x: *const i8) -> Totals {
    // SAFETY: as this function's contract.
    unsafe {
        let mut sums = P::zero();
        for block in 0..blocks {
            let (codes, x) = (codes.add(block * U::BYTES), x.add(block * U::COLS));
            ask_ahead(codes, U::BYTES);
            if U::SMALL {
                let mut dot = SmallDot::<P>::new(sums, x);
                format.unpack(codes, &mut dot);
                sums = P::close(sums, dot.block);
            } else {
                let mut dot = Dot::<P> { sums, x };
                format.unpack(codes, &mut dot);
                sums = dot.sums;
            }
        }
        P::total(sums)
    }
}

/// Both values of each code times activations.
///
/// # Safety
/// As for [`Products`].
#[inline(always)]
unsafe fn dot_two<P: IntegerProducts, U: UnpackTwo>(
    format: U,
    codes: *const u8,
    blocks: usize,
    x: *const i8,
) -> [Totals; 2] {
    // SAFETY: as this function's contract.
    unsafe {
        if !P::WIDE {
            return [
                dot::<P, _>(First(format), codes, blocks, x),
                dot::<P, _>(Second(format), codes, blocks, x),
            ];
        }
        let mut sums = [P::zero(); 2];
        for block in 0..blocks {
            let (codes, x) = (codes.add(block * U::BYTES), x.add(block * 32));
            ask_ahead(codes, U::BYTES);
            let [mut first, mut second] = [SmallDot::<P>::new(sums[0], x), SmallDot::<P>::new(sums[1], x)];
            format.unpack(codes, &mut first, &mut second);
            sums = [P::close(sums[0], first.block), P::close(sums[1], second.block)];
        }
        [P::total(sums[0]), P::total(sums[1])]
    }
}

/// Both values of each code times two vectors of activations: first and first, second and second, second and first,
/// first and second.
///
/// # Safety
/// As for [`Products`].
#[inline(always)]
unsafe fn dot_four<P: IntegerProducts, U: UnpackTwo>(
    format: U,
    codes: *const u8,
    blocks: usize,
    x: [*const i8; 2],
) -> [Totals; 4] {
    // SAFETY: as this function's contract.
    unsafe {
        if !P::WIDE {
            return [
                dot::<P, _>(First(format), codes, blocks, x[0]),
                dot::<P, _>(Second(format), codes, blocks, x[1]),
                dot::<P, _>(Second(format), codes, blocks, x[0]),
                dot::<P, _>(First(format), codes, blocks, x[1]),
            ];
        }
        let mut sums = [P::zero(); 4];
        for block in 0..blocks {
            let codes = codes.add(block * U::BYTES);
            let [x, y] = [x[0].add(block * 32), x[1].add(block * 32)];
            ask_ahead(codes, U::BYTES);
            let mut first = Both(SmallDot::<P>::new(sums[0], x), SmallDot::<P>::new(sums[3], y));
            let mut second = Both(SmallDot::<P>::new(sums[2], x), SmallDot::<P>::new(sums[1], y));
            format.unpack(codes, &mut first, &mut second);
            sums = [
                P::close(sums[0], first.0.block),
                P::close(sums[1], second.1.block),
                P::close(sums[2], second.0.block),
                P::close(sums[3], first.1.block),
            ];
        }
        [
            P::total(sums[0]),
            P::total(sums[1]),
            P::total(sums[2]),
            P::total(sums[3]),
        ]
    }
}

/// `base + step * sum`.
#[inline(always)]
unsafe fn shifted(sums: Totals, base: i32, step: i32) -> Totals {
    let [a, b, c, d] = sums;
    // SAFETY: the caller upholds the trait's contract.
    unsafe {
        let base = vdupq_n_s32(base);
        [
            vmlaq_n_s32(base, a, step),
            vmlaq_n_s32(base, b, step),
            vmlaq_n_s32(base, c, step),
            vmlaq_n_s32(base, d, step),
        ]
    }
}

impl<P: IntegerProducts, C: Columns> Products for Lanes<P, C> {
    #[inline(always)]
    unsafe fn dot8(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        // SAFETY: as the trait's contract (likewise below).
        unsafe { Self::from_i32(dot::<P, _>(Bits8, codes, groups, x)) }
    }

    #[inline(always)]
    unsafe fn dot6(codes: *const u8, groups: usize, x: *const i8, x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(shifted(dot::<P, _>(Bits6, codes, groups, x), -32 * x_sum, 1)) }
    }

    #[inline(always)]
    unsafe fn dot5(codes: *const u8, table: &Table<32>, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(dot::<P, _>(Bits5::new(&table.entries), codes, groups, x)) }
    }

    #[inline(always)]
    unsafe fn dot4(codes: *const u8, table: &Table<16>, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(dot::<P, _>(Bits4::new(&table.entries), codes, groups, x)) }
    }

    #[inline(always)]
    unsafe fn dot2(codes: *const u8, table: &[i8; 4], groups: usize, x: *const i8, x_sum: i32) -> Self {
        // Entries rise by the same step, of which codes are multiples.
        let [first, second] = [i32::from(table[0]), i32::from(table[1])];
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(shifted(P::dot2(codes, groups, x), first * x_sum, second - first)) }
    }

    #[inline(always)]
    unsafe fn dot_trits(codes: *const u8, blocks: usize, x: *const i8, _x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(dot::<P, _>(Trits::new(), codes, blocks, x)) }
    }

    #[inline(always)]
    unsafe fn dot_axis(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(dot::<P, _>(Axis, codes, groups, x)) }
    }

    #[inline(always)]
    unsafe fn dot_phases(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        // SAFETY: as `dot8`.
        unsafe { Self::from_i32(dot::<P, _>(Powers::new(), codes, groups, x)) }
    }

    #[inline(always)]
    unsafe fn dot_pair<const STAGES: usize>(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> [Self; 2] {
        // SAFETY: as `dot8`.
        unsafe {
            let [upper, lower] = if STAGES == 1 {
                dot_two::<P, _>(Pairs1::new(), codes, groups, x)
            } else {
                dot_two::<P, _>(Pairs2::new(), codes, groups, x)
            };
            [Self::from_i32(upper), Self::from_i32(lower)]
        }
    }

    #[inline(always)]
    unsafe fn dot_complex(
        codes: *const u8,
        groups: usize,
        re: *const i8,
        im: *const i8,
        _x_sums: [i32; 2],
    ) -> [Self; 4] {
        // SAFETY: as `dot8`.
        unsafe {
            let [a, b, c, d] = dot_four::<P, _>(Powers::new(), codes, groups, [re, im]);
            [
                Self::from_i32(a),
                Self::from_i32(b),
                Self::from_i32(c),
                Self::from_i32(d),
            ]
        }
    }

    #[inline(always)]
    unsafe fn expand8(values: *const u8, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { Bits8.unpack(values, &mut ToPanel::<C>::new(to)) }
    }

    #[inline(always)]
    unsafe fn expand6(codes: *const u8, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { Bits6.unpack(codes, &mut Then(&mut ToPanel::<C>::new(to), Minus32)) }
    }

    #[inline(always)]
    unsafe fn expand5(codes: *const u8, table: &Table<32>, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { Bits5::new(&table.entries).unpack(codes, &mut ToPanel::<C>::new(to)) }
    }

    #[inline(always)]
    unsafe fn expand4(codes: *const u8, table: &Table<16>, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { Bits4::new(&table.entries).unpack(codes, &mut ToPanel::<C>::new(to)) }
    }

    #[inline(always)]
    unsafe fn expand2(codes: *const u8, table: &[i8; 4], to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { Bits2.unpack(codes, &mut Then(&mut ToPanel::<C>::new(to), LookUp2::new(table))) }
    }

    #[inline(always)]
    unsafe fn expand_trits(block: *const u8, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { Trits::new().unpack(block, &mut ToPanel::<C>::new(to)) }
    }

    #[inline(always)]
    unsafe fn expand_axis(codes: *const u8, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { Axis.unpack(codes, &mut ToPanel::<C>::new(to)) }
    }

    #[inline(always)]
    unsafe fn expand_phases(codes: *const u8, to: *mut u8) {
        // SAFETY: as `dot8`.
        unsafe { Unpack::unpack(Powers::new(), codes, &mut ToPanel::<C>::new(to)) }
    }

    #[inline(always)]
    unsafe fn expand_pair<const STAGES: usize>(codes: *const u8, upper: *mut u8, lower: *mut u8) {
        let (mut upper, mut lower) = (ToPanel::<C>::new(upper), ToPanel::<C>::new(lower));
        // SAFETY: as `dot8`.
        unsafe {
            if STAGES == 1 {
                Pairs1::new().unpack(codes, &mut upper, &mut lower);
            } else {
                Pairs2::new().unpack(codes, &mut upper, &mut lower);
            }
        }
    }

    #[inline(always)]
    unsafe fn expand_complex(codes: *const u8, re: *mut u8, im: *mut u8) {
        let (mut re, mut im) = (ToPanel::<C>::new(re), ToPanel::<C>::new(im));
        // SAFETY: as `dot8`.
        unsafe { UnpackTwo::unpack(Powers::new(), codes, &mut re, &mut im) }
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(
        panel: *const u8,
        groups: usize,
        x: *const i8,
        stride: usize,
        _x_sums: [i32; N],
        _bounds: Bounds,
    ) -> [Self; N] {
        // SAFETY: as `dot8`.
        unsafe {
            let mut dots = [Self::splat(0.0); N];
            for (dot, sums) in dots.iter_mut().zip(C::dot_columns::<N>(panel, groups, x, stride)) {
                *dot = Self::from_i32(sums);
            }
            dots
        }
    }
}
