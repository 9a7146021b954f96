//! Codes that belong to one weight each.

use super::super::scales::ScaleType;
use super::integers::Integers;
use super::ladder::Ladder;
use super::search::{exact, search};
use super::table::Table;
use super::{inverse, ternary};

/// What codes stand for, and how the scale is chosen.
#[derive(Clone)]
pub(in super::super) enum Grid {
    /// Integers.
    Integers(Integers, Rule),
    /// Eight magnitudes and a sign, with the scale of least squared error.
    Ladder8(Ladder<8>),
    /// Sixteen values, with the scale of either sign of least squared error.
    Table(Box<Table>),
    /// Sixteen magnitudes and a sign, with the scale of least squared error.
    Ladder16(Ladder<16>),
}

/// How the scale of integers is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Rule {
    /// Puts the largest weight at the largest integer.
    Largest,
    /// Leaves the least squared error.
    LeastSquares,
    /// For ternary weights: leaves the least squared error, exactly.
    Ternary,
    /// For ternary weights: the mean magnitude.
    AbsMean,
    /// For ternary weights: this share of them, the smallest, becomes 0, and the scale is the mean of the others.
    Sparse(f32),
}

impl Grid {
    /// The scale for weights that share one; 0 if they are all 0. If they have an importance, an error counts so often.
    pub(in super::super) fn scale(&self, weights: &[f32], importance: Option<&[f32]>) -> f32 {
        match self {
            Grid::Integers(integers, rule) => match rule {
                Rule::Largest => {
                    let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
                    largest / integers.value(integers.code(f32::MAX))
                }
                Rule::LeastSquares => search(integers, weights, importance),
                Rule::Ternary => ternary::best_scale(weights, importance),
                Rule::AbsMean => ternary::mean(weights.iter().map(|weight| weight.abs())),
                Rule::Sparse(share) => ternary::sparse(weights, *share).0,
            },
            Grid::Ladder8(ladder) => search(ladder, weights, importance),
            Grid::Ladder16(ladder) => search(ladder, weights, importance),
            Grid::Table(table) => search(&**table, weights, importance),
        }
    }

    /// Whether [`scale`](Self::scale) is the one of least error, and not one of another rule.
    fn is_least_squares(&self) -> bool {
        match self {
            Grid::Integers(_, rule) => matches!(rule, Rule::LeastSquares | Rule::Ternary),
            Grid::Ladder8(_) | Grid::Ladder16(_) | Grid::Table(_) => true,
        }
    }

    /// The scale of type `ty` with which nothing is lost, if there is one.
    pub(super) fn exact(&self, weights: &[f32], ty: ScaleType) -> Option<f32> {
        match self {
            Grid::Integers(integers, _) => exact(integers, weights, ty),
            Grid::Ladder8(ladder) => exact(ladder, weights, ty),
            Grid::Ladder16(ladder) => exact(ladder, weights, ty),
            Grid::Table(table) => exact(&**table, weights, ty),
        }
    }

    /// The scale for weights that share one, of type `ty`.
    pub(super) fn stored_scale(&self, weights: &[f32], ty: ScaleType) -> f32 {
        let exact = self.is_least_squares().then(|| self.exact(weights, ty)).flatten();
        exact.unwrap_or_else(|| ty.round(self.scale(weights, None)))
    }

    /// The code of the value nearest to `x`, a weight divided by its scale.
    pub(in super::super) fn code(&self, x: f32) -> u16 {
        match self {
            Grid::Integers(integers, _) => integers.code(x),
            Grid::Ladder8(ladder) => ladder.code(x),
            Grid::Ladder16(ladder) => ladder.code(x),
            Grid::Table(table) => table.code(x),
        }
    }

    /// What a code stands for: a weight divided by its scale.
    pub(in super::super) fn value(&self, code: u16) -> f32 {
        match self {
            Grid::Integers(integers, _) => integers.value(code),
            Grid::Ladder8(ladder) => ladder.value(code),
            Grid::Ladder16(ladder) => ladder.value(code),
            Grid::Table(table) => table.value(code),
        }
    }

    /// The codes of weights with this scale: the nearest, unless others must be 0.
    pub(super) fn codes(&self, weights: &[f32], scale: f32, codes: &mut [u16]) {
        if let Grid::Integers(integers, Rule::Sparse(share)) = self {
            let (_, threshold) = ternary::sparse(weights, *share);
            for (code, &weight) in codes.iter_mut().zip(weights) {
                let kept = weight.abs() > threshold && scale > 0.0;
                *code = integers.code(if kept { weight.signum() } else { 0.0 });
            }
            return;
        }
        let inverse = inverse(scale);
        for (code, weight) in codes.iter_mut().zip(weights) {
            *code = self.code(weight * inverse);
        }
    }
}
