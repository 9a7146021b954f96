//! Sums of products of bytes.

use super::bytes::broadcast;
use crate::format::codes::Bounds;
use core::arch::x86_64::*;
use core::marker::PhantomData;

/// How an instruction set multiplies bytes.
///
/// # Safety
/// As for [`Simd`](crate::arch::simd::Simd).
pub(crate) trait Multiply: Copy {
    /// Whether sums are of 32 bits, each a row's. Otherwise they are of 16, each of a row's even or odd pairs of columns.
    const WIDE: bool;

    /// Adds products of unsigned weights with activations.
    unsafe fn add(sums: __m256i, weights: __m256i, x: __m256i) -> __m256i;
}

/// Weights are signed: each product is widened at once.
pub(super) const SIGNED: usize = 0;

/// How many products of such weights, less their least value, a sum takes before it must be widened.
#[inline(always)]
pub(super) fn room<M: Multiply>(bounds: Bounds) -> usize {
    let largest = (i16::from(bounds.most) - i16::from(bounds.least)).unsigned_abs();
    if M::WIDE || largest == 0 {
        usize::MAX
    } else {
        usize::from(i16::MAX.unsigned_abs() / 254) / usize::from(largest)
    }
}

/// The same in steps: 8, 2, or [`SIGNED`] where there is room for one only.
#[inline(always)]
pub(super) fn products_at_once<M: Multiply>(bounds: Bounds) -> usize {
    match room::<M>(bounds) {
        8.. => 8,
        2.. => 2,
        _ => SIGNED,
    }
}

/// What weights lack, so that none is negative; 0 where they are signed.
#[inline(always)]
pub(super) fn offset<M: Multiply>(bounds: Bounds) -> i8 {
    if products_at_once::<M>(bounds) == SIGNED {
        0
    } else {
        bounds.least
    }
}

/// Names what [`products_at_once`] gives as the constant `$at_once` in an expression.
macro_rules! at_once {
    ($M:ty, $bounds:expr, |$at_once:ident| $dot:expr) => {
        match $crate::arch::x86_64::avx2::sums::products_at_once::<$M>($bounds) {
            8 => {
                const $at_once: usize = 8;
                $dot
            }
            2 => {
                const $at_once: usize = 2;
                $dot
            }
            _ => {
                const $at_once: usize = $crate::arch::x86_64::avx2::sums::SIGNED;
                $dot
            }
        }
    };
}
pub(super) use at_once;

/// Sums of 16 rows, 8 in each register: those that may soon overflow, and those of whole rows in 32 bits. Where all are of
/// 32 bits, both are sums of whole rows.
#[derive(Clone, Copy)]
pub(super) struct Sums<M> {
    partial: [__m256i; 2],
    whole: [__m256i; 2],
    multiply: PhantomData<M>,
}

impl<M: Multiply> Sums<M> {
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        // SAFETY: registers only, and the caller upholds `Simd`'s contract (likewise below).
        let zero = unsafe { [_mm256_setzero_si256(); 2] };
        Sums {
            partial: zero,
            whole: zero,
            multiply: PhantomData,
        }
    }

    /// Adds to 8 rows' sums the products of unsigned weights.
    #[inline(always)]
    pub(super) unsafe fn add(&mut self, half: usize, weights: __m256i, x: __m256i) {
        // SAFETY: as `new`.
        unsafe { self.partial[half] = M::add(self.partial[half], weights, x) }
    }

    /// Likewise; need not wait for what [`add`](Self::add) last added where sums are of 32 bits: there an instruction that
    /// multiplies and adds takes four cycles.
    #[inline(always)]
    pub(super) unsafe fn add_aside(&mut self, half: usize, weights: __m256i, x: __m256i) {
        // SAFETY: as `new`.
        unsafe {
            if M::WIDE {
                self.whole[half] = M::add(self.whole[half], weights, x);
            } else {
                self.add(half, weights, x);
            }
        }
    }

    /// Adds to 8 rows' sums the products of signed weights.
    #[inline(always)]
    pub(super) unsafe fn add_signed(&mut self, half: usize, weights: __m256i, x: __m256i) {
        // SAFETY: as `new`.
        unsafe {
            self.add(half, _mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
            self.widen_half(half);
        }
    }

    /// Likewise for entries of a table, none of which is -128: an activation gives its sign to the weights, so that its
    /// magnitude is found once for all rows.
    #[inline(always)]
    pub(super) unsafe fn add_entries<const AT_ONCE: usize>(&mut self, half: usize, weights: __m256i, x: Signed) {
        // SAFETY: as `new`.
        unsafe {
            if AT_ONCE == SIGNED {
                self.add(half, x.magnitudes, _mm256_sign_epi8(weights, x.x));
                self.widen_half(half);
            } else {
                self.add(half, weights, x.x);
            }
        }
    }

    /// The one or the other, as [`products_at_once`] says.
    #[inline(always)]
    pub(super) unsafe fn add_some<const AT_ONCE: usize>(&mut self, half: usize, weights: __m256i, x: __m256i) {
        // SAFETY: as `new`.
        unsafe {
            if AT_ONCE == SIGNED {
                self.add_signed(half, weights, x);
            } else {
                self.add(half, weights, x);
            }
        }
    }

    #[inline(always)]
    pub(super) unsafe fn widen_half(&mut self, half: usize) {
        if !M::WIDE {
            // SAFETY: as `new`.
            unsafe {
                let rows = _mm256_madd_epi16(self.partial[half], _mm256_set1_epi16(1));
                self.whole[half] = _mm256_add_epi32(self.whole[half], rows);
                self.partial[half] = _mm256_setzero_si256();
            }
        }
    }

    /// Adds sums of products that are `2^SHIFT` times too large.
    #[inline(always)]
    pub(super) unsafe fn add_shifted<const SHIFT: i32>(&mut self, half: usize, sums: __m256i) {
        let partial = &mut self.partial[half];
        // SAFETY: as `new`.
        unsafe {
            *partial = if M::WIDE {
                _mm256_add_epi32(*partial, _mm256_srai_epi32::<SHIFT>(sums))
            } else {
                _mm256_add_epi16(*partial, _mm256_srai_epi16::<SHIFT>(sums))
            };
        }
    }

    /// Makes room for more products.
    #[inline(always)]
    pub(super) unsafe fn widen(&mut self) {
        // SAFETY: as `new`.
        unsafe {
            self.widen_half(0);
            self.widen_half(1);
        }
    }

    /// The whole sums.
    #[inline(always)]
    pub(super) unsafe fn finish(mut self) -> [__m256i; 2] {
        // SAFETY: as `new`.
        unsafe {
            self.widen();
            if M::WIDE {
                for (partial, whole) in self.partial.iter_mut().zip(self.whole) {
                    *partial = _mm256_add_epi32(*partial, whole);
                }
                self.partial
            } else {
                self.whole
            }
        }
    }
}

/// Activations, in every lane, and their magnitudes.
#[derive(Clone, Copy)]
pub(super) struct Signed {
    x: __m256i,
    magnitudes: __m256i,
}

impl Signed {
    /// # Safety
    /// Four are there, and the caller upholds `Simd`'s contract.
    #[inline(always)]
    pub(super) unsafe fn of(x: *const i8) -> Self {
        // SAFETY: as this function's contract.
        unsafe {
            let x = broadcast(x);
            Signed {
                x,
                magnitudes: _mm256_abs_epi8(x),
            }
        }
    }
}

/// Adds what the products of weights that lack `offset` lack.
#[inline(always)]
pub(super) unsafe fn restore(mut sums: [__m256i; 2], offset: i8, x_sum: i32) -> [__m256i; 2] {
    // SAFETY: registers only, and the caller upholds `Simd`'s contract.
    unsafe {
        let lacking = _mm256_set1_epi32(i32::from(offset) * x_sum);
        for sum in &mut sums {
            *sum = _mm256_add_epi32(*sum, lacking);
        }
    }
    sums
}
