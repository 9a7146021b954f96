//! Updates of a model's parameters, one after the other.

use crate::batch::Batch;
use crate::memory::{self, Class};
use crate::model::{Arrangement, Transformer};
use crate::objective::{NextToken, Objective};
use crate::optimize::{Optimizer, Schedule, clip, global_norm};
use crate::parallel::Collective;
use crate::parameters::add;
use crate::pass::Pass;
use crate::tensor::{AutodiffBackend, Tensor, forget_constants, matrix, scalar, values};
use crate::vote::SharedVotes;
use crate::{Gradients, Parameters, Result, TrainError};

/// A model in training.
pub struct Trainer<B: AutodiffBackend> {
    /// Its shape.
    pub model: Transformer<B>,
    /// What is trained.
    pub parameters: Parameters<B>,
    /// How the parameters become weights.
    pub arrangement: Box<dyn Arrangement<B>>,
    /// The matrices of the arrangement that are integers, and their votes: they are no parameters.
    pub votes: Option<SharedVotes>,
    /// What changes the parameters.
    pub optimizer: Box<dyn Optimizer<B::InnerBackend>>,
    /// How much.
    pub schedule: Schedule,
    /// The norm of all gradients to which they are cut, or infinity.
    pub clip: f32,
    /// Whether activations of all layers but the last are computed again on the way back instead of kept.
    pub recompute: bool,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// The mean loss of its targets, before it.
    pub loss: f32,
    /// The norm of all gradients, before they were cut.
    pub gradient_norm: f32,
    /// The learning rate.
    pub rate: f32,
    /// Tokens that were read, by all processes.
    pub tokens: u64,
}

impl<B: AutodiffBackend> Trainer<B> {
    /// The updates that were made.
    pub fn updates(&self) -> u64 {
        self.optimizer.updates()
    }

    /// Makes an update from the gradients of `batches`, read one after the other (gradient accumulation), here and in all
    /// other processes of `together`: the same as of all of them in one batch.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] if the loss or a gradient is no finite number: then nothing is changed.
    /// [`TrainError::Vote`] if the gradient of integers is none: the others have voted then, no weight has moved.
    pub fn update(
        &mut self,
        objective: &mut dyn Objective<B>,
        batches: &[Batch<B>],
        together: &mut dyn Collective,
    ) -> Result<Update> {
        let positions: usize = batches.iter().map(Batch::positions).sum();
        let mut totals = [batches.iter().map(|batch| batch.total).sum(), positions as f32];
        together.all_reduce_sum_f32(&mut totals)?;
        let [total, positions] = totals;
        let per_target = total.max(1.0).recip();

        let mut gradients = Gradients::<B>::new();
        let mut loss = 0.0;
        for batch in batches {
            let mut pass = Pass::new(&self.model, &*self.arrangement, &self.parameters);
            if self.recompute {
                pass = pass.recomputing(self.votes.as_ref());
            }
            let share = objective.loss(&mut pass, batch)? * per_target;
            loss += scalar(share.clone());
            if self.votes.is_some() && !loss.is_finite() {
                // Gradients vote at once.
                return Err(self.not_finite("the loss"));
            }
            let share = pass.gradients(share)?;
            if let Some(votes) = &self.votes {
                votes.lock().end_micro_step()?;
            }
            add(&mut gradients, share);
        }
        let mut shared_loss = [loss];
        together.all_reduce_sum_f32(&mut shared_loss)?;
        let numbers: usize = gradients.values().map(|gradient| gradient.shape().num_elements()).sum();
        let _gradients = memory::claim(Class::Gradients, numbers * size_of::<f32>());
        sum_gradients::<B>(&mut gradients, together)?;
        objective.regularize(&self.parameters, self.updates(), &mut gradients)?;

        let step = self.schedule.step(self.updates());
        let mut gradient_norm = global_norm::<B>(&gradients);
        if together.world_size() > 1 {
            // Of the same sums, but on devices that may add them up in another order.
            together.broadcast_f32(std::slice::from_mut(&mut gradient_norm), 0)?;
        }
        let update = Update {
            loss: shared_loss[0],
            gradient_norm,
            rate: step.rate,
            tokens: positions as u64,
        };
        self.check(&update, &gradients)?;
        clip::<B>(&mut gradients, gradient_norm, self.clip);
        self.optimizer.begin();
        for (name, gradient) in gradients {
            let decays = self.parameters.get(&name).is_some_and(|parameter| parameter.decays);
            let step = crate::optimize::Step {
                decay: if decays { step.decay } else { 0.0 },
                ..step
            };
            let optimizer = &mut self.optimizer;
            self.parameters
                .update(&name, |value| optimizer.update(&name, value, gradient, step))?;
        }
        self.commit(step.rate, together)?;
        Ok(update)
    }

    /// Moves the integers if enough micro-steps have voted; where the rule says so the fewer, the smaller the learning rate
    /// has become.
    fn commit(&mut self, rate: f32, together: &mut dyn Collective) -> Result<()> {
        let Some(mut votes) = self
            .votes
            .as_ref()
            .map(SharedVotes::lock)
            .filter(|votes| votes.is_due())
        else {
            return Ok(());
        };
        votes.reduce(together)?;
        let share = if votes.rule().decays {
            (rate / self.schedule.highest().max(f32::MIN_POSITIVE)).clamp(0.0, 1.0)
        } else {
            1.0
        };
        votes.commit(share)?;
        Ok(())
    }

    /// The mean negative log-likelihood of the targets, in nats, without learning from them: nothing is kept for a backward
    /// pass, which the tensor engine would not free before the next one.
    ///
    /// # Errors
    /// Whatever the forward pass says.
    pub fn evaluate(&self, batches: impl Iterator<Item = Result<Batch<B>>>) -> Result<f32> {
        let parameters = self.parameters.frozen();
        let _resting = self.votes.as_ref().map(SharedVotes::rest);
        let (mut loss, mut total) = (0f64, 0f64);
        for batch in batches {
            let batch = batch?;
            let mut pass = Pass::new(&self.model, &*self.arrangement, &parameters);
            loss += f64::from(scalar(NextToken.loss(&mut pass, &batch)?));
            total += f64::from(batch.total);
            drop(pass);
            forget_constants::<B>(&batch.weights.device());
        }
        Ok((loss / total.max(1.0)) as f32)
    }

    /// Refuses an update that would spoil the parameters.
    fn check(&self, update: &Update, gradients: &Gradients<B>) -> Result<()> {
        if !update.loss.is_finite() {
            return Err(self.not_finite("the loss"));
        }
        if update.gradient_norm.is_finite() {
            return Ok(());
        }
        let is_finite = |gradient: &Tensor<B::InnerBackend, 2>| scalar(gradient.clone().abs().sum()).is_finite();
        let name = gradients
            .iter()
            .find(|(_, gradient)| !is_finite(gradient))
            .map(|(name, _)| name.as_str());
        let name = name.unwrap_or("all parameters together");
        Err(self.not_finite(&format!("the gradient of {name}")))
    }

    pub(crate) fn not_finite(&self, what: &str) -> TrainError {
        TrainError::NotFinite {
            update: self.updates() + 1,
            what: what.to_owned(),
        }
    }
}

/// Adds the gradients of all processes.
fn sum_gradients<B: AutodiffBackend>(gradients: &mut Gradients<B>, together: &mut dyn Collective) -> Result<()> {
    if together.world_size() == 1 {
        return Ok(());
    }
    for gradient in gradients.values_mut() {
        let (shape, device) = (gradient.dims(), gradient.device());
        let mut numbers = values(gradient.clone());
        together.all_reduce_sum_f32(&mut numbers)?;
        *gradient = matrix(numbers, shape, &device);
    }
    Ok(())
}
