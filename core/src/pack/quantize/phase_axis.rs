//! Pairs of weights as a complex number on an axis: the larger of the two is kept, the other becomes 0.

use halfpi_kernels::format::GROUP;

use super::super::scales::ScaleType;
use super::integers::Integers;
use super::inverse;
use super::search::exact;

/// Columns of a pair are so far apart.
const HALF: usize = GROUP / 2;

/// The quantizer of numbers on an axis.
#[derive(Clone, Copy)]
pub(in super::super) enum PhaseAxis {
    /// Each with a magnitude, the largest at 127.
    Magnitudes,
    /// All with the same: the mean of what is kept leaves the least squared error.
    Unit,
}

impl PhaseAxis {
    pub(super) fn quantize(self, weights: &[f32], ty: ScaleType, given: Option<f32>, codes: &mut [u16]) -> f32 {
        let scale = given.or_else(|| self.exact(weights, ty));
        let scale = ty.round(scale.unwrap_or_else(|| self.scale(weights)));
        let inverse = inverse(scale);
        let groups = weights.chunks_exact(GROUP).zip(codes.chunks_exact_mut(GROUP));
        for (weights, codes) in groups {
            for k in 0..HALF {
                let (weight, axis) = kept(weights, k);
                let code = match self {
                    PhaseAxis::Magnitudes => {
                        let magnitude = (weight * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
                        // 0 is on both axes.
                        let axis = if magnitude == 0 { 0 } else { axis };
                        u16::from(magnitude as u8) | axis << 8
                    }
                    PhaseAxis::Unit => axis + if weight < 0.0 { 2 } else { 0 },
                };
                (codes[k], codes[HALF + k]) = (code, code);
            }
        }
        scale
    }

    /// The scale of weights that training has left on the grid of magnitudes.
    fn exact(self, weights: &[f32], ty: ScaleType) -> Option<f32> {
        match self {
            PhaseAxis::Magnitudes => exact(&Integers::INT8, weights, ty),
            // The mean of equal magnitudes is that magnitude.
            PhaseAxis::Unit => None,
        }
    }

    /// The scale for weights that share one.
    pub(super) fn scale(self, weights: &[f32]) -> f32 {
        let groups = weights.chunks_exact(GROUP);
        let kept = groups.flat_map(|weights| (0..HALF).map(|k| kept(weights, k).0.abs()));
        match self {
            PhaseAxis::Magnitudes => kept.fold(0f32, f32::max) / 127.0,
            PhaseAxis::Unit => {
                let sum: f64 = kept.map(f64::from).sum();
                (sum / (weights.len() / 2) as f64) as f32
            }
        }
    }
}

/// The larger weight of a pair, and whether it is the second.
fn kept(weights: &[f32], k: usize) -> (f32, u16) {
    let (first, second) = (weights[k], weights[HALF + k]);
    if first.abs() >= second.abs() {
        (first, 0)
    } else {
        (second, 1)
    }
}
