//! Scales of ternary weights.

use std::cmp::Reverse;

/// The scale of least squared error for weights that become -s, 0 or s, exactly: the one that TWN (arXiv:1605.04711,
/// section 2.2) approximates.
///
/// Keeping the J largest magnitudes, the best scale is their mean and explains (Σ|w|)² / J of Σw². So the magnitudes are
/// sorted and every J is tried. The weights that the best J keeps are those above s/2, as rounding has it: one that is
/// farther from 0 than from s is better kept. A weight with an importance counts so often.
pub(super) fn best_scale(weights: &[f32], importance: Option<&[f32]>) -> f32 {
    // They are ordered as their bits are.
    let magnitudes = weights.iter().map(|weight| weight.abs().to_bits());
    match importance {
        // These may be all weights of a matrix: no room for counts.
        None => {
            let mut magnitudes: Vec<u32> = magnitudes.collect();
            magnitudes.sort_unstable_by_key(|&bits| Reverse(bits));
            best_of(magnitudes.into_iter().map(|bits| (bits, 1.0)))
        }
        Some(importance) => {
            let mut magnitudes: Vec<_> = magnitudes.zip(importance.iter().copied()).collect();
            magnitudes.sort_unstable_by_key(|&(bits, _)| Reverse(bits));
            best_of(magnitudes.into_iter())
        }
    }
}

/// The best scale for magnitudes that come in descending order, each with how often it counts.
fn best_of(magnitudes: impl Iterator<Item = (u32, f32)>) -> f32 {
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

/// The mean of magnitudes: BitNet b1.58's scale (arXiv:2402.17764, section 2) where they are all of a matrix.
pub(super) fn mean(magnitudes: impl Iterator<Item = f32>) -> f32 {
    let (mut sum, mut count) = (0f64, 0u64);
    for magnitude in magnitudes {
        sum += f64::from(magnitude);
        count += 1;
    }
    (sum / count.max(1) as f64) as f32
}

/// The scale, and the largest magnitude that becomes 0, where this share of the weights does: the rest's mean magnitude,
/// which leaves the least squared error for them. Weights of the same magnitude become 0 together.
pub(super) fn sparse(weights: &[f32], share: f32) -> (f32, f32) {
    let mut magnitudes: Vec<f32> = weights.iter().map(|weight| weight.abs()).collect();
    let zeros = (f64::from(share) * magnitudes.len() as f64).round() as usize;
    let threshold = match zeros.checked_sub(1) {
        None => 0.0,
        Some(last) => {
            *magnitudes
                .select_nth_unstable_by(last.min(weights.len() - 1), f32::total_cmp)
                .1
        }
    };
    let kept = magnitudes.into_iter().filter(|&magnitude| magnitude > threshold);
    (mean(kept), threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_becomes_zero() {
        let weights: Vec<f32> = (1..=100)
            .map(|i| if i % 3 == 0 { -i as f32 } else { i as f32 })
            .collect();
        assert_eq!(sparse(&weights, 0.0), (50.5, 0.0));
        assert_eq!(sparse(&weights, 0.6), (80.5, 60.0));
        assert_eq!(sparse(&weights, 1.0), (0.0, 100.0));
        assert_eq!(sparse(&[2.0; 8], 0.5), (0.0, 2.0));
        assert_eq!(sparse(&[0.0; 8], 0.0), (0.0, 0.0));
    }

    /// Tried against every threshold there is.
    #[test]
    fn no_threshold_is_better_than_the_best() {
        let weights: Vec<f32> = (0..200).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0).powi(3)).collect();
        let error = |scale: f32| -> f64 {
            let nearest = |w: f32| (w / scale).round().clamp(-1.0, 1.0) * scale;
            weights.iter().map(|&w| f64::from(w - nearest(w)).powi(2)).sum()
        };
        let best = error(best_scale(&weights, None));
        for i in 1..2000 {
            assert!(best <= error(i as f32 / 2000.0) + 1e-9, "{i}");
        }
    }
}
