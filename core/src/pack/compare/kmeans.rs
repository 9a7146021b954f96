//! A table of levels made for a tensor: one-dimensional k-means (Lloyd 1982).

use super::codebook::Codebook;

/// Enough for the levels to come to rest.
const ROUNDS: usize = 100;
/// How often levels and scales are chosen in turn.
const TURNS: usize = 4;

/// The table of `N` levels for weights in `groups`: levels for weights over their scales, and scales for those levels,
/// in turn.
pub(super) fn codebook<'a, const N: usize>(groups: impl Iterator<Item = &'a [f32]> + Clone) -> Codebook {
    // Evenly from the smallest to the largest, which k-means then moves to where the weights are.
    let mut levels: [f32; N] = std::array::from_fn(|i| (2 * i + 1) as f32 / N as f32 - 1.0);
    let mut table = Codebook::new(levels.to_vec());
    for turn in 0..TURNS {
        let choose = if turn == 0 {
            Codebook::absmax_scale
        } else {
            Codebook::searched_scale
        };
        let scaled = groups.clone().map(|group| (group, choose(&table, group)));
        levels = refine(levels, scaled);
        table = Codebook::new(levels.to_vec());
    }
    table
}

/// Moves ascending levels to where the squared error of groups with these scales is least.
///
/// The weights are sorted once; prefix sums then give the centre of any interval, so that a round costs `N` binary
/// searches.
fn refine<'a, const N: usize>(mut levels: [f32; N], groups: impl Iterator<Item = (&'a [f32], f32)>) -> [f32; N] {
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
        let points = [-1.0f32, -0.25, 0.5, 0.75];
        let weights: Vec<f32> = points.iter().cycle().take(64).copied().collect();
        let table = codebook::<4>(weights.chunks(32));
        let lost = table.loss(weights.chunks(32), Codebook::searched_scale);
        assert!(lost.nmse() < 1e-6, "{lost:?}");
    }
}
