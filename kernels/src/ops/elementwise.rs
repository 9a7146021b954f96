//! Residual additions and the gated activations of feed-forward networks.

use super::OpError;
use crate::Backend;

/// `x += y`.
///
/// # Errors
/// [`OpError`] if the lengths differ.
pub fn add(backend: Backend, x: &mut [f32], y: &[f32]) -> Result<(), OpError> {
    OpError::exact("add: y", x.len(), y.len())?;
    // SAFETY: the lengths are equal, and `Backend` exists only for instruction sets that are present.
    unsafe { (backend.kernels().floats.add)(x, y) };
    Ok(())
}

/// `gate = silu(gate) * up` with `silu(x) = x / (1 + e^-x)` (Shazeer 2020, arXiv:2002.05202, section 2).
///
/// # Errors
/// [`OpError`] if the lengths differ.
pub fn swiglu(backend: Backend, gate: &mut [f32], up: &[f32]) -> Result<(), OpError> {
    OpError::exact("swiglu: up", gate.len(), up.len())?;
    // SAFETY: as in `add`.
    unsafe { (backend.kernels().floats.swiglu)(gate, up) };
    Ok(())
}

/// `gate = max(gate, 0)^2 * up`: the squared ReLU of BitNet b1.58 2B4T (arXiv:2504.12285, section 2).
///
/// # Errors
/// [`OpError`] if the lengths differ.
pub fn relu2_glu(backend: Backend, gate: &mut [f32], up: &[f32]) -> Result<(), OpError> {
    OpError::exact("relu2_glu: up", gate.len(), up.len())?;
    // SAFETY: as in `add`.
    unsafe { (backend.kernels().floats.relu2_glu)(gate, up) };
    Ok(())
}

/// The inner loops.
pub(crate) mod generic {
    use crate::arch::simd::Simd;

    /// What is done to every pair of numbers. (Types, not closures: those are compiled without the instruction set.)
    trait Pairwise {
        /// # Safety
        /// `V`'s instruction set is present.
        unsafe fn apply<V: Simd>(x: V, y: V) -> V;
    }

    struct Add;

    impl Pairwise for Add {
        #[inline(always)]
        unsafe fn apply<V: Simd>(x: V, y: V) -> V {
            // SAFETY: as the trait's contract (likewise below).
            unsafe { x.add(y) }
        }
    }

    struct Swiglu;

    impl Pairwise for Swiglu {
        #[inline(always)]
        unsafe fn apply<V: Simd>(gate: V, up: V) -> V {
            // SAFETY: as `Add`.
            unsafe {
                let exp = V::splat(0.0).sub(gate).exp();
                gate.div(V::splat(1.0).add(exp)).mul(up)
            }
        }
    }

    struct Relu2Glu;

    impl Pairwise for Relu2Glu {
        #[inline(always)]
        unsafe fn apply<V: Simd>(gate: V, up: V) -> V {
            // SAFETY: as `Add`.
            unsafe {
                let relu = gate.max(V::splat(0.0));
                relu.mul(relu).mul(up)
            }
        }
    }

    /// `x = P(x, y)`, 16 lanes at a time.
    ///
    /// # Safety
    /// `V`'s instruction set is present; the lengths are equal.
    #[inline(always)]
    unsafe fn zip<V: Simd, P: Pairwise>(x: &mut [f32], y: &[f32]) {
        let (whole, rest) = (x.len() / 16 * 16, x.len() % 16);
        let (x, y) = (x.as_mut_ptr(), y.as_ptr());
        // SAFETY: 16 floats follow each of these indices; then the rest, fewer than 16.
        unsafe {
            for i in (0..whole).step_by(16) {
                P::apply(V::load(x.add(i)), V::load(y.add(i))).store(x.add(i));
            }
            if rest > 0 {
                let result = P::apply(V::load_part(x.add(whole), rest), V::load_part(y.add(whole), rest));
                result.store_part(x.add(whole), rest);
            }
        }
    }

    /// # Safety
    /// As [`zip`].
    #[inline(always)]
    pub(crate) unsafe fn add<V: Simd>(x: &mut [f32], y: &[f32]) {
        // SAFETY: as this function's contract.
        unsafe { zip::<V, Add>(x, y) }
    }

    /// # Safety
    /// As [`zip`].
    #[inline(always)]
    pub(crate) unsafe fn swiglu<V: Simd>(gate: &mut [f32], up: &[f32]) {
        // SAFETY: as this function's contract.
        unsafe { zip::<V, Swiglu>(gate, up) }
    }

    /// # Safety
    /// As [`zip`].
    #[inline(always)]
    pub(crate) unsafe fn relu2_glu<V: Simd>(gate: &mut [f32], up: &[f32]) {
        // SAFETY: as this function's contract.
        unsafe { zip::<V, Relu2Glu>(gate, up) }
    }
}
