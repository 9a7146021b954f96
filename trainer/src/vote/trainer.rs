//! The integer matrices of a model through a run.

use std::collections::BTreeMap;

use super::commit::Progress;
use super::{Committed, IntegerMatrix, Range, Rule, VoteError};
use crate::parallel::Collective;
use crate::tensor::{AutodiffBackend, Backend, Tensor, matrix};
use crate::{Gradients, Parameters, Result};

/// The matrices of a model that are integers, and their votes.
///
/// A micro-step gives it the gradients ([`vote`](Self::vote)), which it takes those of its matrices from; the others are
/// an optimizer's. After N of them ([`is_due`](Self::is_due)) votes are added up over processes ([`reduce`](Self::reduce))
/// and committed ([`commit`](Self::commit)). Only after a commit have all processes the same to save.
#[derive(Clone, Debug, PartialEq)]
pub struct VoteTrainer {
    pub(super) rule: Rule,
    pub(super) matrices: BTreeMap<String, IntegerMatrix>,
    pub(super) micro_steps: u32,
    pub(super) commits: u64,
    rank: u32,
    workers: u32,
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

    /// Turns the parameters for which there is a range into integers, whose values take their place.
    ///
    /// # Errors
    /// [`VoteError::NotFinite`] for a parameter with such a number.
    pub fn convert<B: AutodiffBackend>(
        &mut self,
        parameters: &mut Parameters<B>,
        range: impl Fn(&str) -> Option<Range>,
    ) -> Result<()> {
        self.add(parameters, range)?;
        self.fill(parameters)
    }

    /// Turns the parameters for which there is a range into integers, and takes them out: for
    /// [`SharedVotes`](super::SharedVotes).
    ///
    /// # Errors
    /// As [`convert`](Self::convert).
    pub fn take<B: AutodiffBackend>(
        &mut self,
        parameters: &mut Parameters<B>,
        range: impl Fn(&str) -> Option<Range>,
    ) -> Result<()> {
        for name in self.add(parameters, range)? {
            parameters.remove(&name);
        }
        Ok(())
    }

    /// Adds integers for parameters, and returns the names of those.
    fn add<B: AutodiffBackend>(
        &mut self,
        parameters: &Parameters<B>,
        range: impl Fn(&str) -> Option<Range>,
    ) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (name, parameter) in parameters.iter() {
            let Some(range) = range(name) else { continue };
            let value = parameter.value.clone().inner();
            let (shape, width) = (value.dims(), self.rule.width(self.workers));
            let matrix = with_values(value, |values| {
                IntegerMatrix::from_values(name, values, shape, range, width)
            })?;
            self.insert(name, matrix);
            names.push(name.to_owned());
        }
        Ok(names)
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

    /// Puts what the integers stand for into the parameters, for the next forward pass.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`](crate::TrainError::MissingParameter).
    pub fn fill<B: AutodiffBackend>(&self, parameters: &mut Parameters<B>) -> Result<()> {
        for (name, integers) in &self.matrices {
            parameters.update(name, |old| {
                let device = old.device();
                matrix(integers.values(), integers.shape(), &device)
            })?;
        }
        Ok(())
    }

    /// Takes the gradients of its matrices and adds them to the votes: a micro-step.
    ///
    /// # Errors
    /// [`VoteError::NotFinite`]: the other matrices have been voted on then.
    pub fn vote<B: AutodiffBackend>(&mut self, gradients: &mut Gradients<B>) -> Result<()> {
        let names: Vec<String> = self.matrices.keys().cloned().collect();
        for name in names {
            if let Some(gradient) = gradients.remove(&name) {
                self.vote_on(&name, gradient);
            }
        }
        self.end_micro_step()
    }

    /// Adds the gradient of one of its matrices to the votes; [`end_micro_step`](Self::end_micro_step) says if that failed.
    pub fn vote_on<B: Backend>(&mut self, name: &str, gradient: Tensor<B, 2>) {
        let Some(matrix) = self.matrices.get_mut(name) else {
            return;
        };
        let learns_scales = self.rule.scale_rate > 0.0;
        let voted = with_values(gradient, |gradient| {
            matrix.vote(name, gradient, self.rule.ballot, learns_scales)
        });
        if let Err(failure) = voted {
            self.failure.get_or_insert(failure);
        }
    }

    /// Ends a micro-step after all gradients have been [voted on](Self::vote_on).
    ///
    /// # Errors
    /// [`VoteError::NotFinite`] for the first gradient that was not finite.
    pub fn end_micro_step(&mut self) -> Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure.into());
        }
        self.micro_steps += 1;
        Ok(())
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

    /// Commits the votes, and puts what the integers stand for then into the parameters. Of the weights that would move
    /// `rate` do, which a schedule takes from 1 down.
    ///
    /// # Errors
    /// [`VoteError::Rule`] if `rate` is not from 0 to 1; [`VoteError::OutOfRange`] in builds with debug assertions.
    pub fn commit<B: AutodiffBackend>(&mut self, rate: f32, parameters: &mut Parameters<B>) -> Result<Committed> {
        let committed = self.commit_votes(rate)?;
        self.fill(parameters)?;
        Ok(committed)
    }

    /// [`commit`](Self::commit) without the parameters.
    ///
    /// # Errors
    /// As there.
    pub fn commit_votes(&mut self, rate: f32) -> Result<Committed, VoteError> {
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
