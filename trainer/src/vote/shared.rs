//! Training without floats for weights, and without gradients: what vote-and-commit needs at least.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::VoteTrainer;
use crate::model::Weights;
use crate::tensor::{Backend, Int, Tensor, Transient, TransientBackend, matrix};
use crate::{Parameters, Result, TrainError};

/// A [`VoteTrainer`] whose matrices are multiplied with as they are: their floats are made for each product and dropped,
/// their gradients are voted on in the backward pass, one matrix at a time. What stays from step to step is an integer and
/// a vote for each weight.
#[derive(Clone, Debug)]
pub struct SharedVotes(Arc<Mutex<VoteTrainer>>);

impl From<VoteTrainer> for SharedVotes {
    fn from(votes: VoteTrainer) -> Self {
        Self(Arc::new(Mutex::new(votes)))
    }
}

impl SharedVotes {
    /// The trainer, to commit or save. No pass may run meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, VoteTrainer> {
        // Whoever panicked did so between two matrices or in a check: what is there is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `x W^T` with the matrix called `name`, whose gradient votes in the backward pass. After each backward pass
    /// [`VoteTrainer::end_micro_step`] has to be called.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`].
    pub fn linear<B: TransientBackend>(&self, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        if self.lock().get(name).is_none() {
            return Err(TrainError::MissingParameter { name: name.to_owned() });
        }
        let matrix = Arc::new(Voter {
            votes: self.clone(),
            name: name.to_owned(),
        });
        Ok(B::transient_linear(x, matrix))
    }
}

/// One matrix of a trainer.
#[derive(Debug)]
struct Voter {
    votes: SharedVotes,
    name: String,
}

impl<B: Backend> Transient<B> for Voter {
    fn value(&self, device: &B::Device) -> Tensor<B, 2> {
        match self.votes.lock().get(&self.name) {
            Some(integers) => matrix(integers.values(), integers.shape(), device),
            // Taken away between two passes.
            None => matrix(Vec::new(), [0, 0], device),
        }
    }

    fn take(&self, gradient: Tensor<B, 2>) {
        self.votes.lock().vote_on(&self.name, gradient);
    }
}

/// A model whose linear layers are integers that vote, and whose other tensors are floats: where [`SharedVotes`] has no
/// matrix of a name, the parameter is taken. Embeddings are looked up in the parameters.
#[derive(Clone, Copy, Debug)]
pub struct VotingWeights<'a, B: TransientBackend> {
    /// The integers.
    pub votes: &'a SharedVotes,
    /// The rest.
    pub parameters: &'a Parameters<B>,
}

impl<B: TransientBackend> Weights<B> for VotingWeights<'_, B> {
    fn linear(&self, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        if self.votes.lock().get(name).is_some() {
            return self.votes.linear(name, x);
        }
        Ok(x.matmul(self.parameters.matrix(name)?.transpose()))
    }

    fn embedding(&self, tokens: Tensor<B, 1, Int>) -> Result<Tensor<B, 2>> {
        Ok(self.parameters.matrix("token_embd.weight")?.select(0, tokens))
    }

    fn vector(&self, name: &str) -> Option<Tensor<B, 1>> {
        self.parameters.vector(name).ok()
    }

    fn has(&self, name: &str) -> bool {
        self.parameters.get(name).is_some() || self.votes.lock().get(name).is_some()
    }
}
