//! Scales of ternary weights.

/// The scale of least squared error for weights that become -s, 0 or s, exactly: the one that TWN (arXiv:1605.04711,
/// section 2.2) approximates.
///
/// Keeping the J largest magnitudes, the best scale is their mean and explains (Σ|w|)² / J of Σw². So the magnitudes are
/// sorted and every J is tried. The weights that the best J keeps are those above s/2, as rounding has it: one that is
/// farther from 0 than from s is better kept. A weight with an importance counts so often.
pub(super) fn best_scale(weights: &[f32], importance: Option<&[f32]>) -> f32 {
    // Magnitudes are ordered as their bits are.
    let mut magnitudes: Vec<(u32, f32)> = match importance {
        None => weights.iter().map(|weight| (weight.abs().to_bits(), 1.0)).collect(),
        Some(importance) => {
            let pairs = weights.iter().zip(importance);
            pairs.map(|(weight, &count)| (weight.abs().to_bits(), count)).collect()
        }
    };
    magnitudes.sort_unstable_by_key(|&(bits, _)| std::cmp::Reverse(bits));
    let (mut sum, mut kept, mut best, mut scale) = (0f64, 0f64, 0f64, 0f64);
    for (bits, count) in magnitudes {
        sum += f64::from(count) * f64::from(f32::from_bits(bits));
        kept += f64::from(count);
        let explained = sum * sum / kept;
        if explained > best {
            (best, scale) = (explained, sum / kept);
        }
    }
    scale as f32
}
