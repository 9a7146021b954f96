//! 8-bit integers: the largest weight of a group becomes 127.

use half::f16;

use super::{inverse, to_f16};

pub(super) fn quantize(weights: &[f32], codes: &mut [u8]) -> f16 {
    let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
    let scale = to_f16(largest / 127.0);
    let inverse = inverse(scale);
    for (code, weight) in codes.iter_mut().zip(weights) {
        // The scale was rounded, so the largest weight can come out above 127.
        let value = (weight * inverse).round_ties_even().clamp(-127.0, 127.0);
        *code = value as i8 as u8;
    }
    scale
}
