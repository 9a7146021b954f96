//! What complex channels add to the forward pass (iFairy, arXiv:2508.05571), as `halfpi::transformer` has it.
//!
//! A position of `n` complex channels is `2n` floats: the real parts, then the imaginary ones. So is a head.

use crate::tensor::{Backend, Precision, Tensor, linear};

/// `x Wᵀ`; where the weight is half as wide as `x` it is the real parts of a complex matrix, row by row, followed by the
/// imaginary ones, and this is `W conj(x)`.
pub(crate) fn product<B: Backend>(x: Tensor<B, 2>, weight: Tensor<B, 2>, precision: Precision) -> Tensor<B, 2> {
    let [rows, cols] = weight.dims();
    if x.dims()[1] != 2 * cols {
        return linear(x, weight, precision);
    }
    // With W = A + iB: re = A re x + B im x, im = B re x - A im x.
    let a = weight.clone().slice([0..rows / 2, 0..cols]);
    let b = weight.slice([rows / 2..rows, 0..cols]);
    let re = Tensor::cat(vec![a.clone(), b.clone()], 1);
    let im = Tensor::cat(vec![b, a.neg()], 1);
    linear(x, Tensor::cat(vec![re, im], 0), precision)
}

/// Brings the parts of every head together: `[re of all heads, im of all heads]` becomes `[re, im]` of one head after the
/// other.
pub(super) fn gather_heads<B: Backend>(x: Tensor<B, 2>, heads: usize) -> Tensor<B, 2> {
    swap_axes(x, [2, heads])
}

/// The opposite of [`gather_heads`].
pub(super) fn scatter_heads<B: Backend>(x: Tensor<B, 2>, heads: usize) -> Tensor<B, 2> {
    swap_axes(x, [heads, 2])
}

fn swap_axes<B: Backend>(x: Tensor<B, 2>, [outer, inner]: [usize; 2]) -> Tensor<B, 2> {
    let shape @ [positions, channels] = x.dims();
    let parts: Tensor<B, 4> = x.reshape([positions, outer, inner, channels / outer / inner]);
    parts.swap_dims(1, 2).reshape(shape)
}

/// `conj(act(gate)) * up`, where `act` squares the real and the imaginary part and gives 0 if both are negative.
pub(super) fn squared_relu_glu<B: Backend>(gate: Tensor<B, 2>, up: Tensor<B, 2>) -> Tensor<B, 2> {
    let [positions, channels] = gate.dims();
    let half = channels / 2;
    let parts = |x: Tensor<B, 2>| {
        let re = x.clone().slice([0..positions, 0..half]);
        (re, x.slice([0..positions, half..channels]))
    };
    let ((re, im), (up_re, up_im)) = (parts(gate), parts(up));
    let kept = re
        .clone()
        .greater_equal_elem(0.0)
        .bool_or(im.clone().greater_equal_elem(0.0))
        .float();
    let (a, b) = (re.clone() * re * kept.clone(), im.clone() * im * kept);
    let product_re = a.clone() * up_re.clone() + b.clone() * up_im.clone();
    let product_im = a * up_im - b * up_re;
    Tensor::cat(vec![product_re, product_im], 1)
}
