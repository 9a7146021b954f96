//! Votes as an optimizer among others, for a trainer that has one.

use std::collections::BTreeMap;

use super::commit::Progress;
use super::{IntegerMatrix, VoteTrainer, VoteWidth, Votes};
use crate::optimize::{Optimizer, Step};
use crate::tensor::{Backend, Tensor, matrix, values};

/// Changes integers by votes and the other parameters as another optimizer does.
///
/// An update is a micro-step. The learning rate of the schedule, divided by the largest, is what share moves of the weights
/// that would ([`VoteTrainer::commit`]); the other optimizer takes it as it is. Weight decay does not apply to integers.
/// Gradients come here summed over processes, so the votes are the same in all of them.
#[derive(Clone, Debug)]
pub struct VoteOptimizer<O> {
    votes: VoteTrainer,
    others: O,
    full_rate: f32,
    updates: u64,
}

impl<O> VoteOptimizer<O> {
    /// `votes` has [converted](VoteTrainer::convert) the parameters that are to be integers; `full_rate` is the largest
    /// learning rate of the schedule.
    pub fn new(votes: VoteTrainer, others: O, full_rate: f32) -> Self {
        Self {
            votes,
            others,
            full_rate,
            updates: 0,
        }
    }

    /// The integers and their votes.
    pub fn votes(&self) -> &VoteTrainer {
        &self.votes
    }

    /// Where a commit at the end of this update is in the run; `None` if it is not the N-th.
    fn due(&self, step: Step) -> Option<Progress> {
        let every = u64::from(self.votes.rule.every);
        let is_due = self.updates > 0 && self.updates.is_multiple_of(every);
        is_due.then(|| Progress {
            commits: self.updates / every - 1,
            cast: self.votes.rule.every,
            rate: (step.rate / self.full_rate).clamp(0.0, 1.0),
        })
    }
}

/// What the parts of a matrix are called in a checkpoint, after its name.
const PARTS: [&str; 3] = [".vote.codes", ".vote.scales", ".vote.votes"];

impl<B: Backend, O: Optimizer<B>> Optimizer<B> for VoteOptimizer<O> {
    fn begin(&mut self) {
        self.updates += 1;
        self.others.begin();
    }

    fn update(&mut self, name: &str, value: Tensor<B, 2>, gradient: Tensor<B, 2>, step: Step) -> Tensor<B, 2> {
        if self.votes.get(name).is_none() {
            return self.others.update(name, value, gradient, step);
        }
        // A gradient that is not finite adds nothing; the trainer has refused it before.
        self.votes.vote_on(name, gradient);
        let progress = self.due(step);
        let rule = self.votes.rule;
        match (self.votes.matrices.get_mut(name), progress) {
            (Some(integers), Some(progress)) => {
                let committed = integers.commit(name, &rule, progress);
                debug_assert!(committed.is_ok(), "{committed:?}");
                matrix(integers.values(), integers.shape(), &value.device())
            }
            _ => value,
        }
    }

    fn state(&self) -> Vec<(String, Tensor<B, 2>)> {
        let device = Default::default();
        let mut state = self.others.state();
        for (name, integers) in self.votes.matrices() {
            let [rows, cols] = integers.shape();
            let votes = (0..rows * cols).map(|index| integers.votes().get(index).unwrap_or(0) as f32);
            let parts = [
                (integers.codes().iter().map(|&code| code.into()).collect(), [rows, cols]),
                (integers.learned_scales().to_vec(), [rows, 1]),
                (votes.collect(), [rows, cols]),
            ];
            for (part, (values, shape)) in PARTS.into_iter().zip(parts) {
                state.push((format!("{name}{part}"), matrix::<B>(values, shape, &device)));
            }
        }
        state
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    /// Matrices of which the checkpoint has nothing, or nothing that fits, stay as they are.
    fn restore(&mut self, state: Vec<(String, Tensor<B, 2>)>, updates: u64) {
        self.updates = updates;
        let mut state: BTreeMap<String, Tensor<B, 2>> = state.into_iter().collect();
        for (name, integers) in &mut self.votes.matrices {
            let parts = PARTS.map(|part| state.remove(&format!("{name}{part}")));
            if let Some(saved) = restored(name, integers, parts) {
                *integers = saved;
            }
        }
        self.others.restore(state.into_iter().collect(), updates);
    }
}

/// The matrix with what was saved of it.
fn restored<B: Backend>(name: &str, of: &IntegerMatrix, parts: [Option<Tensor<B, 2>>; 3]) -> Option<IntegerMatrix> {
    let [Some(codes), Some(scales), Some(votes)] = parts else {
        return None;
    };
    // Integers of at most 16 bits, which floats hold exactly.
    let codes = values(codes).into_iter().map(|code| code as i8).collect();
    let votes = values(votes).into_iter();
    let votes = match of.votes().width() {
        VoteWidth::I8 => Votes::I8(votes.map(|vote| vote as i8).collect()),
        VoteWidth::I16 => Votes::I16(votes.map(|vote| vote as i16).collect()),
    };
    IntegerMatrix::from_parts(name, of.range(), of.shape(), codes, values(scales), votes).ok()
}
