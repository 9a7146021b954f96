//! What complex channels add to the forward pass (iFairy, arXiv:2508.05571).

use super::workspace::{PARTS_POSITIONS, Scratch};
use super::{Precision, Runtime};
use halfpi_kernels::format::Matrix;
use halfpi_kernels::ops::{Activations, Int8Rows, OpError, Product, Quantization, conj_product, matmul, swap_axes};

/// Brings the real and imaginary parts of every head of `x` together: `[re of all heads, im of all heads]` becomes
/// `[re, im]` of one head after the other. `spare` is at least as long as `x`.
pub(super) fn gather_heads(heads: usize, head_dim: usize, x: &mut [f32], spare: &mut [f32]) -> Result<(), OpError> {
    let found = spare.len();
    let spare = spare.get_mut(..x.len()).ok_or(OpError {
        what: "gather_heads: spare",
        expected: x.len(),
        found,
    })?;
    swap_axes([2, heads, head_dim / 2], x, spare)?;
    x.copy_from_slice(spare);
    Ok(())
}

/// `W conj(x)` for rows `[re, im]` of `cols` floats, where some weights are stored as `[A; B]` of `W = A + iB`.
///
/// Such a product is that of the stored real matrix with twice as many rows, half as long: with the real part and with
/// the imaginary part of each. Any format can store a complex matrix so.
pub(super) fn matmul_parts(
    runtime: &Runtime<'_>,
    x: &[f32],
    cols: usize,
    scratch: &mut Scratch<'_>,
    products: &mut [Product<'_, '_>],
) -> Result<(), OpError> {
    let positions = x.len() / cols.max(1);
    let packed = products
        .iter()
        .any(|product| matches!(product.weight, Matrix::Packed(_)));
    for first in (0..positions).step_by(PARTS_POSITIONS) {
        let some = first..positions.min(first + PARTS_POSITIONS);
        let floats = &x[some.start * cols..some.end * cols];
        let int8 = if packed && runtime.precision == Precision::Int8 {
            let int8 = &mut scratch.int8;
            Some(int8.quantize(runtime.backend, Quantization::Halves, floats, cols)?)
        } else {
            None
        };
        for product in &mut *products {
            let (weight, rows) = (product.weight, product.out.len() / positions);
            let out = &mut product.out[some.start * rows..some.end * rows];
            if weight.cols() == cols {
                let x = Activations { floats, int8 };
                matmul(runtime.backend, runtime.parallel, &x, &mut [Product { weight, out }])?;
                continue;
            }
            let found = scratch.parts.len();
            let parts = scratch.parts.get_mut(..2 * out.len()).ok_or(OpError {
                what: "matmul: parts",
                expected: 2 * out.len(),
                found,
            })?;
            let int8 = int8.map(Int8Rows::halves).transpose()?;
            let x = Activations { floats, int8 };
            let part = Product { weight, out: parts };
            matmul(runtime.backend, runtime.parallel, &x, &mut [part])?;
            conj_product(rows / 2, parts, out)?;
        }
    }
    Ok(())
}
