//! Scales of ternary weights.

/// The scale of least squared error for weights that become -s, 0 or s, exactly: the one that TWN (arXiv:1605.04711,
/// section 2.2) approximates.
///
/// Keeping the J largest magnitudes, the best scale is their mean and explains (Σ|w|)² / J of Σw². So the magnitudes are
/// sorted and every J is tried. The weights that the best J keeps are those above s/2, as rounding has it: one that is
/// farther from 0 than from s is better kept.
pub(super) fn best_scale(weights: &[f32]) -> f32 {
    // Magnitudes are ordered as their bits are.
    let mut magnitudes: Vec<u32> = weights.iter().map(|weight| weight.abs().to_bits()).collect();
    magnitudes.sort_unstable_by_key(|&bits| std::cmp::Reverse(bits));
    let (mut sum, mut best, mut scale) = (0f64, 0f64, 0f64);
    for (kept, bits) in (1..).zip(magnitudes) {
        sum += f64::from(f32::from_bits(bits));
        let explained = sum * sum / f64::from(kept);
        if explained > best {
            (best, scale) = (explained, sum / f64::from(kept));
        }
    }
    scale as f32
}
