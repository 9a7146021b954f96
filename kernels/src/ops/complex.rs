//! What complex-valued transformers need beside real ones (iFairy, arXiv:2508.05571).
//!
//! A position of `n` complex channels is `2n` floats: the real parts, then the imaginary ones. A head of attention is
//! held the same way, so that the real dot product of a query and a key is `Re(q conj(k))`, and the rotary turn of
//! [`RopePairs::Halves`](super::RopePairs) is the product with `e^(i angle)`. These loops are short beside a product's,
//! so no instruction set has its own.

use super::OpError;

/// `gate = conj(act(gate)) * up` for rows of `channels` complex numbers, where `act` squares the real and the imaginary
/// part, and gives 0 if both are negative.
///
/// # Errors
/// [`OpError`] if the lengths differ or are no whole number of rows.
pub fn complex_relu2_glu(channels: usize, gate: &mut [f32], up: &[f32]) -> Result<(), OpError> {
    OpError::exact("complex_relu2_glu: up", gate.len(), up.len())?;
    whole_rows("complex_relu2_glu: gate", gate.len(), channels.saturating_mul(2))?;
    for (gate, up) in gate.chunks_exact_mut(2 * channels).zip(up.chunks_exact(2 * channels)) {
        let (gate_re, gate_im) = gate.split_at_mut(channels);
        let (up_re, up_im) = up.split_at(channels);
        for (((re, im), &up_re), &up_im) in gate_re.iter_mut().zip(gate_im).zip(up_re).zip(up_im) {
            let (a, b) = if *re < 0.0 && *im < 0.0 {
                (0.0, 0.0)
            } else {
                (*re * *re, *im * *im)
            };
            (*re, *im) = (a * up_re + b * up_im, a * up_im - b * up_re);
        }
    }
    Ok(())
}

/// `y = W conj(x)` with `W = A + iB` of `rows` rows, from the real products of `[A; B]` with `re x` and with `im x`:
/// `products` is `[position][A re x, B re x, A im x, B im x]`, `out` is `[position][re y, im y]`.
///
/// # Errors
/// [`OpError`] if `out` is no whole number of positions or `products` not twice as long.
pub fn conj_product(rows: usize, products: &[f32], out: &mut [f32]) -> Result<(), OpError> {
    whole_rows("conj_product: out", out.len(), rows.saturating_mul(2))?;
    OpError::exact("conj_product: products", out.len() * 2, products.len())?;
    for (products, out) in products.chunks_exact(4 * rows).zip(out.chunks_exact_mut(2 * rows)) {
        let (re_x, im_x) = products.split_at(2 * rows);
        let (a_re, b_re) = re_x.split_at(rows);
        let (a_im, b_im) = im_x.split_at(rows);
        let (re, im) = out.split_at_mut(rows);
        for i in 0..rows {
            re[i] = a_re[i] + b_im[i];
            im[i] = b_re[i] - a_im[i];
        }
    }
    Ok(())
}

/// Copies `x`, `[position][outer][inner][len]`, to `out`, `[position][inner][outer][len]`.
///
/// With 2 for one of the axes it gathers the parts of a head, or takes them apart again.
///
/// # Errors
/// [`OpError`] if `x` is no whole number of positions or `out` not as long.
pub fn swap_axes([outer, inner, len]: [usize; 3], x: &[f32], out: &mut [f32]) -> Result<(), OpError> {
    let row = outer.saturating_mul(inner).saturating_mul(len);
    whole_rows("swap_axes: x", x.len(), row)?;
    OpError::exact("swap_axes: out", x.len(), out.len())?;
    for (x, out) in x.chunks_exact(row).zip(out.chunks_exact_mut(row)) {
        for (i, piece) in x.chunks_exact(len).enumerate() {
            let to = (i % inner * outer + i / inner) * len;
            out[to..to + len].copy_from_slice(piece);
        }
    }
    Ok(())
}

/// Refuses a buffer that is not a whole number of rows of `row` floats.
fn whole_rows(what: &'static str, len: usize, row: usize) -> Result<(), OpError> {
    if row > 0 && len.is_multiple_of(row) {
        return Ok(());
    }
    Err(OpError {
        what,
        expected: row,
        found: len,
    })
}
