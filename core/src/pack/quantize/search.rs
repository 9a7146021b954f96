//! The scale of least squared error.
//!
//! For a given choice of levels l the best scale is Σwl / Σl², and it leaves the error Σw² - (Σwl)² / Σl². So a range of
//! scales is tried for the levels that they lead to, the one with the largest (Σwl)² / Σl² wins, and its scale is then
//! refined as in Lloyd's algorithm (Lloyd 1982). Where weights have an importance, each counts so often in all sums.

use super::super::scales::ScaleType;

/// Neighbouring scales that are tried differ by this factor.
const STEP: f32 = 1.04;
/// Refinements of the best scale.
const ROUNDS: usize = 2;
/// Weights are taken by so many at a time, with as many sums: groups are multiples of 32.
const LANES: usize = 8;
/// Weights whose sums are f32.
const RUN: usize = 1 << 12;

/// Values that weights, divided by their scale, are rounded to.
pub(super) trait Levels {
    /// All magnitudes that levels have but 0, the largest last.
    fn magnitudes(&self) -> impl Iterator<Item = f32>;

    /// Whether each level's opposite is one too.
    fn is_symmetric(&self) -> bool;

    /// The level nearest to `x`.
    fn nearest(&self, x: f32) -> f32;
}

/// The importance of weights that have none.
const EVEN: [f32; RUN] = [1.0; RUN];

/// What a scale leads to: the sums of weight times level and of level squared.
#[derive(Clone, Copy, Default)]
struct Fit {
    dot: f64,
    norm: f64,
}

impl Fit {
    /// The levels that a scale leads to.
    fn new(levels: &impl Levels, weights: &[f32], importance: Option<&[f32]>, inverse: f32) -> Self {
        let mut fit = Fit::default();
        for (run, weights) in weights.chunks(RUN).enumerate() {
            let importance = importance.map_or(&EVEN[..], |importance| &importance[run * RUN..]);
            let mut dot = [0f32; LANES];
            let mut norm = [0f32; LANES];
            let lanes = weights.as_chunks::<LANES>().0.iter();
            for (weights, importance) in lanes.zip(importance.as_chunks::<LANES>().0) {
                for lane in 0..LANES {
                    let level = levels.nearest(weights[lane] * inverse);
                    dot[lane] += importance[lane] * weights[lane] * level;
                    norm[lane] += importance[lane] * level * level;
                }
            }
            fit.dot += f64::from(dot.iter().sum::<f32>());
            fit.norm += f64::from(norm.iter().sum::<f32>());
        }
        fit
    }

    /// How much of Σw² the best scale for these levels explains.
    fn explained(self) -> f64 {
        self.dot * self.best_scale()
    }

    fn best_scale(self) -> f64 {
        if self.norm > 0.0 { self.dot / self.norm } else { 0.0 }
    }
}

/// The scale of least squared error for `weights`, nearly; 0 if they are all 0. It is negative where that suits the
/// levels better.
pub(super) fn search(levels: &impl Levels, weights: &[f32], importance: Option<&[f32]>) -> f32 {
    let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    if let Some(scale) = exact(levels, weights, ScaleType::F32) {
        return scale;
    }
    let top = levels.magnitudes().last().unwrap_or(1.0);
    let signs = signs(levels);
    // From a scale at which the largest weight is well inside the levels down to one that cuts off everything above the
    // standard deviation: the best one for long-tailed rows is far below the largest weight.
    let mean_square = weights.iter().map(|&w| (w / largest) * (w / largest)).sum::<f32>() / weights.len() as f32;
    let last = mean_square.sqrt().min(0.7);
    let mut best: Option<Fit> = None;
    let mut size = 1.25;
    while size > last {
        for sign in signs {
            let fit = Fit::new(levels, weights, importance, sign * top / (size * largest));
            if best.is_none_or(|best| fit.explained() > best.explained()) {
                best = Some(fit);
            }
        }
        size /= STEP;
    }
    let Some(mut best) = best else { return 0.0 };
    for _ in 0..ROUNDS {
        best = Fit::new(levels, weights, importance, 1.0 / best.best_scale() as f32);
    }
    let scale = best.best_scale() as f32;
    // Where no weight needs the level that has no opposite, either sign does.
    let mirrored = |&weight: &f32| levels.nearest(weight / scale) == -levels.nearest(-weight / scale);
    if scale < 0.0 && weights.iter().all(mirrored) {
        -scale
    } else {
        scale
    }
}

/// The scale of type `ty` with which all weights are levels times it, to the bit, if there is one: what was quantized
/// before keeps its values, whatever others come close. Several may do (weights of one magnitude are any level times
/// some scale), and only one of them may be a number of that type.
pub(super) fn exact(levels: &impl Levels, weights: &[f32], ty: ScaleType) -> Option<f32> {
    let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
    let candidates = levels.magnitudes().flat_map(|level| {
        let scale = largest / level;
        // A product that was rounded may be off by one when it is divided again.
        let near = [scale, scale.next_down(), scale.next_up()];
        signs(levels)
            .iter()
            .flat_map(move |sign| near.map(|scale| sign * scale))
    });
    let mut candidates = candidates.filter(|&scale| scale.is_normal() && ty.holds(scale));
    candidates.find(|&scale| {
        let inverse = 1.0 / scale;
        weights
            .iter()
            .all(|&weight| weight == scale * levels.nearest(weight * inverse))
    })
}

/// The signs that a scale may have.
fn signs(levels: &impl Levels) -> &'static [f32] {
    if levels.is_symmetric() { &[1.0] } else { &[1.0, -1.0] }
}
