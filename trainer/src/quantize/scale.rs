//! Scales as packed files have them.

use halfpi::pack::Scales;

use crate::tensor::{Backend, FloatDType, Tensor, instead_of};

/// A matrix as one row for all weights that share a scale: `[scales, weights]`.
pub(super) fn by_scale<B: Backend>(weight: Tensor<B, 2>, scales: Scales) -> Tensor<B, 2> {
    let [rows, cols] = weight.dims();
    match scales {
        Scales::Tensor => weight.reshape([1, rows * cols]),
        Scales::Row => weight,
        Scales::Group(columns) => weight.reshape([rows * cols / columns, columns]),
    }
}

/// What a file gives back for scales: those of rows and groups are of 16 bits, the one of a whole matrix is of 32.
pub(super) fn stored<B: Backend>(scale: Tensor<B, 2>, scales: Scales) -> Tensor<B, 2> {
    match scales {
        Scales::Tensor => scale,
        // The largest f16, so that none becomes infinite.
        Scales::Row | Scales::Group(_) => scale
            .clamp(-65504.0, 65504.0)
            .cast(FloatDType::F16)
            .cast(FloatDType::F32),
    }
}

/// Turns weights into levels times scales: `levels_of` gets them as [`by_scale`] has them, without gradients, and returns
/// levels and scales, `[scales, 1]`. On the way back it is the identity.
pub(super) fn project<B: Backend>(
    weight: Tensor<B, 2>,
    scales: Scales,
    levels_of: impl FnOnce(Tensor<B::Inner, 2>) -> (Tensor<B::Inner, 2>, Tensor<B::Inner, 2>),
) -> Tensor<B, 2> {
    let shape = weight.dims();
    let (levels, scale) = levels_of(by_scale(B::detached(weight.clone()), scales));
    instead_of(weight, (levels * stored(scale, scales)).reshape(shape))
}
