//! Products with weights.

use super::{Backend, FloatDType, Step, Tensor};

/// What numbers are multiplied as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// As they are: in 32 bits.
    #[default]
    F32,
    /// Rounded to 16 bits with the exponents of 32 (bfloat16; Kalamkar et al. 2019, arXiv:1905.12322), on the way back
    /// too. What is kept is of 32 bits.
    Bf16,
}

/// `x W^T`: `x` is `[positions, columns]`, `w` is `[rows, columns]`, and so is its gradient, row by row.
///
/// The engine's own way back would compute the gradient of the transposed matrix and hand it on turned over, and whatever
/// reads it next would read it across memory.
pub fn linear<B: Backend>(x: Tensor<B, 2>, w: Tensor<B, 2>, precision: Precision) -> Tensor<B, 2> {
    let batch = 1;
    B::apply(Linear { batch, precision }, [x, w])
}

/// The same, in 32 bits, of `batch` matrices one below the other: `[batch * rows of x, columns]` and `[batch * rows of w, columns]` give
/// `[batch * rows of x, rows of w]`.
pub fn products<B: Backend>(x: Tensor<B, 2>, w: Tensor<B, 2>, batch: usize) -> Tensor<B, 2> {
    let precision = Precision::F32;
    B::apply(Linear { batch, precision }, [x, w])
}

#[derive(Clone, Copy, Debug)]
struct Linear {
    batch: usize,
    precision: Precision,
}

impl Linear {
    /// Products of matrices one below the other, the first of each pair turned over or the second.
    fn product<B: Backend>(self, [x, y]: [Tensor<B, 2>; 2], [turn_x, turn_y]: [bool; 2]) -> Tensor<B, 2> {
        let apart = |x: Tensor<B, 2>, turn: bool| {
            let [rows, cols] = x.dims();
            let x = x.reshape([self.batch, rows / self.batch, cols]);
            if turn { x.transpose() } else { x }
        };
        let [x, y] = [apart(x, turn_x), apart(y, turn_y)];
        let product = match self.precision {
            Precision::F32 => x.matmul(y),
            Precision::Bf16 => {
                let [x, y] = [x, y].map(|x| x.cast(FloatDType::BF16));
                x.matmul(y).cast(FloatDType::F32)
            }
        };
        let [batch, rows, cols] = product.dims();
        product.reshape([batch * rows, cols])
    }
}

impl<B: Backend> Step<B, 2> for Linear {
    type Kept = ();

    fn forward(&self, [x, w]: [Tensor<B, 2>; 2]) -> (Tensor<B, 2>, ()) {
        (self.product([x, w], [false, true]), ())
    }

    fn needs([x, w]: [bool; 2]) -> [bool; 2] {
        [w, x]
    }

    fn backward(
        &self,
        [x, w]: [Option<Tensor<B, 2>>; 2],
        (): (),
        gradient: Tensor<B, 2>,
        [x_wanted, w_wanted]: [bool; 2],
    ) -> [Option<Tensor<B, 2>>; 2] {
        let of_x = w
            .filter(|_| x_wanted)
            .map(|w| self.product([gradient.clone(), w], [false; 2]));
        let of_w = x
            .filter(|_| w_wanted)
            .map(|x| self.product([gradient, x], [true, false]));
        [of_x, of_w]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_same, normal};
    use super::super::{Cpu, matrix, values};
    use super::*;

    #[test]
    fn gradients_are_those_of_a_product() {
        let product = |[x, w]: [Tensor<Cpu, 2>; 2]| x.matmul(w.transpose());
        assert_same(|[x, w]| linear(x, w, Precision::F32), product, [[5, 7], [3, 7]]);
        // A matrix that is used twice.
        let squares = |[x]: [Tensor<Cpu, 2>; 1]| x.clone().matmul(x.transpose());
        assert_same(|[x]| linear(x.clone(), x, Precision::F32), squares, [[4, 6]]);
        let each = |[x, w]: [Tensor<Cpu, 2>; 2]| {
            let w = w.reshape([2, 4, 7]).swap_dims(1, 2);
            x.reshape([2, 5, 7]).matmul(w).reshape([10, 4])
        };
        assert_same(|[x, w]| products(x, w, 2), each, [[10, 7], [8, 7]]);
    }

    #[test]
    fn gradients_lie_in_order() {
        let device = Default::default();
        let [x, w] = [[5, 7], [3, 7]].map(|shape| matrix::<Cpu>(normal("x", shape), shape, &device).require_grad());
        let gradients = linear(x.clone(), w.clone(), Precision::F32).sum().backward();
        for tensor in [x, w] {
            let gradient = tensor.grad(&gradients).unwrap().into_primitive().tensor();
            assert!(gradient.is_contiguous());
        }
    }

    /// Numbers of 8 bits are multiplied as they are; what is added up is rounded to 8 bits too.
    #[test]
    fn products_of_16_bits_are_near_those_of_32() {
        let device = Default::default();
        let of = |precision| {
            let [x, w] =
                [[9, 40], [7, 40]].map(|shape| matrix::<Cpu>(normal("x", shape), shape, &device).require_grad());
            let y = linear(x.clone(), w.clone(), precision);
            let gradients = (y.clone() * y.clone()).sum().backward();
            let [of_x, of_w] = [x, w].map(|input| input.grad(&gradients).unwrap());
            [y.inner(), of_x, of_w].map(values)
        };
        for (found, expected) in of(Precision::Bf16).iter().zip(of(Precision::F32)) {
            let size = expected.iter().fold(0f32, |size, number| size.max(number.abs()));
            let error = found
                .iter()
                .zip(&expected)
                .map(|(a, b)| (a - b).abs())
                .fold(0f32, f32::max);
            assert!(error > 0.0 && error < 0.02 * size, "{error} of {size}");
        }
    }
}
