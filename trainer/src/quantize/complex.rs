//! PhaseQuant: native complex weights become 1, i, -1 or -i times a scale (iFairy, arXiv:2508.05571, section 3).

use crate::tensor::{Backend, Tensor, constant, straight_through};

/// The training code's lower bound of scales.
const LEAST: f32 = 1e-5;

/// A matrix, all rows of its real parts and then all rows of its imaginary ones, with every weight at the power of i that
/// is nearest by angle. Those that become ±1 share the scale mean |re|, those that become ±i the scale mean |im|, of all of
/// the matrix. The identity on the way back.
pub(super) fn quantize<B: Backend>(weight: Tensor<B, 2>) -> Tensor<B, 2> {
    let [rows, cols] = weight.dims();
    let half = rows / 2;
    let detached = constant(weight.clone());
    let re = detached.clone().slice([0..half, 0..cols]);
    let im = detached.slice([half..rows, 0..cols]);
    // Each quarter of the angles holds the edge it begins at: the real ones those at -45° and 135°, where re = -im.
    let is_real = re
        .clone()
        .abs()
        .greater(im.clone().abs())
        .bool_or(re.clone().add(im.clone()).equal_elem(0.0));
    let is_real = is_real.float();
    let is_imaginary = is_real.clone().neg() + 1.0;
    // Zero is 1.
    let part = |part: Tensor<B, 2>, chosen: Tensor<B, 2>| {
        let total = (part.clone().abs() * chosen.clone()).sum();
        let scale = (total / chosen.clone().sum().clamp_min(1.0)).clamp_min(LEAST);
        let sign = part.greater_equal_elem(0.0).float() * 2.0 - 1.0;
        sign * chosen * scale.reshape([1, 1])
    };
    let quantized = Tensor::cat(vec![part(re, is_real), part(im, is_imaginary)], 0);
    straight_through(weight, quantized)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{converted, run, upstream, weights};

    const SHAPE: [usize; 2] = [16, 32];

    #[test]
    fn weights_go_to_the_nearest_power_of_i() {
        let mut weights = weights(SHAPE);
        // The edges, and zero.
        let half = weights.len() / 2;
        for (i, (re, im)) in [(1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (0.0, 0.0)]
            .into_iter()
            .enumerate()
        {
            (weights[i], weights[half + i]) = (re, im);
        }
        let (parameters, scheme) = converted(weights.clone(), SHAPE, "phase-complex");
        let outcome = run(&parameters, &scheme, &upstream(weights.len()));
        assert_eq!(outcome.gradient, upstream(weights.len()));

        let power = |re: f32, im: f32| ((f64::from(im).atan2(f64::from(re)).to_degrees() + 405.0) / 90.0) as usize % 4;
        let powers: Vec<usize> = (0..half).map(|i| power(weights[i], weights[half + i])).collect();
        let mean = |axis: usize| {
            let kept = (0..half).filter(|&i| powers[i] % 2 == axis);
            let kept: Vec<f32> = kept.map(|i| weights[axis * half + i].abs()).collect();
            kept.iter().sum::<f32>() / kept.len() as f32
        };
        let means = [mean(0), mean(1)];
        for (i, &power) in powers.iter().enumerate() {
            let sign = if power < 2 { 1.0 } else { -1.0 };
            for (axis, mean) in means.into_iter().enumerate() {
                let expected = if power % 2 == axis { sign * mean } else { 0.0 };
                let found = outcome.effective[axis * half + i];
                assert!((found - expected).abs() < 1e-5, "{i}: {found} {expected}");
            }
        }
        // Each part has one magnitude: packing, which computes the means of rows, finds it again.
        for part in outcome.effective.chunks(half) {
            let magnitudes: Vec<f32> = part
                .iter()
                .map(|weight| weight.abs())
                .filter(|&weight| weight > 0.0)
                .collect();
            assert!(magnitudes.iter().all(|&magnitude| magnitude == magnitudes[0]));
        }
    }
}
