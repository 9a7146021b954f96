//! Whether scales are numbers.
//!
//! The kernels multiply whatever bits they find. A NaN can vanish on its way to the scores (softmax gives such a position
//! no share), so whoever takes a matrix from a file has its scales looked through first.

use super::{Layout, Packed};
use half::f16;

/// Bytes that are looked through before it is asked whether one of them was wrong: enough for vectors.
const STRETCH: usize = 4096;

impl Layout {
    /// The first of `scales` that is infinite or not a number. `scales` are some of the scales or minima of this layout.
    pub fn not_finite(&self, scales: &[u8]) -> Option<f32> {
        if self.has_f32_scales() {
            let is_bad = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) & 0x7f80_0000 == 0x7f80_0000;
            first(scales, is_bad, f32::from_le_bytes)
        } else {
            let is_bad = |bytes: &[u8; 2]| u16::from_le_bytes(*bytes) & 0x7c00 == 0x7c00;
            first(scales, is_bad, |bytes| f16::from_le_bytes(bytes).to_f32())
        }
    }
}

impl Packed<'_> {
    /// The first scale or minimum that is infinite or not a number. Reads all of them, which follow the codes, and none
    /// of the codes.
    pub fn scale_not_finite(&self) -> Option<f32> {
        self.layout().not_finite(&self.data()[self.layout().scales_offset()..])
    }
}

fn first<const BYTES: usize>(
    scales: &[u8],
    is_bad: impl Fn(&[u8; BYTES]) -> bool,
    read: impl Fn([u8; BYTES]) -> f32,
) -> Option<f32> {
    let stretches = scales.chunks(STRETCH).map(|stretch| stretch.as_chunks().0);
    // No branch for each: that would keep them out of vectors.
    let mut bad = stretches.filter(|stretch| stretch.iter().fold(false, |any, scale| any | is_bad(scale)));
    let scale = bad.next()?.iter().find(|scale| is_bad(scale))?;
    Some(read(*scale))
}

#[cfg(test)]
mod tests {
    use super::super::{Codes, ScaleGroup};
    use super::*;

    #[test]
    fn one_wrong_scale_is_found_wherever_it_is() {
        // More than a stretch of either width, and no multiple of one.
        let half = Layout::new(16, 32, Codes::Int8, ScaleGroup::Row, false).unwrap();
        let mut halves: Vec<u8> = [f16::MAX, f16::MIN, f16::ZERO]
            .map(f16::to_le_bytes)
            .as_flattened()
            .repeat(900);
        assert_eq!(half.not_finite(&halves), None);
        for at in [0, STRETCH / 2 - 1, STRETCH / 2, halves.len() / 2 - 1] {
            let good = [halves[2 * at], halves[2 * at + 1]];
            halves[2 * at..][..2].copy_from_slice(&f16::NEG_INFINITY.to_le_bytes());
            assert_eq!(half.not_finite(&halves), Some(f32::NEG_INFINITY), "{at}");
            halves[2 * at..][..2].copy_from_slice(&good);
        }
        let mut floats: Vec<u8> = [f32::MAX, f32::MIN, 0.0]
            .map(f32::to_le_bytes)
            .as_flattened()
            .repeat(500);
        assert_eq!(half.with_f32_scales().not_finite(&floats), None);
        let last = floats.len() - 4;
        floats[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        let found = half.with_f32_scales().not_finite(&floats);
        assert!(found.is_some_and(f32::is_nan), "{found:?}");
    }
}
