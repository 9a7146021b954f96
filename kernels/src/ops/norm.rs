//! Root-mean-square norm.

use super::OpError;
use crate::Backend;

/// `out = x / sqrt(mean(x^2) + epsilon) * weight` for each row of `weight.len()` floats (Zhang and Sennrich 2019,
/// arXiv:1910.07467, equation 4).
///
/// # Errors
/// [`OpError`] if `x` is not a whole number of rows or `out` not as long as `x`.
pub fn rms_norm(backend: Backend, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) -> Result<(), OpError> {
    norm_rows(backend, x, weight, weight.len(), epsilon, out)
}

/// `out = x / sqrt(mean(|x|^2) + epsilon) * weight` for each row of `weight.len() / 2` complex numbers, `[re, im]`; the
/// two halves of `weight` scale re and im apart (iFairy, arXiv:2508.05571).
///
/// # Errors
/// As [`rms_norm`], and if `weight` has an odd length.
pub fn complex_rms_norm(
    backend: Backend,
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    out: &mut [f32],
) -> Result<(), OpError> {
    let channels = weight.len() / 2;
    OpError::exact("complex_rms_norm: weight", channels * 2, weight.len())?;
    norm_rows(backend, x, weight, channels, epsilon, out)
}

/// Norms rows of `weight.len()` floats, whose squares are averaged over `channels`.
fn norm_rows(
    backend: Backend,
    x: &[f32],
    weight: &[f32],
    channels: usize,
    epsilon: f32,
    out: &mut [f32],
) -> Result<(), OpError> {
    OpError::exact("rms_norm: out", x.len(), out.len())?;
    if weight.is_empty() || !x.len().is_multiple_of(weight.len()) {
        return Err(OpError {
            what: "rms_norm: x",
            expected: weight.len(),
            found: x.len(),
        });
    }
    for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
        // SAFETY: all three are equally long, and `Backend` exists only for instruction sets that are present.
        unsafe { (backend.kernels().floats.rms_norm)(x, weight, channels, epsilon, out) };
    }
    Ok(())
}

/// The inner loop.
pub(crate) mod generic {
    use crate::arch::simd::Simd;

    /// # Safety
    /// `V`'s instruction set is present; the three are equally long.
    #[inline(always)]
    pub(crate) unsafe fn rms_norm<V: Simd>(x: &[f32], weight: &[f32], channels: usize, epsilon: f32, out: &mut [f32]) {
        let (whole, rest) = (x.len() / 16 * 16, x.len() % 16);
        // SAFETY: 16 floats follow each index below `whole`, `rest` follow `whole`.
        unsafe {
            let mut sum = V::splat(0.0);
            for i in (0..whole).step_by(16) {
                let x = V::load(x.as_ptr().add(i));
                sum = sum.add(x.mul(x));
            }
            if rest > 0 {
                let x = V::load_part(x.as_ptr().add(whole), rest);
                sum = sum.add(x.mul(x));
            }
            let scale = V::splat(1.0 / libm::sqrtf(sum.sum() / channels as f32 + epsilon));
            for i in (0..whole).step_by(16) {
                let x = V::load(x.as_ptr().add(i)).mul(scale);
                x.mul(V::load(weight.as_ptr().add(i))).store(out.as_mut_ptr().add(i));
            }
            if rest > 0 {
                let x = V::load_part(x.as_ptr().add(whole), rest).mul(scale);
                let weight = V::load_part(weight.as_ptr().add(whole), rest);
                x.mul(weight).store_part(out.as_mut_ptr().add(whole), rest);
            }
        }
    }
}
