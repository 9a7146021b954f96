//! Training without floats for weights, and without gradients: what vote-and-commit needs at least.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::VoteTrainer;
use crate::model::{Arrangement, Weights};
use crate::quantize::{Activations, Quantized, Scheme};
use crate::tensor::{Backend, Int, Tensor, Transient, TransientBackend, matrix};
use crate::{Parameters, Result, TrainError};

/// The matrix in which tokens are looked up, which may be the output matrix too.
const EMBEDDING: &str = "token_embd.weight";

/// A [`VoteTrainer`] whose matrices are multiplied with as they are: their floats are made for each product and dropped,
/// their gradients are voted on in the backward pass, one matrix at a time. What stays from step to step is an integer and
/// a vote for each weight.
///
/// After each backward pass [`VoteTrainer::end_micro_step`] has to be called. Clones share the matrices.
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

    /// Passes as long as this is kept do not vote, and keep nothing for a backward pass.
    #[must_use]
    pub fn rest(&self) -> Resting<'_> {
        self.lock().is_resting = true;
        Resting(self)
    }

    /// `x W^T` with the matrix called `name`, whose gradient votes. Where `x` is twice as wide as W it is complex, and W the
    /// real parts of a complex matrix followed by the imaginary ones: `W conj(x)`.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`].
    pub fn linear<B: TransientBackend>(&self, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        let [rows, cols] = self.shape(name)?;
        let [positions, channels] = x.dims();
        if channels != 2 * cols {
            return Ok(B::transient_linear(x, self.voter(name)));
        }
        // One product, so that W votes once: of re and im each with A and B, where W = A + iB.
        let parts = x
            .reshape([positions, 2, cols])
            .swap_dims(0, 1)
            .reshape([2 * positions, cols]);
        let y = B::transient_linear(parts, self.voter(name));
        let product = |of: usize, with: usize| {
            let half = rows / 2;
            y.clone()
                .slice([of * positions..(of + 1) * positions, with * half..(with + 1) * half])
        };
        let re = product(0, 0) + product(1, 1);
        let im = product(0, 1) - product(1, 0);
        Ok(Tensor::cat(vec![re, im], 1))
    }

    /// The rows of the embedding for these tokens, whose gradient votes.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`].
    pub fn embedding<B: TransientBackend>(&self, tokens: Tensor<B, 1, Int>) -> Result<Tensor<B, 2>> {
        self.shape(EMBEDDING)?;
        Ok(B::transient_rows(tokens, self.voter(EMBEDDING)))
    }

    fn shape(&self, name: &str) -> Result<[usize; 2]> {
        let missing = || TrainError::MissingParameter { name: name.to_owned() };
        Ok(self.lock().get(name).ok_or_else(missing)?.shape())
    }

    fn voter(&self, name: &str) -> Arc<Voter> {
        Arc::new(Voter {
            votes: self.clone(),
            name: name.to_owned(),
        })
    }
}

/// Until it is dropped nobody votes: [`SharedVotes::rest`].
#[derive(Debug)]
pub struct Resting<'a>(&'a SharedVotes);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.lock().is_resting = false;
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

    fn is_trained(&self) -> bool {
        !self.votes.lock().is_resting
    }

    fn take(&self, gradient: Tensor<B, 2>) {
        let mut votes = self.votes.lock();
        if self.name == EMBEDDING {
            // Where it is the output matrix as well, only the sum of both gradients has a sign to vote with.
            votes.keep_gradient(&self.name, gradient);
        } else {
            votes.vote_on(&self.name, gradient);
        }
    }
}

/// The integers of a model are weights as they are; the rest are parameters, quantized by a scheme. What integers are
/// multiplied with is quantized as their method in the scheme says.
#[derive(Clone, Debug)]
pub struct Voting {
    /// The integers.
    pub votes: SharedVotes,
    /// How the rest becomes weights.
    pub scheme: Scheme,
}

impl<B: TransientBackend> Arrangement<B> for Voting {
    fn weights<'a>(&'a self, parameters: &'a Parameters<B>) -> Box<dyn Weights<B> + 'a> {
        let scheme = &self.scheme;
        Box::new(VotingWeights {
            votes: &self.votes,
            rest: Quantized { parameters, scheme },
        })
    }
}

struct VotingWeights<'a, B: TransientBackend> {
    votes: &'a SharedVotes,
    rest: Quantized<'a, B>,
}

impl<B: TransientBackend> VotingWeights<'_, B> {
    fn is_voted(&self, name: &str) -> bool {
        self.votes.lock().get(name).is_some()
    }
}

impl<B: TransientBackend> Weights<B> for VotingWeights<'_, B> {
    fn linear(&self, name: &str, x: Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        if !self.is_voted(name) {
            return self.rest.linear(name, x);
        }
        let method = self.rest.scheme.method(name, self.votes.shape(name)?);
        let activations = method.map_or(Activations::Floats, |method| method.activations);
        self.votes.linear(name, activations.quantize(x))
    }

    fn embedding(&self, tokens: Tensor<B, 1, Int>) -> Result<Tensor<B, 2>> {
        if self.is_voted(EMBEDDING) {
            self.votes.embedding(tokens)
        } else {
            self.rest.embedding(tokens)
        }
    }

    fn vector(&self, name: &str) -> Option<Tensor<B, 1>> {
        self.rest.vector(name)
    }

    fn has(&self, name: &str) -> bool {
        self.rest.has(name) || self.is_voted(name)
    }
}
