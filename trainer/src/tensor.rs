//! The tensor engine: the only module that names it, so that another can take its place.
//!
//! Everything else is generic over [`Backend`] or, where gradients are computed, [`AutodiffBackend`].

mod backend;
mod cross_entropy;
mod gated;
mod heads;
mod host;
mod linear;
mod norm;
mod softmax;
mod step;
mod straight;
#[cfg(test)]
mod testing;
mod transient;

pub use self::backend::{AutodiffBackend, Backend, Floats};
pub use self::cross_entropy::cross_entropy;
pub use self::gated::swiglu;
pub use self::heads::{Turns, join_heads, split_heads};
pub(crate) use self::host::{change_rows, change_together, of_rows, sum};
pub use self::linear::{Precision, linear, products};
pub use self::norm::rms_norm;
pub use self::softmax::causal_softmax;
pub use self::step::Step;
pub use self::straight::{instead_of, straight_through, with_gradient_of};
pub use self::transient::{Transient, TransientBackend};
pub use burn_tensor::{
    Bool, Distribution, ElementConversion, FloatDType, IndexingUpdateOp, Int, Shape, Tensor, TensorData, activation,
};

/// Training on the processor.
pub type Cpu = burn_autodiff::Autodiff<burn_flex::Flex>;

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

/// Lets the engine forget the operations on tensors that want no gradient. It notes them too, some hundred bytes each, until
/// the next backward pass has ended, which takes the longer the more there are: this is a short one.
pub fn forget_constants<B: AutodiffBackend>(device: &B::Device) {
    Tensor::<B, 1>::zeros([1], device).require_grad().backward();
}

/// Whether a device multiplies numbers of this precision.
pub fn supports<B: Backend>(precision: Precision, device: &B::Device) -> bool {
    let number = match precision {
        Precision::F32 => burn_tensor::DType::F32,
        Precision::Bf16 => burn_tensor::DType::BF16,
    };
    B::supports_dtype(device, number)
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
