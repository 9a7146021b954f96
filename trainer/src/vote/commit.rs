//! Which weights move, and what stays of the votes of those that do not.

use super::votes::Vote;
use super::{Choice, Range, Rule};
use crate::Random;

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// All weights.
    pub weights: usize,
    /// Those that moved by one.
    pub moved: usize,
    /// Those that would have left their range, and stayed.
    pub stopped: usize,
}

impl Committed {
    pub(super) fn add(&mut self, other: Self) {
        self.weights += other.weights;
        self.moved += other.moved;
        self.stopped += other.stopped;
    }
}

/// Where in the run a commit is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Commits before it.
    pub commits: u64,
    /// Gradients that were added to a vote, of all processes.
    pub cast: u32,
    /// What share moves of the weights that would: 1 at the beginning of a run, less later.
    pub rate: f32,
}

/// Which votes move their weights.
struct Cut {
    /// Votes of at least this magnitude do,
    sure: i32,
    /// each with this probability.
    chance: f32,
    /// Votes that are smaller by one do with this.
    edge: f32,
}

impl Cut {
    /// Only [`Choice::Top`] needs the magnitudes, of the votes whose weights can move.
    fn new(rule: &Rule, progress: Progress, weights: usize, magnitudes: impl Fn() -> Vec<u32>) -> Self {
        let by_chance = |sure| Self {
            sure,
            chance: progress.rate,
            edge: 0.0,
        };
        match rule.choice {
            Choice::All => by_chance(1),
            Choice::Threshold(share) => {
                let most = f64::from(progress.cast) * f64::from(rule.ballot.unit());
                by_chance(((f64::from(share) * most).ceil() as i32).max(1))
            }
            Choice::Top(share) => {
                let wanted = (f64::from(share) * f64::from(progress.rate) * weights as f64).round();
                Self::top(wanted as usize, &magnitudes())
            }
        }
    }

    /// The `wanted` largest, where there are `counts[m]` votes of magnitude `m`; 0 is not one.
    fn top(wanted: usize, counts: &[u32]) -> Self {
        let mut left = wanted;
        for (magnitude, &count) in counts.iter().enumerate().skip(1).rev() {
            match left.checked_sub(count as usize) {
                Some(rest) => left = rest,
                None => {
                    return Self {
                        sure: magnitude as i32 + 1,
                        chance: 1.0,
                        edge: left as f32 / count as f32,
                    };
                }
            }
        }
        Self {
            sure: 1,
            chance: 1.0,
            edge: 0.0,
        }
    }

    /// Whether a vote of this magnitude moves its weight.
    fn moves(&self, magnitude: i32, random: &mut Random) -> bool {
        let chance = if magnitude >= self.sure {
            self.chance
        } else if magnitude > 0 && magnitude + 1 == self.sure {
            self.edge
        } else {
            0.0
        };
        chance >= 1.0 || (chance > 0.0 && random.uniform() < chance)
    }
}

/// Moves the weights that the rule chooses by one, against the sign of their votes, and makes ready for new votes.
pub(super) fn commit<V: Vote>(
    range: Range,
    codes: &mut [i8],
    votes: &mut [V],
    name: &str,
    rule: &Rule,
    progress: Progress,
) -> Committed {
    // Its own stream for every matrix and commit, so that a run that is resumed goes on as it would have.
    let mut random = Random::of(rule.seed ^ Random::new(progress.commits).next(), name);
    let cut = Cut::new(rule, progress, codes.len(), || magnitudes(range, codes, votes));
    let mut committed = Committed {
        weights: codes.len(),
        ..Committed::default()
    };
    for (code, vote) in codes.iter_mut().zip(votes) {
        let sum: i32 = (*vote).into();
        if sum == 0 {
            continue;
        }
        match step(range, *code, sum) {
            Some(target) if cut.moves(sum.abs(), &mut random) => {
                *code = target;
                *vote = V::saturated(0);
                committed.moved += 1;
            }
            target => {
                committed.stopped += usize::from(target.is_none());
                *vote = V::saturated(fade(sum, rule.feedback, &mut random));
            }
        }
    }
    committed
}

/// Where a vote moves a weight, if that is in its range.
fn step(range: Range, code: i8, vote: i32) -> Option<i8> {
    let target = code.checked_sub(vote.signum() as i8)?;
    range.contains(target).then_some(target)
}

/// How many votes there are of each magnitude whose weights can move.
fn magnitudes<V: Vote>(range: Range, codes: &[i8], votes: &[V]) -> Vec<u32> {
    let mut counts = Vec::new();
    for (&code, &vote) in codes.iter().zip(votes) {
        let sum: i32 = vote.into();
        let magnitude = sum.unsigned_abs() as usize;
        if step(range, code, sum).is_some() {
            if magnitude >= counts.len() {
                counts.resize(magnitude + 1, 0);
            }
            counts[magnitude] += 1;
        }
    }
    counts
}

/// `feedback` of a vote, up or down by chance so that it is this on average: rounded to the nearest, small votes would
/// never fade or never last.
fn fade(vote: i32, feedback: f32, random: &mut Random) -> i32 {
    if feedback == 0.0 {
        0
    } else if feedback == 1.0 {
        vote
    } else {
        (vote as f32 * feedback + random.uniform()).floor() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Progress = Progress {
        commits: 0,
        cast: 10,
        rate: 1.0,
    };

    fn rule(choice: Choice, feedback: f32) -> Rule {
        Rule {
            choice,
            feedback,
            ..Rule::as_stated(10)
        }
    }

    #[test]
    fn as_stated_every_weight_with_a_vote_moves_and_votes_begin_anew() {
        let mut codes = [0, 0, 0, 127, -127, 5];
        let mut votes = [1i8, -10, 0, -3, 2, 3];
        let committed = commit(Range::Int8, &mut codes, &mut votes, "w", &rule(Choice::All, 0.0), NOW);
        assert_eq!(codes, [-1, 1, 0, 127, -127, 4]);
        assert_eq!(votes, [0; 6]);
        let expected = Committed {
            weights: 6,
            moved: 3,
            stopped: 2,
        };
        assert_eq!(committed, expected);
    }

    #[test]
    fn below_the_threshold_nothing_moves_and_the_vote_stays() {
        let mut codes = [0, 0, 0, 0];
        let mut votes = [5i16, 4, -5, -4];
        commit(
            Range::Ternary,
            &mut codes,
            &mut votes,
            "w",
            &rule(Choice::Threshold(0.45), 1.0),
            NOW,
        );
        assert_eq!(codes, [-1, 0, 1, 0]);
        assert_eq!(votes, [0, 4, 0, -4]);
        // At half the rate, half of those that would move: by chance, the same chance for the same seed.
        let halved = Progress { rate: 0.5, ..NOW };
        let run = |name| {
            let (mut codes, mut votes) = ([0; 1000], [5i8; 1000]);
            commit(
                Range::Int8,
                &mut codes,
                &mut votes,
                name,
                &rule(Choice::Threshold(0.45), 1.0),
                halved,
            );
            codes
        };
        let moved = run("w").iter().filter(|&&code| code == -1).count();
        assert!((440..560).contains(&moved), "{moved}");
        assert_eq!(run("w"), run("w"));
        assert_ne!(run("w"), run("v"));
    }

    #[test]
    fn the_top_share_moves_and_equal_votes_are_drawn() {
        let mut codes = [0; 1000];
        let mut votes = [1i8; 1000];
        votes[..50].fill(3);
        // Of those that count most some cannot move: others do in their place.
        codes[..20].fill(-1);
        commit(
            Range::Ternary,
            &mut codes,
            &mut votes,
            "w",
            &rule(Choice::Top(0.1), 1.0),
            NOW,
        );
        assert_eq!(codes[..50], [-1; 50]);
        let moved = codes[50..].iter().filter(|&&code| code == -1).count();
        assert!((50..90).contains(&moved), "{moved}");
        assert!(codes[50..500].contains(&-1) && codes[500..].contains(&-1));
    }

    #[test]
    fn what_stays_of_votes_is_right_on_average() {
        let mut random = Random::new(2);
        for (vote, feedback) in [(1, 0.9), (-1, 0.9), (7, 0.5), (-100, 0.333)] {
            let sum: i32 = (0..4000).map(|_| fade(vote, feedback, &mut random)).sum();
            let mean = sum as f32 / 4000.0;
            assert!((mean - vote as f32 * feedback).abs() < 0.05, "{vote} {feedback} {mean}");
        }
        assert_eq!(fade(-3, 0.0, &mut random), 0);
        assert_eq!(fade(-3, 1.0, &mut random), -3);
    }
}
