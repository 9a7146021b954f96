//! A run: from a checkpoint or from nothing to a packed model, in steps that can be taken up again.

mod cache;
mod merge;
mod options;
mod report;
mod start;
mod trained;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};

pub use self::cache::{CacheOptions, CacheProgress, cache_teacher};
pub use self::merge::{MergeReport, Merged};
pub use self::options::{OptimizerKind, RunOptions, Shape, Start, TeacherOptions, TeacherSource};
use self::report::Counter;
pub use self::report::{Levels, Memory, Point, RunReport};
use self::start::{Beginning, begin, dims, teacher};
pub use self::trained::Trained;
use self::trained::effective;
use crate::batch::Batch;
use crate::checkpoint::{self, Checkpoint, State};
use crate::data::{self, Corpus, Part, Stream, StreamOptions};
use crate::distill::{CachedDistillation, Distillation};
use crate::lora::Adapted;
use crate::memory::{self, Claim, Class};
use crate::model::{Arrangement, Transformer};
use crate::objective::{NextToken, Objective};
use crate::optimize::{AdamW, Optimizer, Sgd};
use crate::parallel::Collective;
use crate::quantize::{Dampened, Scheme, convert, match_deviation};
use crate::tensor::{AutodiffBackend, TransientBackend, supports, values};
use crate::train::{Trainer, Update};
use crate::vote::{Range, Rule, SharedVotes, VoteTrainer, Voting};
use crate::{Result, TrainError};

/// The checkpoint in a run's directory.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// Updates in a row whose loss is worse than guessing, after which a run is given up.
const PATIENCE: u32 = 20;

/// What a run tells whoever watches it.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress<'a> {
    /// The run begins, or goes on after so many updates.
    Begins {
        /// Updates that an earlier run has made.
        updates: u64,
        /// Numbers in all trained tensors.
        parameters: u64,
    },
    /// An update was made.
    Update {
        /// How many were made.
        updates: u64,
        /// What it did.
        update: Update,
    },
    /// Held-out text was looked at.
    HeldOut {
        /// Updates before it.
        updates: u64,
        /// The mean negative log-likelihood of a token, in nats.
        nll: f32,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// The file.
        path: &'a Path,
    },
}

/// Trains a model, together with the other processes of `together`. Rank 0 writes checkpoints into `directory`, and all
/// ranks go on from the one that is there.
///
/// `progress` is called after every update; if it breaks in any process, a checkpoint is written and the run ends in all
/// with [`TrainError::Cancelled`]: at once, or where several processes vote, after the next commit.
///
/// # Errors
/// [`TrainError`]: options and files that do not fit, a loss that is not finite or worse than guessing for long, a disk
/// that is full, processes that are lost. What the last checkpoint holds is not lost by any of them.
pub fn run<B: TransientBackend>(
    options: &RunOptions,
    directory: &Path,
    device: &B::Device,
    together: &mut dyn Collective,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Trained<B>> {
    let result = Run::<B>::prepare(options, directory, device, together).and_then(|run| run.go(together, progress));
    tell(result, together)
}

/// Tells the others of an error: they would wait for this process.
fn tell<T>(result: Result<T>, together: &mut dyn Collective) -> Result<T> {
    match &result {
        // All have agreed on that, and some may still be on their way out.
        Ok(_) | Err(TrainError::Cancelled) => {}
        Err(error) => together.abort(&error.to_string()),
    }
    result
}

struct Run<'a, B: AutodiffBackend> {
    options: &'a RunOptions,
    checkpoint: PathBuf,
    device: &'a B::Device,
    trainer: Trainer<B>,
    objective: Box<dyn Objective<B>>,
    /// How the forward pass quantizes.
    scheme: Scheme,
    blueprint: halfpi::pack::Blueprint,
    tensors: Vec<halfpi::pack::TensorShape>,
    corpus: Corpus,
    stream: Stream,
    report: RunReport,
    /// Updates in a row with a loss worse than guessing.
    worse_than_guessing: u32,
    /// Some of what the last update learnt from, and the loss before it.
    last: Option<(Batch<B>, f32)>,
    /// What memory is for that stays.
    claims: Vec<Claim>,
}

impl<'a, B: TransientBackend> Run<'a, B> {
    fn prepare(
        options: &'a RunOptions,
        directory: &Path,
        device: &'a B::Device,
        together: &mut dyn Collective,
    ) -> Result<Self> {
        options.check()?;
        let mut votes = options.vote.map(|rule| integers(rule, options, together)).transpose()?;
        let mut beginning = begin::<B>(&options.start, options.seed, device, &mut |parameters| {
            let Some(votes) = &mut votes else { return Ok(()) };
            // At once: there are never floats of all of them.
            votes.take(parameters, |name, shape| {
                Range::of(options.scheme.method(name, shape)?.format)
            })
        })?;
        if options.sub_norm {
            beginning.add_sub_norms(device);
        }
        let Beginning {
            blueprint,
            tensors,
            mut parameters,
            rope_factors,
        } = beginning;
        let config = *blueprint.config();
        let scheme = options.scheme.clone();
        scheme.check(tensors.iter().map(|tensor| tensor.name.as_str()))?;
        if options.lora.is_some() && config.architecture.is_complex() {
            return Err(TrainError::Option {
                option: "lora",
                reason: "there are no adapters for models with complex weights".into(),
            });
        }
        if votes.as_ref().is_some_and(|votes| votes.weights() == 0) {
            let reason = "no matrix is of ternary, halfpi2, halfpi4 or halfpi8: name one with the method".into();
            return Err(TrainError::Option { option: "vote", reason });
        }
        let votes = votes.map(SharedVotes::from);
        if !supports::<B>(options.precision, device) {
            return Err(TrainError::Option {
                option: "precision",
                reason: "this device does not multiply numbers of 16 bits: train with f32".into(),
            });
        }
        parameters.precision = options.precision;
        convert(&mut parameters, &scheme)?;
        if matches!(options.start, Start::New { .. }) {
            // Rounding changes how large random weights are; what training adds to them depends on that.
            match_deviation(&mut parameters, &scheme)?;
            convert(&mut parameters, &scheme)?;
        }
        let mut arrangement: Box<dyn Arrangement<B>> = match votes.clone() {
            None => Box::new(scheme.clone()),
            Some(votes) => Box::new(Voting {
                votes,
                scheme: scheme.clone(),
            }),
        };
        if let Some(lora) = options.lora {
            lora.add_to(&mut parameters, |_| true, options.seed, device);
            arrangement = Box::new(Adapted {
                lora,
                base: arrangement,
            });
        }
        let mut objective: Box<dyn Objective<B>> = match &options.teacher {
            None => Box::new(NextToken),
            Some(options_of) => {
                let mixture = options_of.mixture;
                match &options_of.source {
                    TeacherSource::Model(path) => {
                        let teacher = teacher::<B>(path, options.length, &blueprint, device)?;
                        Box::new(Distillation::new(teacher, mixture))
                    }
                    TeacherSource::Cache(directory) => {
                        let cache = cache::open(directory, options, &blueprint)?;
                        Box::new(CachedDistillation::new(cache, mixture.logits, mixture.text))
                    }
                }
            }
        };
        if options.dampening > 0.0 {
            objective = Box::new(Dampened {
                objective,
                scheme: scheme.clone(),
                weight: options.dampening,
                updates: options.schedule.updates,
            });
        }
        let optimizer: Box<dyn Optimizer<B::InnerBackend>> = match options.optimizer {
            OptimizerKind::AdamW => Box::new(AdamW::default()),
            OptimizerKind::Sgd { momentum } => Box::new(Sgd::new(momentum)),
        };
        let corpus = options.corpus(&blueprint)?;
        let stream = corpus.stream(Part::Training, options.stream(together))?;
        let trainer = Trainer {
            model: Transformer::new(&config, options.length, &rope_factors, device),
            parameters,
            arrangement,
            votes,
            optimizer,
            schedule: options.schedule.clone(),
            clip: options.clip.unwrap_or(f32::INFINITY),
            recompute: options.recompute,
        };
        let mut run = Self {
            options,
            checkpoint: directory.join(CHECKPOINT),
            device,
            report: RunReport::new(options, &trainer, together.world_size()),
            trainer,
            objective,
            scheme,
            blueprint,
            tensors,
            corpus,
            stream,
            worse_than_guessing: 0,
            last: None,
            claims: Vec::new(),
        };
        run.resume(together)?;
        run.compare(together)?;
        run.look_ahead(together)?;
        Ok(run)
    }

    /// Goes on from the checkpoint, if there is one.
    fn resume(&mut self, together: &dyn Collective) -> Result<()> {
        if !self.checkpoint.exists() {
            return Ok(());
        }
        let refuse = |reason: String| TrainError::Checkpoint {
            path: self.checkpoint.clone(),
            reason,
        };
        let checkpoint = Checkpoint::read(&self.checkpoint)?;
        let asked = self.options.identity();
        let saved: RunOptions =
            serde_json::from_value(checkpoint.state.run.clone()).map_err(|error| refuse(error.to_string()))?;
        if saved != asked {
            return Err(refuse(format!(
                "it was begun with other options: {}",
                differences(&saved, &asked)
            )));
        }
        let position =
            serde_json::from_value(checkpoint.state.data.clone()).map_err(|error| refuse(error.to_string()))?;
        let history =
            serde_json::from_value(checkpoint.state.history.clone()).map_err(|error| refuse(error.to_string()))?;
        let place = [together.rank(), together.world_size()];
        checkpoint.restore(&mut self.trainer, self.device, &self.checkpoint, place)?;
        self.stream.resume(&position)?;
        self.report.resume(history, &checkpoint.state);
        Ok(())
    }

    /// Refuses processes that do not begin with the same: where each has a disk of its own, for instance, and only one the
    /// checkpoint. They would go on together and apart at the same time.
    fn compare(&self, together: &mut dyn Collective) -> Result<()> {
        if together.world_size() == 1 {
            return Ok(());
        }
        let mut hash = Sha256::new();
        hash.update(self.trainer.updates().to_le_bytes());
        hash.update(self.stream.position().fingerprint().to_le_bytes());
        for (_, parameter) in self.trainer.parameters.iter() {
            let numbers = values(parameter.value.clone());
            numbers.iter().for_each(|number| hash.update(number.to_le_bytes()));
        }
        if let Some(votes) = &self.trainer.votes {
            for (_, matrix) in votes.lock().matrices() {
                matrix.codes().iter().for_each(|code| hash.update(code.to_le_bytes()));
            }
        }
        let begun = together.all_gather(&hash.finalize())?;
        match begun.iter().position(|other| *other != begun[0]) {
            None => Ok(()),
            Some(rank) => Err(TrainError::Apart { rank }),
        }
    }

    /// Finds out now whether predictions are missing, and not after hours.
    fn look_ahead(&self, together: &dyn Collective) -> Result<()> {
        let Some(TeacherSource::Cache(directory)) = self.options.teacher.as_ref().map(|teacher| &teacher.source) else {
            return Ok(());
        };
        let mut stream = self.corpus.stream(Part::Training, self.options.stream(together))?;
        stream.resume(&self.stream.position())?;
        cache::check(directory, self.options, stream, self.trainer.updates())
    }

    fn go(
        mut self,
        together: &mut dyn Collective,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Trained<B>> {
        let total = self.options.schedule.updates;
        let (updates, parameters) = (self.trainer.updates(), self.report.parameters);
        let mut checkpoint_due = false;
        let mut wants_to_stop = progress(Progress::Begins { updates, parameters }).is_break();
        if updates == 0 {
            self.look_at_held_out(progress)?;
        }
        while self.trainer.updates() < total {
            // All processes end at the same update.
            let mut want_to_stop = [i32::from(wants_to_stop)];
            together.all_reduce_sum_i32(&mut want_to_stop)?;
            if want_to_stop[0] > 0 && self.is_whole(together) {
                self.save(true, together, progress)?;
                return Err(TrainError::Cancelled);
            }
            let begun = Instant::now();
            let batches = self.next_batches()?;
            let update = self.trainer.update(&mut *self.objective, &batches, together)?;
            let updates = self.trainer.updates();
            if self.claims.is_empty() {
                // An optimizer remembers something after its first update.
                self.claim_memory();
                memory::reset_peaks();
            }
            self.last = batches.into_iter().next().map(|batch| (batch, update.loss));
            self.report.add(updates, &update, begun.elapsed());
            self.check(updates, update.loss)?;
            wants_to_stop |= progress(Progress::Update { updates, update }).is_break();
            let is_last = updates == total;
            if is_last || updates.is_multiple_of(self.options.evaluate_every.max(1)) {
                self.look_at_held_out(progress)?;
            }
            checkpoint_due |= updates.is_multiple_of(self.options.checkpoint_every.max(1));
            // Of a run that may have diverged none is written: it would take the place of a good one.
            let may_be_written = checkpoint_due && self.worse_than_guessing == 0 && self.is_whole(together);
            if is_last || may_be_written {
                checkpoint_due = !self.save(is_last, together, progress)?;
            }
        }
        self.report.data = self.stream.report().clone();
        self.report.memory = Memory::measured();
        Ok(Trained {
            trainer: self.trainer,
            scheme: self.scheme,
            blueprint: self.blueprint,
            tensors: self.tensors,
            report: self.report,
        })
    }

    /// Whether one process knows all that a checkpoint needs: between two commits each has votes of its own.
    fn is_whole(&self, together: &dyn Collective) -> bool {
        together.world_size() == 1
            || self
                .trainer
                .votes
                .as_ref()
                .is_none_or(|votes| votes.lock().is_committed())
    }

    fn next_batches(&mut self) -> Result<Vec<Batch<B>>> {
        let batches = (0..self.options.accumulate).map(|_| match self.stream.next_batch()? {
            Some(batch) => Ok(on_device(&batch, self.device)),
            None => Err(TrainError::Option {
                option: "data",
                reason: "it has ended".into(),
            }),
        });
        batches.collect()
    }

    /// Every process looks at the same text: a sum over the network would not be faster.
    fn look_at_held_out(&mut self, progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Result<()> {
        if self.options.held_out_batches == 0 {
            return Ok(());
        }
        let options = StreamOptions::once(self.options.batch, self.options.length);
        let mut stream = self.corpus.stream(Part::HeldOut, options)?;
        let device = self.device;
        let batches = std::iter::from_fn(|| stream.next_batch().map_err(TrainError::from).transpose());
        let batches = batches.take(self.options.held_out_batches);
        let nll = self
            .trainer
            .evaluate(batches.map(|batch| Ok(on_device(&batch?, device))))?;
        if !nll.is_finite() {
            return Err(self.trainer.not_finite("the loss of held-out text"));
        }
        let updates = self.trainer.updates();
        self.report.add_held_out(updates, nll);
        let levels = self.count_levels()?.levels(updates);
        self.report.add_levels(levels);
        // Whether to stop is asked after an update.
        let _ = progress(Progress::HeldOut { updates, nll });
        Ok(())
    }

    /// The weights of all layers that will be packed. (The head is often in another format.)
    fn count_levels(&self) -> Result<Counter> {
        let mut counter = Counter::new();
        for tensor in &self.tensors {
            let is_packed = self.scheme.method(&tensor.name, dims(tensor)).is_some();
            if is_packed && tensor.name.starts_with("blk.") {
                counter.add(&effective(&self.trainer, &self.scheme, &tensor.name)?);
            }
        }
        Ok(counter)
    }

    /// Moves tensors that stay from one update to the next out of the class of all that does not. (Integers and votes are
    /// counted where they are allocated.)
    fn claim_memory(&mut self) {
        let bytes = |numbers: usize| numbers * size_of::<f32>();
        let parameters = self.trainer.parameters.iter();
        let weights: usize = parameters
            .map(|(_, parameter)| parameter.value.shape().num_elements())
            .sum();
        let remembered = self.trainer.optimizer.state().into_iter();
        let optimizer: usize = remembered.map(|(_, tensor)| tensor.shape().num_elements()).sum();
        self.claims = vec![
            memory::claim(Class::Weights, bytes(weights)),
            memory::claim(Class::Optimizer, bytes(optimizer)),
        ];
    }

    /// Gives up a run whose loss does not come back.
    fn check(&mut self, update: u64, loss: f32) -> Result<()> {
        let guessing = self.guessing();
        let is_likelihood = self.options.teacher.is_none();
        let is_worse = is_likelihood && update > self.options.schedule.warm_up && loss > guessing + 1.0;
        self.worse_than_guessing = if is_worse { self.worse_than_guessing + 1 } else { 0 };
        if self.worse_than_guessing >= PATIENCE {
            return Err(TrainError::Diverged { update, loss, guessing });
        }
        Ok(())
    }

    /// The loss of whoever takes all tokens for equally likely.
    fn guessing(&self) -> f32 {
        (self.trainer.model.config().vocab_size as f32).ln()
    }

    /// The loss of weights that the last update has spoilt, which shows in what it learnt from: on this rank or, then as
    /// NaN, on another one.
    fn spoilt(&self, together: &mut dyn Collective) -> Result<Option<f32>> {
        let Some((batch, before)) = &self.last else {
            return Ok(None);
        };
        let after = self.trainer.evaluate(std::iter::once(Ok(batch.clone())))?;
        let is_worse = self.options.teacher.is_none() && after > before.max(self.guessing()) + 1.0;
        let is_spoilt = is_worse || !after.is_finite();
        let mut spoilt = [i32::from(is_spoilt)];
        together.all_reduce_sum_i32(&mut spoilt)?;
        Ok((spoilt[0] > 0).then_some(if is_spoilt { after } else { f32::NAN }))
    }

    /// Writes a checkpoint, and says so; none of spoilt weights, whose end the run is if one `is_needed`.
    fn save(
        &mut self,
        is_needed: bool,
        together: &mut dyn Collective,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        if let Some(loss) = self.spoilt(together)? {
            let (update, guessing) = (self.trainer.updates(), self.guessing());
            return match is_needed {
                true => Err(TrainError::Diverged { update, loss, guessing }),
                false => Ok(false),
            };
        }
        if together.rank() == 0 {
            let mut state = State::new(self.trainer.updates(), self.report.tokens);
            state.run = json(&self.options.identity());
            state.data = json(&self.stream.position());
            state.history = json(&self.report.history());
            checkpoint::write(&self.trainer, state, &self.checkpoint)?;
            let _ = progress(Progress::Checkpoint { path: &self.checkpoint });
        }
        together.barrier()?;
        Ok(true)
    }
}

/// What matrices whose formats are plain integers are trained by.
fn integers(rule: Rule, options: &RunOptions, together: &dyn Collective) -> Result<VoteTrainer> {
    if options.lora.is_some() {
        let reason = "adapters are trained beside matrices that stay as they are: train one or the other".into();
        return Err(TrainError::Option { option: "vote", reason });
    }
    Ok(VoteTrainer::new(rule)?.shared(together.rank() as u32, together.world_size() as u32))
}

fn on_device<B: AutodiffBackend>(batch: &data::Batch, device: &B::Device) -> Batch<B> {
    Batch::new(
        &batch.tokens,
        &batch.targets,
        &batch.weights,
        [batch.batch, batch.time],
        device,
    )
}

/// The options that are not the same, with their values.
fn differences(saved: &RunOptions, asked: &RunOptions) -> String {
    let (saved, asked) = (json(saved), json(asked));
    let names = saved.as_object().into_iter().flat_map(|saved| saved.keys());
    let different = names.filter(|name| saved[name.as_str()] != asked[name.as_str()]);
    let shown: Vec<String> = different
        .map(|name| {
            format!(
                "{name} was {}, and now is {}",
                saved[name.as_str()],
                asked[name.as_str()]
            )
        })
        .collect();
    shown.join("; ")
}

/// What serializes without fail: structs of numbers and names.
fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}
