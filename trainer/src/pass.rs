//! A way forward and back through a model, of which only a part has to be kept.

use std::ops::Range;

use crate::model::{Arrangement, Observer, Transformer, Weights};
use crate::parameters::add;
use crate::tensor::{AutodiffBackend, Int, Tensor, constant};
use crate::vote::SharedVotes;
use crate::{Gradients, Parameters, Result};
use halfpi::transformer::Config;

/// One batch on its way through a model and back.
///
/// The model is one part, or, [recomputing](Self::recomputing), every layer is one. All parts but the last are run forward
/// without keeping anything but their results, and again when the gradient of their results has arrived: gradient
/// checkpointing (Chen et al. 2016, arXiv:1604.06174). There are the activations of one layer at a time then, for almost
/// another way forward. Gradients are the same to the bit.
pub struct Pass<'a, B: AutodiffBackend> {
    model: &'a Transformer<B>,
    arrangement: &'a dyn Arrangement<B>,
    parameters: &'a Parameters<B>,
    votes: Option<&'a SharedVotes>,
    /// Layers of a part.
    depth: usize,
    /// The parameters of the last part, which a gradient is for.
    leaves: Parameters<B>,
    /// What was read.
    tokens: Option<Tensor<B, 2, Int>>,
    /// What all parts but the first were given: `[positions, embedding_length]`.
    inputs: Vec<Tensor<B, 2>>,
}

impl<'a, B: AutodiffBackend> Pass<'a, B> {
    /// With everything kept for the way back.
    pub fn new(model: &'a Transformer<B>, arrangement: &'a dyn Arrangement<B>, parameters: &'a Parameters<B>) -> Self {
        Self {
            model,
            arrangement,
            parameters,
            votes: None,
            leaves: Parameters::default(),
            depth: model.config().block_count,
            tokens: None,
            inputs: Vec::new(),
        }
    }

    /// With one layer kept at a time. `votes` are those of the arrangement: only the way back may vote.
    #[must_use]
    pub fn recomputing(mut self, votes: Option<&'a SharedVotes>) -> Self {
        self.votes = votes;
        self.depth = 1;
        self
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// The logits of the next token at every position, `[batch * length, vocab_size]`, for `tokens`: `[batch, length]`. To
    /// be asked for once: a second time takes the place of the first. Gradients flow through what `observer` sees of the last layer, and through all layers where
    /// everything is kept.
    ///
    /// # Errors
    /// [`TrainError::MissingParameter`](crate::TrainError::MissingParameter).
    pub fn logits(&mut self, tokens: Tensor<B, 2, Int>, observer: &mut dyn Observer<B>) -> Result<Tensor<B, 2>> {
        self.tokens = Some(tokens.clone());
        self.inputs.clear();
        let (model, batch) = (self.model, tokens.dims()[0]);
        if self.blocks().end < self.config().block_count {
            let constants = self.parameters.frozen();
            let weights = self.arrangement.weights(&constants);
            let _resting = self.votes.map(SharedVotes::rest);
            let mut x = model.embed(&*weights, tokens.clone())?;
            while self.blocks().end < self.config().block_count {
                x = model.layers(&*weights, self.blocks(), batch, x, observer)?;
                self.inputs.push(constant(x.clone()).require_grad());
            }
        }
        self.leaves = self.parameters.leaves();
        let weights = self.arrangement.weights(&self.leaves);
        let x = self.before(&*weights, tokens)?;
        let x = model.layers(&*weights, self.blocks(), batch, x, observer)?;
        model.head(&*weights, x)
    }

    /// The layers of the part that the last input is for; of the first part, if there is none.
    fn blocks(&self) -> Range<usize> {
        let first = self.inputs.len() * self.depth;
        first..(first + self.depth).min(self.config().block_count)
    }

    /// What that part was given.
    fn before(&self, weights: &dyn Weights<B>, tokens: Tensor<B, 2, Int>) -> Result<Tensor<B, 2>> {
        match self.inputs.last() {
            Some(x) => Ok(x.clone()),
            None => self.model.embed(weights, tokens),
        }
    }

    /// The gradients of everything that is trained, of a `loss` that follows from the logits: a tensor of one number. What
    /// it does not depend on has none.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn gradients(mut self, loss: Tensor<B, 1>) -> Result<Gradients<B>> {
        if !B::is_tracked(&loss) {
            return Ok(Gradients::<B>::new());
        }
        let mut all = loss.backward();
        let mut sums = self.leaves.gradients(&mut all);
        while let (Some(after), Some(tokens)) = (self.inputs.pop(), &self.tokens) {
            let Some(gradient) = after.grad_remove(&mut all) else {
                break;
            };
            let leaves = self.parameters.leaves();
            let weights = self.arrangement.weights(&leaves);
            let x = self.before(&*weights, tokens.clone())?;
            let x = self
                .model
                .layers(&*weights, self.blocks(), tokens.dims()[0], x, &mut ())?;
            if !B::is_tracked(&x) {
                break;
            }
            // A sum whose gradient is the one that has arrived.
            all = (x * Tensor::from_inner(gradient)).sum().backward();
            add(&mut sums, leaves.gradients(&mut all));
        }
        Ok(sums)
    }
}
