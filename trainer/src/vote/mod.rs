//! π/2 integers by vote and commit: weights that are integers at every step, trained without an optimizer's memory.
//!
//! A weight is an integer times the scale of its row (π/2 is part of the scale, as in the `halfpi` formats). Every
//! micro-step adds the sign of the gradient to the weight's vote; every N micro-steps the votes are committed: weights
//! move by one, against the sign of their vote, and stay within the range of their integers. Between steps there is an
//! `i8` for each weight and an `i8` or `i16` for its vote, and nothing else: [`SharedVotes`] makes floats of a matrix while
//! something is multiplied with it, and votes with its gradient inside the backward pass.
//!
//! [`Rule::as_stated`] is that and no more: every weight that has a vote moves. With integers of 8 bits this trains; where
//! a step is as large as a weight it does not, because most votes are noise. [`Rule::improved`] moves only the weights
//! whose votes agree most (as the flips of binary networks are chosen, Helwegen et al. 2019, arXiv:1906.02107, algorithm
//! 1), keeps what did not suffice for the next commit (error feedback, Seide et al. 2014), and the share of weights that
//! move falls over the run. Sums of signs over several workers are exact, as they are integers (majority vote: Bernstein
//! et al. 2018, arXiv:1802.04434).

mod commit;
mod error;
mod matrix;
mod range;
mod rule;
mod shared;
mod state;
#[cfg(test)]
mod tests;
mod trainer;
mod votes;

pub use self::commit::Committed;
pub use self::error::VoteError;
pub use self::matrix::IntegerMatrix;
pub use self::range::Range;
pub use self::rule::{Ballot, Choice, Rule};
pub use self::shared::{Resting, SharedVotes, Voting};
pub(crate) use self::state::Part;
pub use self::state::VoteState;
pub use self::trainer::VoteTrainer;
pub use self::votes::{VoteWidth, Votes};
