//! What a run is asked for.

use std::path::PathBuf;

use halfpi::pack::Blueprint;
use serde::{Deserialize, Serialize};

use crate::data::{Corpus, EncodeOptions, Language, LongDocuments, Packing, SourceOptions, Sources, StreamOptions};
use crate::distill::Mixture;
use crate::lora::Lora;
use crate::optimize::Schedule;
use crate::parallel::Collective;
use crate::quantize::{Rule as MethodRule, Scheme};
use crate::tensor::Precision;
use crate::vote::{Range, Rule};
use crate::{Result, TrainError};

/// What a run is asked for. As JSON it is in the run's report and its checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunOptions {
    /// The model to begin with.
    pub start: Start,
    /// Adds norms before the matrices that lead back into the residual stream.
    #[serde(default)]
    pub sub_norm: bool,
    /// Text files, JSON lines, and directories of them.
    pub data: Vec<PathBuf>,
    /// How they are read.
    pub sources: SourceOptions,
    /// How they become tokens.
    pub encode: EncodeOptions,
    /// How documents are put into sequences.
    pub packing: Packing,
    /// What happens to documents that are longer than a sequence.
    pub long_documents: LongDocuments,
    /// How weights are quantized while they are trained.
    pub scheme: Scheme,
    /// Keeps the matrices whose format has plain integers as integers all the time, and trains them by vote and commit.
    pub vote: Option<Rule>,
    /// What changes the other weights.
    pub optimizer: OptimizerKind,
    /// The learning rate, the weight decay and the number of updates.
    pub schedule: Schedule,
    /// Sequences of a forward pass, in each process.
    pub batch: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// Forward passes of an update.
    pub accumulate: usize,
    /// The norm of all gradients to which they are cut; `None` leaves them.
    pub clip: Option<f32>,
    /// What products with weights are computed in.
    pub precision: Precision,
    /// Computes the activations of a layer again when its gradients are, instead of keeping those of all layers.
    #[serde(default)]
    pub recompute: bool,
    /// Chooses first weights and the order of the data.
    pub seed: u64,
    /// A teacher, and what is learnt from it.
    pub teacher: Option<TeacherOptions>,
    /// How much the distance of weights from their levels counts at the end of the run ([`Dampened`]); 0 is off.
    ///
    /// [`Dampened`]: crate::quantize::Dampened
    #[serde(default)]
    pub dampening: f32,
    /// Trains adapters, and nothing else.
    pub lora: Option<Lora>,
    /// Updates between two looks at held-out text.
    pub evaluate_every: u64,
    /// Batches of held-out text that are looked at.
    pub held_out_batches: usize,
    /// Updates between two checkpoints.
    pub checkpoint_every: u64,
}

/// The model to begin with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// A checkpoint: a GGUF of any type, or a Hugging Face directory.
    Model(PathBuf),
    /// Random weights.
    New {
        /// The shape.
        shape: Shape,
        /// A GGUF, or a directory with a `tokenizer.json`: the tokenizer and the chat template.
        tokenizer: PathBuf,
    },
}

/// The shape of a new model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// `llama`, `qwen2`, `qwen3`, `bitnet` or `ifairy`.
    pub architecture: String,
    /// Layers.
    pub block_count: usize,
    /// Channels.
    pub embedding_length: usize,
    /// Channels inside the feed-forward network.
    pub feed_forward_length: usize,
    /// Query heads.
    pub head_count: usize,
    /// Key and value heads.
    pub head_count_kv: usize,
    /// Positions.
    pub context_length: usize,
    /// Whether the embedding is the output matrix too.
    pub tied: bool,
}

/// A teacher, and what is learnt from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TeacherOptions {
    /// Where it is.
    pub source: TeacherSource,
    /// How much each part of the loss counts.
    pub mixture: Mixture,
}

/// Where a teacher is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherSource {
    /// In a GGUF of any type, or a Hugging Face directory, with the same tokens: it runs beside the student.
    Model(PathBuf),
    /// In predictions that it left, in this directory: [`cache_teacher`](super::cache_teacher).
    Cache(PathBuf),
}

/// What changes the weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// AdamW with its usual values.
    AdamW,
    /// Gradient descent.
    Sgd {
        /// How much of the last change goes on.
        momentum: f32,
    },
}

impl RunOptions {
    /// Refuses what makes no sense before anything is read.
    pub(super) fn check(&self) -> Result<()> {
        let at_least_one = [
            ("batch", self.batch as u64),
            ("length", self.length as u64),
            ("accumulate", self.accumulate as u64),
            ("updates", self.schedule.updates),
            ("stages", self.schedule.stages.len() as u64),
        ];
        for (option, value) in at_least_one {
            if value == 0 {
                return Err(TrainError::Option {
                    option,
                    reason: "has to be at least 1".into(),
                });
            }
        }
        let numbers = self
            .schedule
            .stages
            .iter()
            .flat_map(|stage| [stage.share, stage.rate, stage.final_rate, stage.decay]);
        if !numbers
            .chain(self.clip)
            .all(|number| number.is_finite() && number >= 0.0)
        {
            let reason = "rates, shares, decay and clip have to be finite and not negative".into();
            return Err(TrainError::Option {
                option: "schedule",
                reason,
            });
        }
        if !(self.dampening.is_finite() && self.dampening >= 0.0) {
            return Err(TrainError::Option {
                option: "regularize",
                reason: "has to be finite and not negative".into(),
            });
        }
        if self.dampening > 0.0 && (self.lora.is_some() || self.vote.is_some() || self.scheme == Scheme::floats()) {
            return Err(TrainError::Option {
                option: "regularize",
                reason:
                    "no weight that is trained is rounded: name a method, and train more than adapters, without votes"
                        .into(),
            });
        }
        if let Some(rule) = &self.vote {
            rule.check()?;
            let scheme = &self.scheme;
            let others = scheme.patterns.iter().map(|(_, method)| method);
            let mut methods = [&scheme.layers, &scheme.head].into_iter().chain(others);
            if methods.any(|method| Range::of(method.format).is_some() && method.rule == MethodRule::Learned) {
                return Err(TrainError::Option {
                    option: "vote",
                    reason: "integers have no scales that are learned: leave :learned out".into(),
                });
            }
            // Votes are committed after whole updates.
            if !u64::from(rule.every).is_multiple_of(self.accumulate as u64) {
                let (every, accumulate) = (rule.every, self.accumulate);
                return Err(TrainError::Option {
                    option: "vote",
                    reason: format!(
                        "{every} micro-steps are no whole number of updates, each of which has {accumulate}"
                    ),
                });
            }
        }
        if let Some(teacher) = &self.teacher
            && !(teacher.mixture.temperature.is_finite() && teacher.mixture.temperature > 0.0)
        {
            return Err(TrainError::Option {
                option: "temperature",
                reason: "has to be finite and more than 0".into(),
            });
        }
        if let Some(TeacherOptions {
            source: TeacherSource::Cache(_),
            mixture,
        }) = &self.teacher
            && (mixture.relations, mixture.hidden) != (0.0, 0.0)
        {
            return Err(TrainError::Option {
                option: "teacher",
                reason: "a cache has predictions, not what the teacher makes of the text inside".into(),
            });
        }
        if self.lora.is_some_and(|lora| lora.rank == 0) {
            return Err(TrainError::Option {
                option: "lora",
                reason: "the rank has to be at least 1".into(),
            });
        }
        Ok(())
    }

    /// The data, as the model of `blueprint` reads it.
    pub(super) fn corpus(&self, blueprint: &Blueprint) -> Result<Corpus> {
        let sources = Sources::open(&self.data, self.sources.clone())?;
        let rows = blueprint.config().vocab_size;
        Ok(Corpus::new(
            sources,
            Language::of(blueprint)?,
            rows,
            self.encode.clone(),
        )?)
    }

    /// How training data is read by this process.
    pub(super) fn stream(&self, together: &dyn Collective) -> StreamOptions {
        StreamOptions {
            packing: self.packing,
            long_documents: self.long_documents,
            seed: self.seed,
            rank: together.rank(),
            world: together.world_size(),
            ..StreamOptions::new(self.batch, self.length)
        }
    }

    /// What may not change when a run is taken up again. The rest may: for instance how often checkpoints are written, or how
    /// fast it learns, which is what helps a run that diverged.
    pub(super) fn identity(&self) -> Self {
        Self {
            schedule: Schedule {
                warm_up: 0,
                updates: self.schedule.updates,
                stages: Vec::new(),
            },
            clip: None,
            evaluate_every: 0,
            held_out_batches: 0,
            checkpoint_every: 0,
            recompute: false,
            ..self.clone()
        }
    }
}

/// Shapes by their names: layers, channels, channels of the feed-forward network, heads, key heads.
const SHAPES: [(&str, [usize; 5]); 4] = [
    ("nano", [2, 64, 192, 4, 2]),
    ("micro", [4, 128, 384, 4, 2]),
    ("mini", [6, 256, 768, 8, 4]),
    ("small", [12, 512, 1536, 8, 4]),
];

impl Shape {
    /// The names that [`by_name`](Self::by_name) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHAPES.iter().map(|(name, _)| *name)
    }

    /// A llama of a usual shape: without the embedding `nano` has 0.1, `micro` 0.8, `mini` 4.7 and `small` 37 million
    /// parameters.
    pub fn by_name(name: &str) -> Option<Self> {
        let (
            _,
            [
                block_count,
                embedding_length,
                feed_forward_length,
                head_count,
                head_count_kv,
            ],
        ) = *SHAPES.iter().find(|(known, _)| *known == name)?;
        Some(Self {
            architecture: "llama".into(),
            block_count,
            embedding_length,
            feed_forward_length,
            head_count,
            head_count_kv,
            context_length: 2048,
            tied: true,
        })
    }
}
