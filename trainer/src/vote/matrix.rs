//! A matrix of integers that is trained.

use super::commit::{self, Committed, Progress};
use super::votes::Vote;
use super::{Ballot, Range, Rule, VoteError, VoteWidth, Votes};
use crate::Random;
use crate::memory::{self, Class};

/// A matrix of integers with a scale for each row, and a vote for each integer.
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerMatrix {
    range: Range,
    rows: usize,
    cols: usize,
    codes: Vec<i8>,
    /// Before they are rounded to what can be packed, so that small changes add up.
    scales: Vec<f32>,
    votes: Votes,
    /// The gradient of the loss by the logarithm of each scale, added up since the last commit; empty without.
    pull: Vec<f32>,
}

impl IntegerMatrix {
    /// Integers nearest to normal weights of this standard deviation.
    pub fn random(
        [rows, cols]: [usize; 2],
        range: Range,
        deviation: f32,
        width: VoteWidth,
        random: &mut Random,
    ) -> Self {
        let scale = range.scale(range.normal_scale() * deviation);
        let codes = (0..rows * cols).map(|_| range.nearest(random.normal() * deviation / scale));
        let (codes, scales) = memory::class(Class::Weights, || (codes.collect(), vec![scale; rows]));
        Self::of(range, [rows, cols], codes, scales, width)
    }

    /// Integers nearest to these weights, with the scale of each row that leaves the least squared error, nearly.
    ///
    /// # Errors
    /// [`VoteError::Length`] if there are not `rows * cols` of them, [`VoteError::NotFinite`]. `name` is for the error.
    pub fn from_values(
        name: &str,
        values: &[f32],
        [rows, cols]: [usize; 2],
        range: Range,
        width: VoteWidth,
    ) -> Result<Self, VoteError> {
        check_length(name, "weights", values.len(), rows * cols)?;
        check_finite(name, values, cols)?;
        // What a row has that is all 0, so that it can be trained too.
        let square = values.iter().map(|value| value * value).sum::<f32>() / values.len().max(1) as f32;
        let usual = range.normal_scale() * if square > 0.0 { square.sqrt() } else { 0.01 };
        let empty = || (Vec::with_capacity(values.len()), Vec::with_capacity(rows));
        let (mut codes, mut scales) = memory::class(Class::Weights, empty);
        for row in values.chunks_exact(cols.max(1)) {
            let scale = best_scale(row, range).unwrap_or_else(|| range.scale(usual));
            codes.extend(row.iter().map(|value| range.nearest(value / scale)));
            scales.push(scale);
        }
        Ok(Self::of(range, [rows, cols], codes, scales, width))
    }

    /// What was saved: row by row. `name` is for errors.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn from_parts(
        name: &str,
        range: Range,
        [rows, cols]: [usize; 2],
        codes: Vec<i8>,
        scales: Vec<f32>,
        votes: Votes,
    ) -> Result<Self, VoteError> {
        let matrix = Self {
            range,
            rows,
            cols,
            codes,
            scales,
            votes,
            pull: Vec::new(),
        };
        matrix.check(name)?;
        Ok(matrix)
    }

    fn of(range: Range, [rows, cols]: [usize; 2], codes: Vec<i8>, scales: Vec<f32>, width: VoteWidth) -> Self {
        Self {
            range,
            rows,
            cols,
            votes: Votes::new(width, codes.len()),
            codes,
            scales,
            pull: Vec::new(),
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Which integers its weights may be.
    pub fn range(&self) -> Range {
        self.range
    }

    /// The integers, row by row.
    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// The scale of row `row` as the forward pass has it, and a packed file: exact in 16 bits; 0 if there is no such row.
    pub fn scale(&self, row: usize) -> f32 {
        self.scales.get(row).map_or(0.0, |&scale| self.range.scale(scale))
    }

    /// The scales as they are learned, for a checkpoint; [`scale`](Self::scale) rounds them.
    pub fn learned_scales(&self) -> &[f32] {
        &self.scales
    }

    /// The votes since the last commit, and what stayed of those before.
    pub fn votes(&self) -> &Votes {
        &self.votes
    }

    /// For adding up over processes.
    pub fn votes_mut(&mut self) -> &mut Votes {
        &mut self.votes
    }

    /// What was added up for learned scales since the last commit; empty as long as there is none.
    pub fn pull(&self) -> &[f32] {
        &self.pull
    }

    /// What was saved of it. `name` is for the error.
    pub(super) fn set_pull(&mut self, name: &str, pull: Vec<f32>) -> Result<(), VoteError> {
        if !pull.is_empty() {
            check_length(name, "gradients of scales", pull.len(), self.rows)?;
            check_finite(name, &pull, 1)?;
        }
        self.pull = pull;
        Ok(())
    }

    /// As [`pull`](Self::pull), for adding up over processes.
    pub fn pull_mut(&mut self) -> &mut [f32] {
        &mut self.pull
    }

    /// The weights that the integers stand for: `code * scale`, row by row, without any rounding.
    pub fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.codes.len());
        for (row, codes) in self.codes.chunks_exact(self.cols.max(1)).enumerate() {
            let scale = self.scale(row);
            values.extend(codes.iter().map(|&code| f32::from(code) * scale));
        }
        values
    }

    /// Adds what a gradient says to the votes; with `learns_scales` to the pull on the scales as well.
    ///
    /// # Errors
    /// [`VoteError::Length`], [`VoteError::NotFinite`]: nothing was added then. `name` is for the error.
    pub fn vote(&mut self, name: &str, gradient: &[f32], ballot: Ballot, learns_scales: bool) -> Result<(), VoteError> {
        check_length(name, "gradients", gradient.len(), self.codes.len())?;
        check_finite(name, gradient, self.cols)?;
        match &mut self.votes {
            Votes::I8(votes) => cast(votes, gradient, ballot),
            Votes::I16(votes) => cast(votes, gradient, ballot),
        }
        if learns_scales {
            self.pull.resize(self.rows, 0.0);
            let rows = self.codes.chunks_exact(self.cols.max(1));
            for (row, (codes, gradient)) in rows.zip(gradient.chunks_exact(self.cols.max(1))).enumerate() {
                let by_scale: f32 = codes.iter().zip(gradient).map(|(&code, g)| f32::from(code) * g).sum();
                self.pull[row] += by_scale * self.range.scale(self.scales[row]);
            }
        }
        Ok(())
    }

    /// Moves weights against their votes.
    ///
    /// # Errors
    /// [`VoteError::OutOfRange`] in builds with debug assertions, which check every weight. `name` is for the error and
    /// chooses, with the rule's seed, between equal votes.
    pub(super) fn commit(&mut self, name: &str, rule: &Rule, progress: Progress) -> Result<Committed, VoteError> {
        let committed = match &mut self.votes {
            Votes::I8(votes) => commit::commit(self.range, &mut self.codes, votes, name, rule, progress),
            Votes::I16(votes) => commit::commit(self.range, &mut self.codes, votes, name, rule, progress),
        };
        for (scale, pull) in self.scales.iter_mut().zip(&self.pull) {
            // At most a tenth at a time: a row with a steep loss does not run away.
            let change = (rule.scale_rate * progress.rate * pull / progress.cast as f32).clamp(-0.1, 0.1);
            *scale *= (-change).exp();
        }
        self.pull.clear();
        if cfg!(debug_assertions) {
            self.check(name)?;
        }
        Ok(committed)
    }

    /// Whether every weight is an integer of the range, every scale one that can be packed, and there is a vote for each.
    ///
    /// # Errors
    /// [`VoteError::OutOfRange`], [`VoteError::Scale`], [`VoteError::Length`]. `name` is for them.
    pub fn check(&self, name: &str) -> Result<(), VoteError> {
        let count = self.rows.saturating_mul(self.cols);
        check_length(name, "integers", self.codes.len(), count)?;
        check_length(name, "votes", self.votes.len(), count)?;
        check_length(name, "scales", self.scales.len(), self.rows)?;
        if let Some(index) = self.codes.iter().position(|&code| !self.range.contains(code)) {
            return Err(VoteError::OutOfRange {
                name: name.to_owned(),
                row: index / self.cols,
                column: index % self.cols,
                code: self.codes[index],
                low: self.range.low(),
                high: self.range.high(),
            });
        }
        let is_bad = |scale: &f32| !(scale.is_finite() && *scale > 0.0 && self.range.scale(*scale) > 0.0);
        match self.scales.iter().position(is_bad) {
            None => Ok(()),
            Some(row) => Err(VoteError::Scale {
                name: name.to_owned(),
                row,
                scale: self.scales[row],
            }),
        }
    }
}

/// The ballots of a gradient whose numbers are all finite.
fn cast<V: Vote>(votes: &mut [V], gradient: &[f32], ballot: Ballot) {
    match ballot {
        Ballot::Sign => {
            for (vote, &g) in votes.iter_mut().zip(gradient) {
                *vote = V::saturated((*vote).into() + i32::from(g > 0.0) - i32::from(g < 0.0));
            }
        }
        Ballot::Magnitude => {
            let sum: f64 = gradient.iter().map(|g| f64::from(g.abs())).sum();
            if sum > 0.0 {
                let most = ballot.most() as f32;
                let inverse = (f64::from(ballot.unit()) * gradient.len() as f64 / sum) as f32;
                for (vote, &g) in votes.iter_mut().zip(gradient) {
                    let cast = (g * inverse).clamp(-most, most).round_ties_even() as i32;
                    *vote = V::saturated((*vote).into() + cast);
                }
            }
        }
    }
}

/// The scale of least squared error of those that are tried; `None` for weights that are all 0.
fn best_scale(weights: &[f32], range: Range) -> Option<f32> {
    let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
    let deviation = (weights.iter().map(|weight| weight * weight).sum::<f32>() / weights.len() as f32).sqrt();
    if largest == 0.0 {
        return None;
    }
    let error = |scale: f32| -> f64 {
        let errors = weights.iter().map(|weight| {
            let error = f64::from(weight - scale * f32::from(range.nearest(weight / scale)));
            error * error
        });
        errors.sum()
    };
    // From a scale that reaches the largest weight down to one that cuts off all above half a deviation.
    let mut scale = largest / f32::from(range.high());
    let last = (0.5 * deviation / f32::from(range.high())).max(scale / 100.0);
    let mut best = (f64::INFINITY, range.scale(scale));
    while scale > last {
        let near = range.scale(scale);
        let error = error(near);
        if error < best.0 {
            best = (error, near);
        }
        scale /= 1.06;
    }
    Some(best.1)
}

fn check_length(name: &str, what: &'static str, found: usize, expected: usize) -> Result<(), VoteError> {
    if found == expected {
        return Ok(());
    }
    Err(VoteError::Length {
        name: name.to_owned(),
        what,
        found,
        expected,
    })
}

fn check_finite(name: &str, values: &[f32], cols: usize) -> Result<(), VoteError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(VoteError::NotFinite {
            name: name.to_owned(),
            row: index / cols.max(1),
            column: index % cols.max(1),
            value: values[index],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Choice;
    use super::*;
    use halfpi::pack::{Scales, pack_matrix};

    const RANGES: [Range; 4] = [Range::Ternary, Range::Int2, Range::Int4, Range::Int8];

    #[test]
    fn values_come_back_within_the_range_s_precision() {
        let mut random = Random::new(1);
        let weights: Vec<f32> = (0..8 * 64).map(|_| 0.02 * random.normal()).collect();
        // In dB: quantizers' usual figures for normal weights, less what a coarse scale costs.
        for (range, least) in RANGES.into_iter().zip([6.5, 7.0, 18.0, 35.0]) {
            let matrix = IntegerMatrix::from_values("w", &weights, [8, 64], range, VoteWidth::I8).unwrap();
            matrix.check("w").unwrap();
            let noise: f32 = weights
                .iter()
                .zip(matrix.values())
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            let signal: f32 = weights.iter().map(|a| a * a).sum();
            let ratio = 10.0 * (signal / noise).log10();
            assert!(ratio > least, "{range:?}: {ratio} dB");
        }
    }

    #[test]
    fn integers_at_random_use_their_range() {
        for range in RANGES {
            let matrix = IntegerMatrix::random([16, 64], range, 0.02, VoteWidth::I8, &mut Random::new(5));
            matrix.check("w").unwrap();
            assert!(
                matrix
                    .codes()
                    .iter()
                    .any(|&code| f32::from(code) > 0.6 * f32::from(range.high()))
            );
            let square = matrix.values().iter().map(|value| value * value).sum::<f32>() / 1024.0;
            assert!((0.014..0.024).contains(&square.sqrt()), "{range:?} {}", square.sqrt());
        }
    }

    #[test]
    fn packing_keeps_every_weight() {
        let mut random = Random::new(9);
        for range in RANGES {
            let matrix = IntegerMatrix::random([16, 64], range, 0.03, VoteWidth::I8, &mut random);
            for row in matrix.values().chunks_exact(64) {
                // Rows of a matrix are looked at as a whole where they have 8 bits.
                let scales = if range == Range::Int8 {
                    Scales::Tensor
                } else {
                    Scales::Row
                };
                let (_, distortion) = pack_matrix(row, (1, 64), range.format(), scales, 1).unwrap();
                assert!(
                    distortion.error == 0.0 && distortion.signal > 0.0,
                    "{range:?} {distortion:?}"
                );
            }
        }
    }

    #[test]
    fn rows_of_zeros_can_be_trained() {
        let matrix =
            IntegerMatrix::from_values("w", &[0.0, 0.0, 0.5, -0.5], [2, 2], Range::Ternary, VoteWidth::I8).unwrap();
        matrix.check("w").unwrap();
        assert_eq!(matrix.codes(), [0, 0, 1, -1]);
        assert_eq!(matrix.values()[2..], [0.5, -0.5]);
        IntegerMatrix::from_values("w", &[0.0; 4], [2, 2], Range::Int8, VoteWidth::I8)
            .unwrap()
            .check("w")
            .unwrap();
    }

    #[test]
    fn votes_are_signs_and_never_wrap() {
        let mut matrix = IntegerMatrix::from_values("w", &[1.0; 3], [1, 3], Range::Int8, VoteWidth::I8).unwrap();
        for _ in 0..300 {
            matrix.vote("w", &[1e-30, -7.0, 0.0], Ballot::Sign, false).unwrap();
        }
        assert_eq!(*matrix.votes(), Votes::I8(vec![127, -127, 0]));
        matrix.votes_mut().clear();
        matrix.vote("w", &[3.0, -1.0, 2.0], Ballot::Magnitude, false).unwrap();
        assert_eq!(*matrix.votes(), Votes::I8(vec![6, -2, 4]));
    }

    #[test]
    fn a_gradient_that_is_not_finite_adds_nothing() {
        let mut matrix = IntegerMatrix::from_values("w", &[1.0; 4], [2, 2], Range::Int8, VoteWidth::I8).unwrap();
        let before = matrix.clone();
        let error = matrix.vote("w", &[1.0, 1.0, 1.0, f32::NAN], Ballot::Sign, true);
        assert!(matches!(error, Err(VoteError::NotFinite { row: 1, column: 1, .. })));
        let error = matrix.vote("w", &[1.0], Ballot::Sign, true);
        assert!(matches!(
            error,
            Err(VoteError::Length {
                found: 1,
                expected: 4,
                ..
            })
        ));
        assert_eq!(matrix, before);
    }

    #[test]
    fn scales_follow_their_gradient_where_they_are_learned() {
        let begin = || IntegerMatrix::from_values("w", &[0.5, -0.5, 0.5, -0.5], [2, 2], Range::Ternary, VoteWidth::I8);
        let commit = |scale_rate| {
            let mut matrix = begin().unwrap();
            // The loss grows with the first row's scale, and falls as the second one's grows.
            let gradient = [1.0, -1.0, -1.0, 1.0];
            matrix.vote("w", &gradient, Ballot::Sign, scale_rate > 0.0).unwrap();
            let rule = Rule {
                choice: Choice::Threshold(1.0),
                scale_rate,
                ..Rule::as_stated(2)
            };
            let progress = Progress {
                commits: 0,
                cast: 2,
                rate: 1.0,
            };
            matrix.commit("w", &rule, progress).unwrap();
            [matrix.scale(0), matrix.scale(1)]
        };
        assert_eq!(commit(0.0), [0.5, 0.5]);
        let [first, second] = commit(0.1);
        // exp(∓0.1 * 1 / 2), as 16 bits hold it.
        assert!((first - 0.5 * (-0.05f32).exp()).abs() < 1e-3, "{first}");
        assert!((second - 0.5 * 0.05f32.exp()).abs() < 1e-3, "{second}");
        // A steep gradient moves them by a tenth at most.
        assert!(commit(1e9)[0] > 0.45 && commit(1e9)[1] < 0.56);
    }

    #[test]
    fn damage_is_seen() {
        let parts = |codes, scales, votes| IntegerMatrix::from_parts("w", Range::Ternary, [1, 2], codes, scales, votes);
        let votes = || Votes::I8(vec![0, 0]);
        parts(vec![1, -1], vec![0.5], votes()).unwrap();
        let error = parts(vec![1, 2], vec![0.5], votes());
        assert!(matches!(error, Err(VoteError::OutOfRange { column: 1, code: 2, .. })));
        for scale in [0.0, -1.0, f32::NAN] {
            let error = parts(vec![1, 1], vec![scale], votes());
            assert!(matches!(error, Err(VoteError::Scale { row: 0, .. })));
        }
        assert!(parts(vec![1], vec![0.5], votes()).is_err());
        assert!(parts(vec![1, 1], vec![], votes()).is_err());
        assert!(parts(vec![1, 1], vec![0.5], Votes::I8(vec![])).is_err());
    }
}
