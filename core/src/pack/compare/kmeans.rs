//! A table of levels made for a tensor: one-dimensional k-means (Lloyd 1982).

use super::Distortion;
use super::codebook::{Codebook, NF4};

/// Enough for the levels to come to rest.
const ROUNDS: usize = 100;
/// How often levels and scales are chosen in turn.
const TURNS: usize = 3;

/// What the best table of 16 levels for weights in `groups` loses: scales for a table, and levels for weights over those
/// scales, in turn. That ends in one of several minima, so it begins twice: with the scales of the largest weights, and
/// with those that are best for NF4.
pub(super) fn loss<'a>(groups: impl Iterator<Item = &'a [f32]> + Clone) -> Distortion {
    let [a, b] = [Codebook::absmax_scale, Codebook::searched_scale].map(|first| {
        let mut table = Codebook::new(NF4.to_vec());
        let mut choose: fn(&Codebook, &[f32]) -> f32 = first;
        let mut levels = NF4;
        for _ in 0..TURNS {
            levels = refine(levels, groups.clone().map(|group| (group, choose(&table, group))));
            table = Codebook::new(levels.to_vec());
            choose = Codebook::searched_scale;
        }
        table.loss(groups.clone(), choose)
    });
    if a.error < b.error { a } else { b }
}

/// Moves ascending levels to where the squared error of groups with these scales is least.
///
/// The weights are sorted once; prefix sums then give the centre of any interval, so that a round costs 16 binary
/// searches.
fn refine<'a>(mut levels: [f32; 16], groups: impl Iterator<Item = (&'a [f32], f32)>) -> [f32; 16] {
    let mut points: Vec<(f32, f64)> = Vec::new();
    for (group, scale) in groups.filter(|(_, scale)| *scale > 0.0) {
        // What is off by x here is off by scale * x in the weights.
        let importance = f64::from(scale) * f64::from(scale);
        points.extend(group.iter().map(|weight| (weight / scale, importance)));
    }
    points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // Of the importances, and of importance times position, up to each point.
    let mut sums = vec![(0.0, 0.0)];
    let (mut mass, mut moment) = (0.0, 0.0);
    for &(x, importance) in &points {
        mass += importance;
        moment += importance * f64::from(x);
        sums.push((mass, moment));
    }
    for _ in 0..ROUNDS {
        let mut start = 0;
        let before = levels;
        for (i, level) in levels.iter_mut().enumerate() {
            let border = before.get(i + 1).map_or(f32::INFINITY, |next| (before[i] + next) / 2.0);
            let end = points.partition_point(|&(x, _)| x <= border);
            let mass = sums[end].0 - sums[start].0;
            if mass > 0.0 {
                *level = ((sums[end].1 - sums[start].1) / mass) as f32;
            }
            start = end;
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_points_themselves() {
        let points: [f32; 16] = std::array::from_fn(|i| NF4[i] + 0.004 * (i as f32 - 7.0));
        let weights: Vec<f32> = points.iter().cycle().take(64).copied().collect();
        let found = refine(NF4, weights.chunks(32).map(|group| (group, 1.0)));
        for (found, point) in found.iter().zip(points) {
            assert!((found - point).abs() < 1e-6, "{found:?}");
        }
    }
}
