//! What can go wrong with integers that are trained by votes.

/// What can go wrong with integers that are trained by votes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VoteError {
    /// A gradient has numbers that are not finite: nothing was added to the votes.
    #[error(
        "the gradient of {name} is {value} at row {row}, column {column}: lower the learning rate of what is not voted on, or go back to a checkpoint"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// Where.
        row: usize,
        /// Where.
        column: usize,
        /// What is there.
        value: f32,
    },
    /// A weight is outside the range of its integers: the state is damaged.
    #[error(
        "{name} has {code} at row {row}, column {column}, its integers are {low} to {high}: go back to a checkpoint"
    )]
    OutOfRange {
        /// The tensor.
        name: String,
        /// Where.
        row: usize,
        /// Where.
        column: usize,
        /// The weight.
        code: i8,
        /// The least integer.
        low: i8,
        /// The largest integer.
        high: i8,
    },
    /// A scale with which packed weights would not be what was trained.
    #[error("{name} has the scale {scale} in row {row}, which is not positive or not to be kept in 16 bits")]
    Scale {
        /// The tensor.
        name: String,
        /// Where.
        row: usize,
        /// The scale.
        scale: f32,
    },
    /// A matrix and what belongs to it differ in size.
    #[error("{name}: {what} are {found}, {expected} belong there")]
    Length {
        /// The tensor.
        name: String,
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// A rule that says nothing sensible.
    #[error("{what} is {value}, it must be {allowed}")]
    Rule {
        /// Of what.
        what: &'static str,
        /// What was given.
        value: f64,
        /// What may be given.
        allowed: &'static str,
    },
    /// The saved state is not one of these matrices.
    #[error("the saved votes do not fit: {reason}")]
    State {
        /// Why.
        reason: String,
    },
}
