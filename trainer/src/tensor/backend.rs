//! What everything else is generic over: the tensor engine, with the steps of a transformer taken as a whole.

use burn_autodiff::Autodiff;
use burn_flex::{Flex, FlexTensor};
use burn_tensor::TensorPrimitive;

use super::step::{Step, apply};
use super::{Int, Tensor};

/// A device, with gradients or without.
pub trait Backend: burn_tensor::backend::Backend {
    /// The same without gradients.
    type Inner: Backend<Inner = Self::Inner, Device = Self::Device>;

    /// Whether numbers lie in this process's memory.
    const IS_HOST: bool = false;

    /// Takes a step; on the way back it is taken as a whole too.
    fn apply<S: Step<Self::Inner, N>, const N: usize>(step: S, inputs: [Tensor<Self, 2>; N]) -> Tensor<Self, 2>;

    /// The numbers, without what they came from.
    fn detached<const D: usize>(x: Tensor<Self, D>) -> Tensor<Self::Inner, D>;

    /// The same of integers.
    fn detached_int<const D: usize>(x: Tensor<Self, D, Int>) -> Tensor<Self::Inner, D, Int>;

    /// Whether there is something before `x` that wants its gradient, or `x` does.
    fn is_tracked<const D: usize>(_x: &Tensor<Self, D>) -> bool {
        false
    }

    /// The numbers where they lie, if this process can read them there, one row after the other.
    fn floats<const D: usize>(_x: &Tensor<Self, D>) -> Option<Floats> {
        None
    }
}

/// One that computes gradients.
pub trait AutodiffBackend:
    Backend + burn_tensor::backend::AutodiffBackend<InnerBackend = <Self as Backend>::Inner>
{
}

impl<B> AutodiffBackend for B where
    B: Backend + burn_tensor::backend::AutodiffBackend<InnerBackend = <B as Backend>::Inner>
{
}

/// The numbers of a tensor in this process's memory.
pub struct Floats(FlexTensor);

impl AsRef<[f32]> for Floats {
    fn as_ref(&self) -> &[f32] {
        // `floats` made sure of the type and of the order.
        self.0.as_slice().unwrap_or_default()
    }
}

impl Backend for Flex {
    type Inner = Self;

    const IS_HOST: bool = true;

    fn apply<S: Step<Self, N>, const N: usize>(step: S, inputs: [Tensor<Self, 2>; N]) -> Tensor<Self, 2> {
        step.forward(inputs).0
    }

    fn detached<const D: usize>(x: Tensor<Self, D>) -> Tensor<Self, D> {
        x
    }

    fn detached_int<const D: usize>(x: Tensor<Self, D, Int>) -> Tensor<Self, D, Int> {
        x
    }

    fn floats<const D: usize>(x: &Tensor<Self, D>) -> Option<Floats> {
        let tensor = x.clone().into_primitive().tensor().to_contiguous();
        tensor.as_slice::<f32>().is_some().then_some(Floats(tensor))
    }
}

#[cfg(feature = "cuda")]
impl Backend for burn_cuda::Cuda {
    type Inner = Self;

    fn apply<S: Step<Self, N>, const N: usize>(step: S, inputs: [Tensor<Self, 2>; N]) -> Tensor<Self, 2> {
        step.forward(inputs).0
    }

    fn detached<const D: usize>(x: Tensor<Self, D>) -> Tensor<Self, D> {
        x
    }

    fn detached_int<const D: usize>(x: Tensor<Self, D, Int>) -> Tensor<Self, D, Int> {
        x
    }
}

impl<B: Backend<Inner = B>> Backend for Autodiff<B> {
    type Inner = B;

    const IS_HOST: bool = B::IS_HOST;

    fn apply<S: Step<B, N>, const N: usize>(step: S, inputs: [Tensor<Self, 2>; N]) -> Tensor<Self, 2> {
        let inputs = inputs.map(|input| input.into_primitive().tensor());
        Tensor::from_primitive(TensorPrimitive::Float(apply::<B, S, N>(step, inputs)))
    }

    fn detached<const D: usize>(x: Tensor<Self, D>) -> Tensor<B, D> {
        x.inner()
    }

    fn is_tracked<const D: usize>(x: &Tensor<Self, D>) -> bool {
        x.clone().into_primitive().tensor().is_tracked()
    }

    fn detached_int<const D: usize>(x: Tensor<Self, D, Int>) -> Tensor<B, D, Int> {
        x.inner()
    }
}
