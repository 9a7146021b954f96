//! Scales that are trained with the weights (LSQ, arXiv:1902.08153; ParetoQ's stretched elastic quantization,
//! arXiv:2502.02631, section 3).
//!
//! A row's α is trained; its weights are cut off at ±α and become one of 3 or of 4 levels evenly spread inside: 0 and
//! ±2/3 α, or ±1/4 α and ±3/4 α. As packed files have it that is a level of -1, 0, 1 or ±1, ±3 times a scale of 2/3 α or
//! 1/4 α.

use halfpi::pack::Scales;

use super::scale::stored;
use crate::tensor::{Backend, Tensor, constant, with_gradient_of};

/// The levels between -α and α.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Levels {
    /// -1, 0, 1.
    Ternary,
    /// -3, -1, 1, 3.
    Odd,
}

/// Weights so near to α that they would be rounded beyond the last level count as cut off.
const INSIDE: f32 = 0.99;
/// α stays above this, so that no scale becomes 0 or negative.
const LEAST: f32 = 1e-5;

impl Levels {
    /// α in scales.
    fn stretch(self) -> f32 {
        match self {
            Levels::Ternary => 1.5,
            Levels::Odd => 4.0,
        }
    }

    /// The largest level.
    fn most(self) -> f32 {
        match self {
            Levels::Ternary => 1.0,
            Levels::Odd => 3.0,
        }
    }

    /// The α to begin with, in standard deviations of a row: of least squared error for normal weights. (The largest
    /// magnitude, which ParetoQ begins with, is 6 dB worse for ternary weights.)
    fn first(self) -> f32 {
        match self {
            Levels::Ternary => 1.85,
            Levels::Odd => 1.99,
        }
    }

    fn nearest<B: Backend>(self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Levels::Ternary => x.round().clamp(-1.0, 1.0),
            Levels::Odd => (((x - 1.0) * 0.5).round() * 2.0 + 1.0).clamp(-3.0, 3.0),
        }
    }

    /// An α for each row of weights, `[1, rows]`: 1 where all are 0.
    pub(super) fn first_alpha<B: Backend>(self, weight: Tensor<B, 2>) -> Tensor<B, 2> {
        let rows = weight.dims()[0];
        let deviation = (weight.clone() * weight).mean_dim(1).sqrt();
        let is_zero = deviation.clone().equal_elem(0.0);
        let alpha = (deviation * self.first()).mask_fill(is_zero, 1.0);
        alpha.reshape([1, rows])
    }

    /// The levels nearest to the weights, times their scales.
    ///
    /// On the way back a weight has the gradient of what it becomes unless it is cut off. α has, for each weight, the level
    /// that it is cut off at, or else what rounding added to it (LSQ, equation 3), times 1/√(weights · largest level in α).
    pub(super) fn quantize<B: Backend>(self, weight: Tensor<B, 2>, alpha: Tensor<B, 2>) -> Tensor<B, 2> {
        let [rows, cols] = weight.dims();
        let alpha = alpha.reshape([rows, 1]);
        let scale = stored(constant(alpha.clone()).clamp_min(LEAST) / self.stretch(), Scales::Row);
        // 0 only for an α that no f16 holds.
        let x = constant(weight.clone()) / scale.clone().clamp_min(f32::MIN_POSITIVE);
        let inside = x.clone().abs().lower_equal_elem(INSIDE * self.stretch()).float();
        let levels = self.nearest(x.clone());
        let by_scale = levels.clone() - x * inside.clone();
        let most = self.most() / self.stretch();
        let count = (rows * cols) as f32;
        let factor = (count * most).sqrt().recip() / self.stretch();
        with_gradient_of(levels * scale, weight * inside + alpha * factor * by_scale)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NAME, converted, dequantized, run, sqnr, upstream, weights};
    use super::{Levels, Tensor};
    use crate::tensor::{Cpu, matrix, scalar, values};
    use halfpi::pack::{Format, pack_trained};

    const SHAPE: [usize; 2] = [40, 64];

    /// Levels one by one as ParetoQ's function computes them, and what α and the weights change in them.
    #[test]
    fn levels_are_paretoqs_and_gradients_what_changes_them() {
        for (method, stretch, steps, shift, most) in [
            ("ternary:learned", 1.5f32, 1.5f32, 0.0, 2.0 / 3.0),
            ("halfpi2:learned", 4.0, 2.0, 0.5, 0.75f32),
        ] {
            let weights = weights(SHAPE);
            let (parameters, scheme) = converted(weights.clone(), SHAPE, method);
            let alphas = values(parameters.matrix(&format!("{NAME}.scale")).unwrap());
            let sent = upstream(weights.len());
            let outcome = run(&parameters, &scheme, &sent);
            let by_alpha = outcome.added.unwrap();
            let factor = (weights.len() as f32 * most).sqrt().recip();
            let mut cut_off = 0;
            for (row, weights) in weights.chunks(SHAPE[1]).enumerate() {
                // As a file has it.
                let alpha = half::f16::from_f32(alphas[row] / stretch).to_f32() * stretch;
                let mut expected = 0.0;
                for (weight, i) in weights.iter().zip(row * SHAPE[1]..) {
                    let x = weight / alpha;
                    let rounded = ((x.clamp(-0.99, 0.99) * steps - shift).round_ties_even() + shift) / steps;
                    assert!((outcome.effective[i] - rounded * alpha).abs() < 1e-6, "{method} {i}");
                    let is_inside = x.abs() <= 0.99;
                    cut_off += usize::from(!is_inside);
                    assert_eq!(
                        outcome.gradient[i],
                        if is_inside { sent[i] } else { 0.0 },
                        "{method} {i}"
                    );
                    expected += sent[i] * if is_inside { rounded - x } else { most * x.signum() };
                }
                let found = by_alpha[row] / factor;
                assert!((found - expected).abs() < 1e-4, "{method} {row}: {found} {expected}");
            }
            assert!(cut_off > 0);
        }
    }

    #[test]
    fn packing_changes_no_bit_and_the_first_scales_are_good() {
        for (method, format, least) in [
            ("ternary:learned", Format::Ternary, 7.0),
            ("halfpi2:learned", Format::Halfpi2, 8.9),
        ] {
            let weights = weights(SHAPE);
            let (parameters, scheme) = converted(weights.clone(), SHAPE, method);
            let effective = run(&parameters, &scheme, &upstream(weights.len())).effective;
            let bytes = pack_trained(&effective, (SHAPE[0], SHAPE[1]), format, 1)
                .unwrap()
                .unwrap();
            assert_eq!(dequantized(&bytes), effective, "{method}");
            let sqnr = sqnr(&weights, &effective);
            assert!(sqnr > least, "{method}: {sqnr} dB");
        }
    }

    /// Where all weights are cut off the loss is a straight line in α, and the gradient its slope times LSQ's factor.
    #[test]
    fn cut_off_weights_have_the_gradient_of_finite_differences() {
        let (shape, stretch) = ([1, 32], Levels::Ternary.stretch());
        let weights: Vec<f32> = (0..32).map(|i| if i % 3 == 0 { -1.0 } else { 1.0 }).collect();
        let sent: Tensor<Cpu, 2> = matrix(upstream(32), shape, &Default::default());
        let weight: Tensor<Cpu, 2> = matrix(weights, shape, &Default::default());
        // With scales that f16 holds.
        let loss = |scale: f32| {
            let alpha = matrix(vec![scale * stretch], [1, 1], &Default::default()).require_grad();
            let loss = (Levels::Ternary.quantize(weight.clone(), alpha.clone()) * sent.clone()).sum();
            (scalar(loss.clone()), scalar(alpha.grad(&loss.backward()).unwrap()))
        };
        let ((low, gradient), (high, _)) = (loss(0.25), loss(0.375));
        let slope = (high - low) / (0.125 * stretch);
        let factor = (32f32 / stretch).sqrt().recip();
        assert!((gradient - slope * factor).abs() < 1e-5, "{gradient} {slope}");
        assert!(slope.abs() > 0.1);
    }

    #[test]
    fn rows_of_zeros_stay_so() {
        let (parameters, scheme) = converted(vec![0.0; 64], [2, 32], "ternary:learned");
        assert_eq!(run(&parameters, &scheme, &[1.0; 64]).effective, [0.0; 64]);
    }
}
