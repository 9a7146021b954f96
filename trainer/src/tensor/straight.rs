//! Values with the gradients of others.

use super::{Backend, Step, Tensor};

/// `value` on the way forward, to the bit, and the gradient of `of` on the way back. Both have the same shape.
pub fn with_gradient_of<B: Backend>(value: Tensor<B, 2>, of: Tensor<B, 2>) -> Tensor<B, 2> {
    instead_of(of, B::detached(value))
}

/// `value` on the way forward and the identity on the way back to `x`, for a value that was computed without gradients.
pub fn instead_of<B: Backend>(x: Tensor<B, 2>, value: Tensor<B::Inner, 2>) -> Tensor<B, 2> {
    B::apply(Instead(value), [x])
}

/// `quantized` on the way forward, the identity on the way back: the straight-through estimator (Bengio et al. 2013,
/// arXiv:1308.3432). Both have the same shape.
///
/// What comes out is `quantized` to the bit, which `x + (quantized - x)` is not.
pub fn straight_through<B: Backend>(x: Tensor<B, 2>, quantized: Tensor<B, 2>) -> Tensor<B, 2> {
    with_gradient_of(quantized, x)
}

#[derive(Clone, Debug)]
struct Instead<B: Backend>(Tensor<B, 2>);

impl<B: Backend> Step<B, 1> for Instead<B> {
    type Kept = ();

    fn forward(&self, _: [Tensor<B, 2>; 1]) -> (Tensor<B, 2>, ()) {
        (self.0.clone(), ())
    }

    fn needs(_: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(
        &self,
        _: [Option<Tensor<B, 2>>; 1],
        (): (),
        gradient: Tensor<B, 2>,
        _: [bool; 1],
    ) -> [Option<Tensor<B, 2>>; 1] {
        [Some(gradient)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cpu, matrix, values};
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
