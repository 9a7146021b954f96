//! The integer matrices of a model through a run.

use std::collections::BTreeMap;

use super::commit::Progress;
use super::{Committed, IntegerMatrix, Range, Rule, VoteError};
use crate::memory::{self, Class};
use crate::parallel::Collective;
use crate::tensor::{AutodiffBackend, Backend, Tensor};
use crate::{Parameters, Result};

/// The matrices of a model that are integers, and their votes.
///
/// A micro-step gives it their gradients ([`vote_on`](Self::vote_on)), each when the backward pass of
/// [`SharedVotes`](super::SharedVotes) has it, and is ended ([`end_micro_step`](Self::end_micro_step)). After N of them
/// ([`is_due`](Self::is_due)) votes are added up over processes ([`reduce`](Self::reduce)) and committed
/// ([`commit`](Self::commit)). Only after a commit have all processes the same to save.
#[derive(Clone, Debug, PartialEq)]
pub struct VoteTrainer {
    pub(super) rule: Rule,
    pub(super) matrices: BTreeMap<String, IntegerMatrix>,
    pub(super) micro_steps: u32,
    pub(super) commits: u64,
    rank: u32,
    workers: u32,
    /// Whether gradients are not wanted now.
    pub(super) is_resting: bool,
    /// Gradients that vote when the micro-step ends.
    kept: BTreeMap<String, Vec<f32>>,
    /// The first gradient of a micro-step that could not be voted on.
    failure: Option<VoteError>,
}

impl VoteTrainer {
    /// Without matrices.
    ///
    /// # Errors
    /// [`VoteError::Rule`].
    pub fn new(rule: Rule) -> Result<Self, VoteError> {
        rule.check()?;
        Ok(Self {
            rule,
            matrices: BTreeMap::new(),
            micro_steps: 0,
            commits: 0,
            rank: 0,
            workers: 1,
            is_resting: false,
            kept: BTreeMap::new(),
            failure: None,
        })
    }

    /// As process `rank` of so many that vote together. To be said before matrices are added: their votes have room for
    /// those of all processes.
    #[must_use]
    pub fn shared(mut self, rank: u32, workers: u32) -> Self {
        self.rank = rank;
        self.workers = workers.max(1);
        self
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Adds a matrix, or takes the place of the one with this name.
    pub fn insert(&mut self, name: impl Into<String>, matrix: IntegerMatrix) {
        self.matrices.insert(name.into(), matrix);
    }

    /// Takes the parameters for whose names and shapes there is a range out, and turns them into integers.
    ///
    /// # Errors
    /// [`VoteError::NotFinite`] for a parameter with such a number: those before it are integers then.
    pub fn take<B: AutodiffBackend>(
        &mut self,
        parameters: &mut Parameters<B>,
        range: impl Fn(&str, [usize; 2]) -> Option<Range>,
    ) -> Result<()> {
        let named = parameters.iter().filter_map(|(name, parameter)| {
            let range = range(name, parameter.value.dims())?;
            Some((name.to_owned(), range))
        });
        for (name, range) in named.collect::<Vec<_>>() {
            let value = parameters.matrix(&name)?.inner();
            let (shape, width) = (value.dims(), self.rule.width(self.workers));
            let matrix = with_values(value, |values| {
                IntegerMatrix::from_values(&name, values, shape, range, width)
            })?;
            // One after the other, so that there is never all of them in both forms.
            parameters.remove(&name);
            self.insert(name, matrix);
        }
        Ok(())
    }

    /// Keeps the gradient of one of its matrices, to which others may be added, until the micro-step ends and it votes.
    pub(super) fn keep_gradient<B: Backend>(&mut self, name: &str, gradient: Tensor<B, 2>) {
        with_values(gradient, |gradient| match self.kept.get_mut(name) {
            Some(sum) => sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value),
            None => {
                let gradient = memory::class(Class::Gradients, || gradient.to_vec());
                self.kept.insert(name.to_owned(), gradient);
            }
        });
    }

    /// All matrices by name.
    pub fn matrices(&self) -> impl Iterator<Item = (&str, &IntegerMatrix)> {
        self.matrices.iter().map(|(name, matrix)| (name.as_str(), matrix))
    }

    /// The matrix with this name.
    pub fn get(&self, name: &str) -> Option<&IntegerMatrix> {
        self.matrices.get(name)
    }

    /// Commits so far.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Adds the gradient of one of its matrices to the votes; [`end_micro_step`](Self::end_micro_step) says if that failed.
    pub fn vote_on<B: Backend>(&mut self, name: &str, gradient: Tensor<B, 2>) {
        with_values(gradient, |gradient| self.vote_with(name, gradient));
    }

    fn vote_with(&mut self, name: &str, gradient: &[f32]) {
        let Some(matrix) = self.matrices.get_mut(name) else {
            return;
        };
        let learns_scales = self.rule.scale_rate > 0.0;
        if let Err(failure) = matrix.vote(name, gradient, self.rule.ballot, learns_scales) {
            self.failure.get_or_insert(failure);
        }
    }

    /// Ends a micro-step after all gradients have been [voted on](Self::vote_on).
    ///
    /// # Errors
    /// [`VoteError::NotFinite`] for the first gradient that was not finite.
    pub fn end_micro_step(&mut self) -> Result<()> {
        for (name, gradient) in std::mem::take(&mut self.kept) {
            self.vote_with(&name, &gradient);
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure.into());
        }
        self.micro_steps += 1;
        Ok(())
    }

    /// Numbers in all matrices.
    pub fn weights(&self) -> usize {
        let shapes = self.matrices.values().map(IntegerMatrix::shape);
        shapes.map(|[rows, cols]| rows * cols).sum()
    }

    /// Whether these are matrices of the same names, shapes and ranges.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        let what = |votes: &Self| -> Vec<_> {
            let matrices = votes.matrices.iter();
            matrices
                .map(|(name, matrix)| (name.clone(), matrix.shape(), matrix.range()))
                .collect()
        };
        what(self) == what(other)
    }

    /// Whether nobody has voted since the last commit, so that all processes have the same.
    pub fn is_committed(&self) -> bool {
        self.micro_steps == 0
    }

    /// Whether N micro-steps have voted.
    pub fn is_due(&self) -> bool {
        self.micro_steps >= self.rule.every
    }

    /// Adds up the votes of all processes, exactly, and the gradients of scales if they are learned.
    ///
    /// # Errors
    /// [`TrainError::Parallel`](crate::TrainError::Parallel).
    pub fn reduce(&mut self, together: &mut dyn Collective) -> Result<()> {
        if together.world_size() == 1 {
            return Ok(());
        }
        for matrix in self.matrices.values_mut() {
            matrix.votes_mut().change(|votes| together.all_reduce_sum_i32(votes))?;
            if !matrix.pull_mut().is_empty() {
                together.all_reduce_sum_f32(matrix.pull_mut())?;
            }
        }
        Ok(())
    }

    /// Commits the votes. Of the weights that would move `rate` do, which a schedule takes from 1 down.
    ///
    /// # Errors
    /// [`VoteError::Rule`] if `rate` is not from 0 to 1; [`VoteError::OutOfRange`] in builds with debug assertions.
    pub fn commit(&mut self, rate: f32) -> Result<Committed, VoteError> {
        if !(0.0..=1.0).contains(&rate) {
            let (what, value) = ("the rate of a commit", rate.into());
            let allowed = "from 0 to 1";
            return Err(VoteError::Rule { what, value, allowed });
        }
        let progress = Progress {
            commits: self.commits,
            cast: self.micro_steps.max(1) * self.workers,
            rate,
        };
        let mut all = Committed::default();
        for (name, matrix) in &mut self.matrices {
            all.add(matrix.commit(name, &self.rule, progress)?);
            // What stays of a sum must be counted once when votes are added up again.
            if self.rank > 0 {
                matrix.votes_mut().clear();
            }
        }
        self.micro_steps = 0;
        self.commits += 1;
        Ok(all)
    }
}

/// Calls `f` with the numbers of a tensor, without a copy where they are 32-bit floats already.
fn with_values<B: Backend, R>(tensor: Tensor<B, 2>, f: impl FnOnce(&[f32]) -> R) -> R {
    let data = tensor.into_data();
    match data.as_slice::<f32>() {
        Ok(values) => f(values),
        Err(_) => f(&data.iter::<f32>().collect::<Vec<_>>()),
    }
}
