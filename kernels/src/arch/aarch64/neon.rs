//! NEON as every 64-bit Arm has it (Cortex-A53, A72): widening multiplications.
//!
//! Two products of bytes are added in 16 bits, at most 2 * 128 * 127 = 32512, then pairs of those to 32-bit sums. Small
//! values' products (at most 24 in a block, each at most 8 * 127 = 1016) are added in 16 bits block by block.

use super::lanes::Lanes;
use super::products::{Columns, IntegerProducts, Totals};
use super::unpack::{Step, load_step};
use core::arch::aarch64::*;
use core::arch::asm;

/// [`IntegerProducts`] by widening multiplications.
#[derive(Clone, Copy)]
pub(crate) struct Widening;

crate::arch::kernels::kernels!("neon", Lanes<Widening, Widening>, features: ["neon"], supported: || true, columns: 2);

/// 16 rows' sums, two registers for 4 rows, each of two rows: even and odd pairs of columns.
type Pairs = [[int32x4_t; 2]; 4];
/// 16 rows' sums of each column of four, two registers for 4 rows.
type Quads = [[int16x8_t; 2]; 4];

/// Four activations, in every lane.
///
/// # Safety
/// They are there. (At any address: `vld1q_dup_s32` would want one that is a multiple of 4.)
#[inline(always)]
unsafe fn broadcast(x: *const i8) -> int8x16_t {
    // SAFETY: as this function's contract, and the trait's.
    unsafe { vreinterpretq_s8_s32(vdupq_n_s32(x.cast::<i32>().read_unaligned())) }
}

/// Eight activations: each four of them in every lane.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn broadcast_pair(x: *const i8) -> [int8x16_t; 2] {
    // SAFETY: as this function's contract.
    unsafe { [broadcast(x), broadcast(x.add(4))] }
}

/// Adds the products of a pair of steps.
///
/// The instructions are one block for 8 rows, in an order in which none waits for the one before it; not `pure`, as in
/// [`dotprod`](super::dotprod).
#[inline(always)]
unsafe fn add_pair<const ROW: usize, const R: usize>(sums: &mut Pairs, [a, b]: [Step<R>; 2], x: [int8x16_t; 2]) {
    let sums = sums[ROW..].as_chunks_mut().0;
    for (([p, q], [a, b]), [c, d]) in sums.iter_mut().zip(a.as_chunks().0).zip(b.as_chunks().0) {
        // SAFETY: registers only, and the caller upholds the trait's contract.
        unsafe {
            asm!(
                "smull  {e:v}.8h, {a:v}.8b,  {x:v}.8b",
                "smull2 {f:v}.8h, {a:v}.16b, {x:v}.16b",
                "smull  {g:v}.8h, {b:v}.8b,  {x:v}.8b",
                "smull2 {h:v}.8h, {b:v}.16b, {x:v}.16b",
                "smlal  {e:v}.8h, {c:v}.8b,  {y:v}.8b",
                "smlal2 {f:v}.8h, {c:v}.16b, {y:v}.16b",
                "smlal  {g:v}.8h, {d:v}.8b,  {y:v}.8b",
                "smlal2 {h:v}.8h, {d:v}.16b, {y:v}.16b",
                "sadalp {p:v}.4s, {e:v}.8h",
                "sadalp {q:v}.4s, {f:v}.8h",
                "sadalp {r:v}.4s, {g:v}.8h",
                "sadalp {s:v}.4s, {h:v}.8h",
                p = inout(vreg) p[0], q = inout(vreg) p[1], r = inout(vreg) q[0], s = inout(vreg) q[1],
                a = in(vreg) *a, b = in(vreg) *b, c = in(vreg) *c, d = in(vreg) *d,
                x = in(vreg) x[0], y = in(vreg) x[1],
                e = out(vreg) _, f = out(vreg) _, g = out(vreg) _, h = out(vreg) _,
                options(nomem, nostack, preserves_flags),
            );
        }
    }
}

/// Adds the products of a step of small values, or puts them in place of what was there.
#[inline(always)]
unsafe fn add_small_step<const FIRST: bool, const ROW: usize, const R: usize>(
    sums: &mut Quads,
    values: Step<R>,
    x: int8x16_t,
) {
    let sums = sums[ROW..].as_chunks_mut().0;
    for ([p, q], [a, b]) in sums.iter_mut().zip(values.as_chunks().0) {
        // SAFETY: registers only, and the caller upholds the trait's contract.
        unsafe {
            if FIRST {
                asm!(
                    "smull  {p:v}.8h, {a:v}.8b,  {x:v}.8b",
                    "smull2 {q:v}.8h, {a:v}.16b, {x:v}.16b",
                    "smull  {r:v}.8h, {b:v}.8b,  {x:v}.8b",
                    "smull2 {s:v}.8h, {b:v}.16b, {x:v}.16b",
                    p = out(vreg) p[0], q = out(vreg) p[1], r = out(vreg) q[0], s = out(vreg) q[1],
                    a = in(vreg) *a, b = in(vreg) *b, x = in(vreg) x,
                    options(nomem, nostack, preserves_flags),
                );
            } else {
                asm!(
                    "smlal  {p:v}.8h, {a:v}.8b,  {x:v}.8b",
                    "smlal2 {q:v}.8h, {a:v}.16b, {x:v}.16b",
                    "smlal  {r:v}.8h, {b:v}.8b,  {x:v}.8b",
                    "smlal2 {s:v}.8h, {b:v}.16b, {x:v}.16b",
                    p = inout(vreg) p[0], q = inout(vreg) p[1], r = inout(vreg) q[0], s = inout(vreg) q[1],
                    a = in(vreg) *a, b = in(vreg) *b, x = in(vreg) x,
                    options(nomem, nostack, preserves_flags),
                );
            }
        }
    }
}

impl IntegerProducts for Widening {
    const WIDE: bool = false;
    type Sums = Pairs;
    type Block = Quads;

    #[inline(always)]
    unsafe fn zero() -> Pairs {
        // SAFETY: the caller upholds the trait's contract (likewise below).
        unsafe { [[vdupq_n_s32(0); 2]; 4] }
    }

    #[inline(always)]
    unsafe fn total([a, b, c, d]: Pairs) -> Totals {
        // SAFETY: as `zero`.
        unsafe {
            [
                vpaddq_s32(a[0], a[1]),
                vpaddq_s32(b[0], b[1]),
                vpaddq_s32(c[0], c[1]),
                vpaddq_s32(d[0], d[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn add<const PAIR: usize, const ROW: usize, const R: usize>(
        sums: &mut Pairs,
        values: [Step<R>; 2],
        x: *const i8,
    ) {
        // SAFETY: as `zero`.
        unsafe { add_pair::<ROW, R>(sums, values, broadcast_pair(x.add(PAIR * 8))) }
    }

    #[inline(always)]
    unsafe fn open(_sums: Pairs) -> Quads {
        // SAFETY: as `zero`.
        unsafe { [[vdupq_n_s16(0); 2]; 4] }
    }

    #[inline(always)]
    unsafe fn add_small<const PAIR: usize, const ROW: usize, const R: usize>(
        block: &mut Quads,
        [a, b]: [Step<R>; 2],
        x: *const i8,
    ) {
        // SAFETY: as `zero`.
        unsafe {
            let x = broadcast_pair(x.add(PAIR * 8));
            if PAIR == 0 {
                add_small_step::<true, ROW, R>(block, a, x[0]);
            } else {
                add_small_step::<false, ROW, R>(block, a, x[0]);
            }
            add_small_step::<false, ROW, R>(block, b, x[1]);
        }
    }

    #[inline(always)]
    unsafe fn close(mut sums: Pairs, block: Quads) -> Pairs {
        for (sums, block) in sums.iter_mut().zip(block) {
            // SAFETY: as `zero`.
            *sums = unsafe { [vpadalq_s16(sums[0], block[0]), vpadalq_s16(sums[1], block[1])] };
        }
        sums
    }
}

impl Columns for Widening {
    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(panel: *const u8, groups: usize, x: *const i8, stride: usize) -> [Totals; N] {
        // SAFETY: as `zero`.
        unsafe {
            let mut sums = [Self::zero(); N];
            for pair in 0..groups * 4 {
                let mut columns = [[vdupq_n_s8(0); 2]; N];
                for (n, column) in columns.iter_mut().enumerate() {
                    *column = broadcast_pair(x.add(n * stride + pair * 8));
                }
                let panel = panel.add(pair * 128);
                let values = [load_step(panel), load_step(panel.add(64))];
                for (sums, x) in sums.iter_mut().zip(columns) {
                    add_pair::<0, 4>(sums, values, x);
                }
            }
            let mut dots = [[vdupq_n_s32(0); 4]; N];
            for (dots, sums) in dots.iter_mut().zip(sums) {
                *dots = Self::total(sums);
            }
            dots
        }
    }
}
