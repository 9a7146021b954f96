//! Codes that belong to one weight each.

use super::integers::Integers;
use super::ladder::Ladder;
use super::search::{exact, search};
use super::table::Table;
use super::{inverse, ternary};

/// What codes stand for, and how the scale is chosen.
#[derive(Clone)]
pub(in super::super) enum Grid {
    /// Integers, the largest weight at the largest one.
    Largest(Integers),
    /// Integers with the scale of least squared error.
    Integers(Integers),
    /// -1, 0, 1 with the scale of least squared error.
    Ternary(Integers),
    /// Eight magnitudes and a sign, with the scale of least squared error.
    Ladder8(Ladder<8>),
    /// Sixteen values, with the scale of either sign of least squared error.
    Table(Box<Table>),
    /// Sixteen magnitudes and a sign, with the scale of least squared error.
    Ladder16(Ladder<16>),
}

impl Grid {
    /// The scale for weights that share one; 0 if they are all 0. If they have an importance, an error counts so often.
    pub(in super::super) fn scale(&self, weights: &[f32], importance: Option<&[f32]>) -> f32 {
        match self {
            Grid::Largest(integers) => {
                let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
                largest / integers.value(integers.code(f32::MAX))
            }
            Grid::Integers(integers) => search(integers, weights, importance),
            Grid::Ternary(_) => ternary::best_scale(weights, importance),
            Grid::Ladder8(ladder) => search(ladder, weights, importance),
            Grid::Ladder16(ladder) => search(ladder, weights, importance),
            Grid::Table(table) => search(&**table, weights, importance),
        }
    }

    /// The scale with which nothing is lost, if there is one.
    pub(super) fn exact(&self, weights: &[f32]) -> Option<f32> {
        match self {
            Grid::Largest(integers) | Grid::Integers(integers) | Grid::Ternary(integers) => exact(integers, weights),
            Grid::Ladder8(ladder) => exact(ladder, weights),
            Grid::Ladder16(ladder) => exact(ladder, weights),
            Grid::Table(table) => exact(&**table, weights),
        }
    }

    /// The code of the value nearest to `x`, a weight divided by its scale.
    pub(in super::super) fn code(&self, x: f32) -> u16 {
        match self {
            Grid::Largest(integers) | Grid::Integers(integers) | Grid::Ternary(integers) => integers.code(x),
            Grid::Ladder8(ladder) => ladder.code(x),
            Grid::Ladder16(ladder) => ladder.code(x),
            Grid::Table(table) => table.code(x),
        }
    }

    /// What a code stands for: a weight divided by its scale.
    pub(in super::super) fn value(&self, code: u16) -> f32 {
        match self {
            Grid::Largest(integers) | Grid::Integers(integers) | Grid::Ternary(integers) => integers.value(code),
            Grid::Ladder8(ladder) => ladder.value(code),
            Grid::Ladder16(ladder) => ladder.value(code),
            Grid::Table(table) => table.value(code),
        }
    }

    /// The nearest codes of weights with this scale.
    pub(super) fn codes(&self, weights: &[f32], scale: f32, codes: &mut [u16]) {
        let inverse = inverse(scale);
        for (code, weight) in codes.iter_mut().zip(weights) {
            *code = self.code(weight * inverse);
        }
    }
}
