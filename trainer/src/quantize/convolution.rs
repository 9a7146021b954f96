//! Convolutions with quantized kernels: every method takes a kernel as the matrix `[channels out, channels in * height *
//! width]`.

use super::Quantized;
use crate::Result;
use crate::tensor::{AutodiffBackend, Backend, Tensor, conv2d};

/// The shape of a convolution in two dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps, downwards and to the right.
    pub stride: [usize; 2],
    /// Zeros around what is read, above and below, left and right.
    pub padding: [usize; 2],
}

impl Convolution {
    /// Convolves `x`, `[batch, channels in, height, width]`, with a kernel of channels out times the rest.
    fn apply<B: Backend>(&self, x: Tensor<B, 4>, kernel: Tensor<B, 2>) -> Tensor<B, 4> {
        let ([out, _], [_, channels, ..], [height, width]) = (kernel.dims(), x.dims(), self.kernel);
        conv2d(
            x,
            kernel.reshape([out, channels, height, width]),
            self.stride,
            self.padding,
        )
    }
}

impl<B: AutodiffBackend> Quantized<'_, B> {
    /// Convolves `x`, `[batch, channels in, height, width]`, with the quantized kernel called `name`. Activations are
    /// floats.
    ///
    /// # Errors
    /// As [`effective`](Self::effective), and [`TrainError::Shape`](crate::TrainError::Shape) if the kernel is for another
    /// number of channels.
    pub fn conv2d(&self, name: &str, x: Tensor<B, 4>, convolution: &Convolution) -> Result<Tensor<B, 4>> {
        let kernel = self.effective(name)?;
        let found @ [out, _] = kernel.dims();
        let expected = [out, x.dims()[1] * convolution.kernel[0] * convolution.kernel[1]];
        if found != expected {
            let name = name.to_owned();
            return Err(crate::TrainError::Shape { name, expected, found });
        }
        Ok(convolution.apply(x, kernel))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NAME, converted, weights};
    use super::*;
    use crate::TrainError;
    use crate::tensor::{Cpu, TensorData, values};

    const TWO: Convolution = Convolution {
        kernel: [2, 2],
        stride: [1, 1],
        padding: [0, 0],
    };

    /// Against sums, one by one, and with a gradient.
    #[test]
    fn kernels_are_quantized() {
        let shape = [3, 8 * 2 * 2];
        let (parameters, scheme) = converted(weights(shape), shape, "ternary");
        let quantized = Quantized {
            parameters: &parameters,
            scheme: &scheme,
        };
        let input: Vec<f32> = (0..8 * 3 * 4).map(|i| (i as f32 * 0.3).cos()).collect();
        let x = Tensor::<Cpu, 4>::from_data(TensorData::new(input.clone(), [1, 8, 3, 4]), &Default::default());
        let output = quantized.conv2d(NAME, x.clone(), &TWO).unwrap();
        assert_eq!(output.dims(), [1, 3, 2, 3]);
        let kernel = values(quantized.effective(NAME).unwrap());
        let found = values(output.clone());
        for (at, found) in found.iter().enumerate() {
            let (out, row, col) = (at / 6, at / 3 % 2, at % 3);
            let terms = (0..8 * 4).map(|k| {
                let (channel, i, j) = (k / 4, k / 2 % 2, k % 2);
                kernel[out * 32 + k] * input[channel * 12 + (row + i) * 4 + col + j]
            });
            assert!((terms.sum::<f32>() - found).abs() < 1e-5);
        }
        let gradients = parameters.gradients(&mut output.sum().backward());
        assert!(values(gradients[NAME].clone()).iter().any(|&gradient| gradient != 0.0));

        let wide = Convolution { kernel: [3, 3], ..TWO };
        assert!(matches!(
            quantized.conv2d(NAME, x, &wide),
            Err(TrainError::Shape { .. })
        ));
    }
}
