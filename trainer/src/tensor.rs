//! The tensor engine: the only module that names it, so that another can take its place.
//!
//! Everything else is generic over [`Backend`] or, where gradients are computed, [`AutodiffBackend`].

mod transient;

pub use self::transient::{Transient, TransientBackend};
use burn_autodiff::checkpoint::strategy::BalancedCheckpointing;
pub use burn_tensor::backend::{AutodiffBackend, Backend};
pub use burn_tensor::{
    Bool, Distribution, ElementConversion, FloatDType, IndexingUpdateOp, Int, Shape, Tensor, TensorData, activation,
};

/// Training on the processor.
pub type Cpu = burn_autodiff::Autodiff<burn_flex::Flex>;

/// The same with less memory: what is cheap to compute is computed again for the backward pass instead of kept (gradient
/// checkpointing, arXiv:1604.06174).
pub type CpuRecompute = burn_autodiff::Autodiff<burn_flex::Flex, BalancedCheckpointing>;

/// Training on an NVIDIA GPU.
#[cfg(feature = "cuda")]
pub type Cuda = burn_autodiff::Autodiff<burn_cuda::Cuda>;

/// The GPU with this number.
///
/// # Errors
/// [`ParallelError::Cuda`](crate::parallel::ParallelError::Cuda) if CUDA is not there: the engine itself would panic.
#[cfg(feature = "cuda")]
pub fn cuda_device(index: usize) -> crate::Result<<Cuda as burn_tensor::backend::BackendTypes>::Device> {
    crate::parallel::require_cuda()?;
    Ok(burn_cuda::CudaDevice::new(index))
}

/// The same numbers, which want no gradient. (`detach` leaves a parameter one: it cuts off what is before a tensor, and
/// nothing is before a parameter. What is computed from it would be kept for a backward pass.)
pub fn constant<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    tensor.detach().set_require_grad(false)
}

/// `value` on the way forward, to the bit, and the gradient of `of` on the way back. Both have the same shape.
pub fn with_gradient_of<B: Backend, const D: usize>(value: Tensor<B, D>, of: Tensor<B, D>) -> Tensor<B, D> {
    constant(value) + (of.clone() - constant(of))
}

/// `quantized` on the way forward, the identity on the way back: the straight-through estimator (Bengio et al. 2013,
/// arXiv:1308.3432). Both have the same shape.
///
/// What comes out is `quantized` to the bit, which `x + (quantized - x)` is not.
pub fn straight_through<B: Backend, const D: usize>(x: Tensor<B, D>, quantized: Tensor<B, D>) -> Tensor<B, D> {
    with_gradient_of(quantized, x)
}

/// The convolution of `x`, `[batch, channels in, height, width]`, with a kernel `[channels out, channels in, height,
/// width]`.
pub fn conv2d<B: Backend>(
    x: Tensor<B, 4>,
    kernel: Tensor<B, 4>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> Tensor<B, 4> {
    let options = burn_tensor::ops::ConvOptions::new(stride, padding, [1, 1], 1);
    burn_tensor::module::conv2d(x, kernel, None, options)
}

/// A matrix of these numbers, row by row.
///
/// `values` must have `rows * cols` of them.
pub fn matrix<B: Backend>(values: Vec<f32>, [rows, cols]: [usize; 2], device: &B::Device) -> Tensor<B, 2> {
    Tensor::from_data(TensorData::new(values, [rows, cols]), device)
}

/// The numbers of a tensor, row by row.
pub fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The number that a tensor of one element holds.
pub fn scalar<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> f32 {
    tensor.into_scalar().elem()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straight_through_is_exact_forward_and_the_identity_back() {
        let device = Default::default();
        let x = matrix::<Cpu>(vec![0.1, -0.7, 3.3], [1, 3], &device).require_grad();
        let rounded = x.clone().round();
        let y = straight_through(x.clone(), rounded);
        assert_eq!(values(y.clone()), [0.0, -1.0, 3.0]);
        let gradients = (y * matrix(vec![2.0, 3.0, 5.0], [1, 3], &device)).sum().backward();
        assert_eq!(values(x.grad(&gradients).unwrap()), [2.0, 3.0, 5.0]);
    }
}
