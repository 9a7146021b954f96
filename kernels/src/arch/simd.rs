//! Sixteen float lanes.

/// Sixteen f32 lanes of one instruction set.
///
/// Every implementation gives the same bits for the same input, a NaN's sign and payload apart. So nothing here fuses a
/// multiplication with an addition, and [`sum`](Simd::sum) adds in one fixed order: lane `i` and `i + 8`, then `i + 4`,
/// `i + 2`, `i + 1`.
///
/// # Safety
/// Calling any method is sound only where the instruction set is present, in a function compiled for it (all are
/// `inline(always)`, so the `#[target_feature]` entry points in [`Kernels`](super::Kernels) are that function).
/// Pointers need no alignment.
pub(crate) trait Simd: Copy {
    /// Whether there are registers for twice as many sums as [`attend`](crate::ops) needs, which hides the latency of
    /// additions.
    const WIDE: bool = false;

    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self;
    /// Reads 16 floats.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes 16 floats.
    unsafe fn store(self, to: *mut f32);
    /// Reads 16 f16, little-endian.
    unsafe fn load_f16(from: *const u8) -> Self;
    /// Reads 16 bf16, little-endian.
    unsafe fn load_bf16(from: *const u8) -> Self;
    /// Reads 16 signed bytes.
    unsafe fn load_i8(from: *const i8) -> Self;
    /// Writes 16 f16, rounded to nearest even, little-endian.
    unsafe fn store_f16(self, to: *mut u8);
    /// Writes 16 signed bytes. The lanes hold whole numbers in -127..=127.
    unsafe fn store_i8(self, to: *mut i8);
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self / other`.
    unsafe fn div(self, other: Self) -> Self;
    /// The larger; `other` where `self` is NaN. `other` is never NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// The smaller; `other` where `self` is NaN. `other` is never NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// Without the sign.
    unsafe fn abs(self) -> Self;
    /// 2 to the power of lanes that hold whole numbers in -126..=127.
    unsafe fn exp2_whole(self) -> Self;
    /// The sum of all lanes, in the order above.
    unsafe fn sum(self) -> f32;
    /// The largest lane. No lane is NaN.
    unsafe fn max_lane(self) -> f32;

    /// Asks for the cache line at `address`, which may lie outside any object.
    #[inline(always)]
    unsafe fn prefetch(_address: *const u8) {}

    /// Rounds to whole numbers, ties to even. For |lanes| < 2^22.
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // Adding 1.5 * 2^23 leaves no bits for a fraction.
        const SHIFT: f32 = 12_582_912.0;
        // SAFETY: the caller upholds the trait's contract.
        unsafe { self.add(Self::splat(SHIFT)).sub(Self::splat(SHIFT)) }
    }

    /// Reads `count < 16` floats, the other lanes 0.
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        let mut lanes = [0f32; 16];
        // SAFETY: the caller vouches for `count` floats, and `count` < 16.
        unsafe {
            core::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }

    /// Writes the first `count <= 16` lanes.
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: the caller vouches for `count` floats, and `count` <= 16.
        unsafe {
            if count == 16 {
                self.store(to);
            } else {
                let mut lanes = [0f32; 16];
                self.store(lanes.as_mut_ptr());
                core::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
            }
        }
    }

    /// e to the power of each lane, taken as -87.3 below that and as 88 above and where it is NaN; at most 2 units in
    /// the last place off.
    ///
    /// Cody and Waite's reduction and the polynomial of Cephes' `expf` (S. Moshier).
    #[inline(always)]
    unsafe fn exp(self) -> Self {
        // SAFETY: the caller upholds the trait's contract.
        unsafe {
            let x = self.min(Self::splat(88.0)).max(Self::splat(-87.3));
            let n = x.mul(Self::splat(core::f32::consts::LOG2_E)).round();
            let r = x
                .sub(n.mul(Self::splat(0.693_359_4)))
                .sub(n.mul(Self::splat(-2.121_944_4e-4)));
            let mut p = Self::splat(1.987_569_1e-4);
            for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
                p = p.mul(r).add(Self::splat(c));
            }
            let p = p.mul(r).mul(r).add(r).add(Self::splat(1.0));
            p.mul(n.exp2_whole())
        }
    }
}
