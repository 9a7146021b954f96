//! What happened in a run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::options::RunOptions;
use crate::checkpoint::State;
use crate::data::DataReport;
use crate::tensor::AutodiffBackend;
use crate::train::{Trainer, Update};

/// What happened in a run, for programs and for the page about it.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// What was asked for.
    pub options: RunOptions,
    /// Numbers in all trained tensors.
    pub parameters: u64,
    /// Processes that trained together.
    pub processes: usize,
    /// Tokens that were read, by all of them.
    pub tokens: u64,
    /// Seconds in updates: forward, backward, communication.
    pub seconds: f64,
    /// Of all processes together.
    pub tokens_per_second: f64,
    /// Every update.
    pub updates: Vec<Point>,
    /// Held-out text: updates before, and the mean negative log-likelihood of a token in nats.
    pub held_out: Vec<(u64, f32)>,
    /// What was read.
    pub data: DataReport,
}

/// An update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its number, from 1.
    pub update: u64,
    /// The mean loss of its targets.
    pub loss: f32,
    /// The norm of all gradients, before it was cut.
    pub gradient_norm: f32,
    /// The learning rate.
    pub rate: f32,
}

/// What a checkpoint keeps of a report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct History {
    seconds: f64,
    updates: Vec<Point>,
    held_out: Vec<(u64, f32)>,
}

impl RunReport {
    pub(super) fn new<B: AutodiffBackend>(options: &RunOptions, trainer: &Trainer<B>, processes: usize) -> Self {
        let trained = trainer.parameters.iter().filter(|(_, parameter)| parameter.is_trained);
        let parameters = trained
            .map(|(_, parameter)| parameter.value.dims().iter().product::<usize>() as u64)
            .sum();
        Self {
            options: options.clone(),
            parameters,
            processes,
            tokens: 0,
            seconds: 0.0,
            tokens_per_second: 0.0,
            updates: Vec::new(),
            held_out: Vec::new(),
            data: DataReport::default(),
        }
    }

    pub(super) fn add(&mut self, number: u64, update: &Update, time: Duration) {
        let &Update {
            loss,
            gradient_norm,
            rate,
            tokens,
        } = update;
        self.tokens += tokens;
        self.seconds += time.as_secs_f64();
        self.tokens_per_second = self.tokens as f64 / self.seconds.max(1e-9);
        self.updates.push(Point {
            update: number,
            loss,
            gradient_norm,
            rate,
        });
    }

    pub(super) fn add_held_out(&mut self, updates: u64, nll: f32) {
        self.held_out.push((updates, nll));
    }

    pub(super) fn history(&self) -> History {
        History {
            seconds: self.seconds,
            updates: self.updates.clone(),
            held_out: self.held_out.clone(),
        }
    }

    pub(super) fn resume(&mut self, history: History, state: &State) {
        self.seconds = history.seconds;
        self.updates = history.updates;
        self.held_out = history.held_out;
        self.tokens = state.tokens;
        self.tokens_per_second = self.tokens as f64 / self.seconds.max(1e-9);
    }
}
