//! How votes are cast and committed.

use super::{Range, VoteError, VoteWidth};
use serde::{Deserialize, Serialize};

/// What a gradient adds to a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ballot {
    /// Its sign.
    Sign,
    /// How large it is beside the mean magnitude of its matrix, in fourths, from -16 to 16.
    Magnitude,
}

impl Ballot {
    /// What a gradient of mean magnitude adds.
    pub(super) fn unit(self) -> i32 {
        match self {
            Ballot::Sign => 1,
            Ballot::Magnitude => 4,
        }
    }

    /// The most that a gradient adds.
    pub(super) fn most(self) -> i32 {
        match self {
            Ballot::Sign => 1,
            Ballot::Magnitude => 16,
        }
    }
}

/// Which weights a commit moves. None moves without a vote, or out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// All of them.
    All,
    /// Those whose vote is at least this share of the largest that N micro-steps give (of signs).
    Threshold(f32),
    /// The share of a matrix with the largest votes; between equal ones the seed decides.
    Top(f32),
}

/// How votes are cast and committed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Micro-steps from one commit to the next: N.
    pub every: u32,
    /// What a gradient adds to a vote.
    pub ballot: Ballot,
    /// Which weights a commit moves.
    pub choice: Choice,
    /// The share of a vote that stays for the next commit where it moved nothing: 0 forgets it.
    pub feedback: f32,
    /// Whether fewer weights move as the learning rate of the run falls.
    pub decays: bool,
    /// The learning rate of the scales, plain gradient descent in proportion to the scale; 0 keeps them as they are.
    pub scale_rate: f32,
    /// Decides between equal votes, and the roundings of what stays of them.
    pub seed: u64,
}

impl Rule {
    /// As the method is stated: every N micro-steps every weight with a vote moves, and votes begin anew.
    pub fn as_stated(every: u32) -> Self {
        Self {
            every,
            ballot: Ballot::Sign,
            choice: Choice::All,
            feedback: 0.0,
            decays: false,
            scale_rate: 0.0,
            seed: 0,
        }
    }

    /// A share of the weights moves, those whose votes are largest, and votes that moved nothing fade slowly. The share is
    /// the smaller the larger a step of these integers is beside a weight, and falls over a run.
    pub fn improved(every: u32, range: Range) -> Self {
        let share = match range {
            Range::Int8 => 1.0,
            Range::Int4 => 0.1,
            Range::Int2 | Range::Ternary => 0.02,
        };
        Self {
            ballot: Ballot::Magnitude,
            choice: Choice::Top(share),
            feedback: 0.9,
            decays: true,
            ..Self::as_stated(every)
        }
    }

    /// Whether the rule makes sense.
    ///
    /// # Errors
    /// [`VoteError::Rule`] says what does not.
    pub fn check(&self) -> Result<(), VoteError> {
        let wrong = |what, value, allowed| Err(VoteError::Rule { what, value, allowed });
        let is_share = |share: f32| share > 0.0 && share <= 1.0;
        match self.choice {
            _ if self.every == 0 => wrong("the number of micro-steps between commits", 0.0, "at least 1"),
            Choice::Threshold(share) if !is_share(share) => {
                wrong("the threshold of a commit", share.into(), "above 0 and at most 1")
            }
            Choice::Top(share) if !is_share(share) => {
                wrong("the share of weights that move", share.into(), "above 0 and at most 1")
            }
            _ if !(0.0..=1.0).contains(&self.feedback) => {
                wrong("the share of a vote that stays", self.feedback.into(), "from 0 to 1")
            }
            _ if !(self.scale_rate >= 0.0 && self.scale_rate.is_finite()) => {
                wrong("the learning rate of scales", self.scale_rate.into(), "0 or more")
            }
            _ => Ok(()),
        }
    }

    /// The least width in which the votes of `workers` processes have room for N micro-steps and, beside them, for as much
    /// as stays of earlier ones. (What still does not fit stays at the limit.)
    pub fn width(&self, workers: u32) -> VoteWidth {
        let most = f64::from(self.every) * f64::from(workers.max(1)) * f64::from(self.ballot.most());
        // A geometric series of what stays.
        let kept = most / f64::from(1.0 - self.feedback).max(0.05);
        if kept <= f64::from(i8::MAX) {
            VoteWidth::I8
        } else {
            VoteWidth::I16
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_rules_are_refused() {
        let good = Rule::improved(10, Range::Int4);
        good.check().unwrap();
        Rule::as_stated(1).check().unwrap();
        for bad in [
            Rule { every: 0, ..good },
            Rule {
                choice: Choice::Top(0.0),
                ..good
            },
            Rule {
                choice: Choice::Top(f32::NAN),
                ..good
            },
            Rule {
                choice: Choice::Threshold(1.5),
                ..good
            },
            Rule { feedback: -0.1, ..good },
            Rule {
                feedback: f32::NAN,
                ..good
            },
            Rule {
                scale_rate: f32::INFINITY,
                ..good
            },
        ] {
            assert!(matches!(bad.check(), Err(VoteError::Rule { .. })), "{bad:?}");
        }
    }

    #[test]
    fn votes_as_stated_fit_into_8_bits_up_to_127_steps() {
        assert_eq!(Rule::as_stated(127).width(1), VoteWidth::I8);
        assert_eq!(Rule::as_stated(128).width(1), VoteWidth::I16);
        assert_eq!(Rule::as_stated(100).width(2), VoteWidth::I16);
    }
}
