//! The portable backend. It is the oracle: each method says in plain arithmetic what the others must equal.
//!
//! It needs no instruction set, so its longer methods may be functions of their own: that is less to compile.

use super::products::Products;
use super::simd::Simd;
use crate::format::codes::Bounds;
use half::{bf16, f16};

#[derive(Clone, Copy)]
pub(crate) struct Scalar([f32; 16]);

super::kernels::kernels!("scalar", Scalar, features: [], supported: || true, columns: 1);

/// Reads `bytes` at `from`.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn read<const N: usize>(from: *const u8) -> [u8; N] {
    // SAFETY: as this function's contract; arrays of bytes need no alignment.
    unsafe { from.cast::<[u8; N]>().read() }
}

impl Scalar {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Scalar(core::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Scalar(self.0.map(f))
    }

    /// Halves the lanes with `f` until one is left: the order that all backends keep.
    #[inline(always)]
    fn reduce(self, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = self.0;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                lanes[i] = f(lanes[i], lanes[i + half]);
            }
        }
        lanes[0]
    }
}

// SAFETY of every block below: the caller vouches for the memory that the method's contract names.
impl Simd for Scalar {
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Scalar([x; 16])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: 16 floats are there.
        Scalar(unsafe { from.cast::<[f32; 16]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: room for 16 floats is there.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(self.0) }
    }

    #[inline(never)]
    unsafe fn load_f16(from: *const u8) -> Self {
        // SAFETY: 32 bytes are there.
        let bytes = unsafe { read::<32>(from) };
        Scalar(core::array::from_fn(|i| {
            f16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32()
        }))
    }

    #[inline(never)]
    unsafe fn load_bf16(from: *const u8) -> Self {
        // SAFETY: 32 bytes are there.
        let bytes = unsafe { read::<32>(from) };
        Scalar(core::array::from_fn(|i| {
            bf16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]).to_f32()
        }))
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: 16 bytes are there.
        Scalar(unsafe { read::<16>(from.cast()) }.map(|byte| f32::from(byte as i8)))
    }

    #[inline(never)]
    unsafe fn store_f16(self, to: *mut u8) {
        let halves = self.0.map(|x| f16::from_f32(x).to_le_bytes());
        // SAFETY: room for 32 bytes is there.
        unsafe { to.cast::<[[u8; 2]; 16]>().write(halves) }
    }

    #[inline(never)]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: room for 16 bytes is there.
        unsafe { to.cast::<[i8; 16]>().write(self.0.map(|x| x as i8)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        self.map(|x| f32::from_bits(x.to_bits() & 0x7fff_ffff))
    }

    #[inline(always)]
    unsafe fn exp2_whole(self) -> Self {
        self.map(|x| f32::from_bits(((x as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.reduce(|a, b| a + b)
    }

    #[inline(always)]
    unsafe fn max_lane(self) -> f32 {
        self.reduce(|a, b| if a > b { a } else { b })
    }
}

impl Products for Scalar {
    #[inline(never)]
    unsafe fn dot8(codes: *const u8, groups: usize, x: *const i8, _x_sum: i32) -> Self {
        let mut sums = [0i32; 16];
        for step in 0..groups * 8 {
            // SAFETY: groups of codes and of activations are there.
            let (codes, x) = unsafe { (read::<64>(codes.add(step * 64)), read::<4>(x.add(step * 4).cast())) };
            for (sum, codes) in sums.iter_mut().zip(codes.chunks_exact(4)) {
                for (code, x) in codes.iter().zip(x) {
                    *sum += i32::from(*code as i8) * i32::from(x as i8);
                }
            }
        }
        Scalar(sums.map(|sum| sum as f32))
    }

    #[inline(always)]
    unsafe fn dot_columns<const N: usize>(
        panel: *const u8,
        groups: usize,
        x: *const i8,
        stride: usize,
        x_sums: [i32; N],
        _bounds: Bounds,
    ) -> [Self; N] {
        // SAFETY: groups of values, and of activations at each of N strides, are there.
        core::array::from_fn(|n| unsafe { Self::dot8(panel, groups, x.add(n * stride), x_sums[n]) })
    }
}
