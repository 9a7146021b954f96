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
    unsafe { (backend.kernels().add)(x, y) };
    Ok(())
}

/// `gate = silu(gate) * up` with `silu(x) = x / (1 + e^-x)` (Shazeer 2020, arXiv:2002.05202, section 2).
///
/// # Errors
/// [`OpError`] if the lengths differ.
pub fn swiglu(backend: Backend, gate: &mut [f32], up: &[f32]) -> Result<(), OpError> {
    OpError::exact("swiglu: up", gate.len(), up.len())?;
    // SAFETY: as in `add`.
    unsafe { (backend.kernels().swiglu)(gate, up) };
    Ok(())
}

/// `gate = max(gate, 0)^2 * up`: the squared ReLU of BitNet b1.58 2B4T (arXiv:2504.12285, section 2).
///
/// # Errors
/// [`OpError`] if the lengths differ.
pub fn relu2_glu(backend: Backend, gate: &mut [f32], up: &[f32]) -> Result<(), OpError> {
    OpError::exact("relu2_glu: up", gate.len(), up.len())?;
    // SAFETY: as in `add`.
    unsafe { (backend.kernels().relu2_glu)(gate, up) };
    Ok(())
}

/// The inner loops.
pub(crate) mod generic {
    use crate::arch::simd::Simd;

    /// `x = f(x, y)`, 16 lanes at a time.
    ///
    /// # Safety
    /// `V`'s instruction set is present; the lengths are equal.
    #[inline(always)]
    unsafe fn zip<V: Simd>(x: &mut [f32], y: &[f32], f: impl Fn(V, V) -> V) {
        let whole = x.len() / 16 * 16;
        let (x_ptr, y_ptr) = (x.as_mut_ptr(), y.as_ptr());
        // SAFETY: 16 floats follow each of these indices; then the rest, fewer than 16.
        unsafe {
            for i in (0..whole).step_by(16) {
                f(V::load(x_ptr.add(i)), V::load(y_ptr.add(i))).store(x_ptr.add(i));
            }
            let rest = x.len() - whole;
            if rest > 0 {
                let result = f(
                    V::load_part(x_ptr.add(whole), rest),
                    V::load_part(y_ptr.add(whole), rest),
                );
                result.store_part(x_ptr.add(whole), rest);
            }
        }
    }

    /// # Safety
    /// As [`zip`].
    #[inline(always)]
    pub(crate) unsafe fn add<V: Simd>(x: &mut [f32], y: &[f32]) {
        // SAFETY: as this function's contract.
        unsafe { zip::<V>(x, y, |x, y| x.add(y)) }
    }

    /// # Safety
    /// As [`zip`].
    #[inline(always)]
    pub(crate) unsafe fn swiglu<V: Simd>(gate: &mut [f32], up: &[f32]) {
        // SAFETY: as this function's contract.
        unsafe {
            zip::<V>(gate, up, |gate, up| {
                let one = V::splat(1.0);
                let exp = V::splat(0.0).sub(gate).exp();
                gate.div(one.add(exp)).mul(up)
            })
        }
    }

    /// # Safety
    /// As [`zip`].
    #[inline(always)]
    pub(crate) unsafe fn relu2_glu<V: Simd>(gate: &mut [f32], up: &[f32]) {
        // SAFETY: as this function's contract.
        unsafe {
            zip::<V>(gate, up, |gate, up| {
                let relu = gate.max(V::splat(0.0));
                relu.mul(relu).mul(up)
            })
        }
    }
}
