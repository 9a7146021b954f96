//! What happened in a run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::options::RunOptions;
use crate::checkpoint::State;
use crate::data::DataReport;
use crate::memory::{self, Class};
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
    /// Every update; of more than 65,536 every second one, of twice as many every fourth.
    pub updates: Vec<Point>,
    /// Held-out text: updates before, and the mean negative log-likelihood of a token in nats.
    pub held_out: Vec<(u64, f32)>,
    /// The codes of all quantized layers, whenever held-out text was looked at.
    pub levels: Vec<Levels>,
    /// What memory was for, if the program's allocator is [`Metered`](crate::memory::Metered): the most bytes at any time.
    pub memory: Option<Memory>,
    /// What was read.
    pub data: DataReport,
}

/// How the weights of all quantized layers are spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    /// Updates before it.
    pub updates: u64,
    /// The share of weights that are 0.
    pub zeros: f32,
    /// The shares of weights by their size beside the largest of 32 neighbours, from -1 to 1.
    pub shares: Vec<f32>,
}

/// Bytes at their peak, which classes have at different times.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Altogether.
    pub peak: usize,
    /// By what they were for.
    pub by_class: Vec<(Class, usize)>,
}

impl Memory {
    /// `None` if nobody counted.
    pub(super) fn measured() -> Option<Self> {
        let peak = memory::total().peak;
        let by_class = Class::ALL.into_iter().map(|class| (class, memory::usage(class).peak));
        (peak > 0).then(|| Self {
            peak,
            by_class: by_class.collect(),
        })
    }
}

/// Weights that are compared with the largest of them.
const NEIGHBOURS: usize = 32;
/// Bars of a histogram: an odd number, so that one is for 0.
const BARS: usize = 33;

/// Counts weights.
pub(super) struct Counter {
    weights: u64,
    zeros: u64,
    bars: [u64; BARS],
}

impl Counter {
    pub(super) fn new() -> Self {
        Self {
            weights: 0,
            zeros: 0,
            bars: [0; BARS],
        }
    }

    pub(super) fn add(&mut self, values: &[f32]) {
        for neighbours in values.chunks(NEIGHBOURS) {
            let largest = neighbours.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            for value in neighbours {
                let place = if largest > 0.0 { value / largest } else { 0.0 };
                let bar = ((place + 1.0) / 2.0 * (BARS - 1) as f32).round() as usize;
                self.bars[bar.min(BARS - 1)] += 1;
                self.zeros += u64::from(*value == 0.0);
            }
            self.weights += neighbours.len() as u64;
        }
    }

    /// `None` if nothing was counted.
    pub(super) fn levels(&self, updates: u64) -> Option<Levels> {
        let share = |count: u64| count as f32 / self.weights as f32;
        (self.weights > 0).then(|| Levels {
            updates,
            zeros: share(self.zeros),
            shares: self.bars.iter().copied().map(share).collect(),
        })
    }
}

/// Points of a curve that are kept: a checkpoint has all of them in its header, which safetensors limits to 100 MB.
const MOST_POINTS: usize = 1 << 16;
/// The same of levels, each of which is 33 numbers.
const MOST_LEVELS: usize = 1 << 12;

/// Leaves every second of the points away if there are more than `most`.
fn thin<T>(points: &mut Vec<T>, most: usize) {
    if points.len() > most {
        let mut is_kept = false;
        points.retain(|_| {
            is_kept = !is_kept;
            is_kept
        });
    }
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
    levels: Vec<Levels>,
}

impl RunReport {
    pub(super) fn new<B: AutodiffBackend>(options: &RunOptions, trainer: &Trainer<B>, processes: usize) -> Self {
        let trained = trainer.parameters.iter().filter(|(_, parameter)| parameter.is_trained);
        let floats: usize = trained
            .map(|(_, parameter)| parameter.value.dims().iter().product::<usize>())
            .sum();
        let integers = trainer.votes.as_ref().map_or(0, |votes| votes.lock().weights());
        Self {
            options: options.clone(),
            parameters: (floats + integers) as u64,
            processes,
            tokens: 0,
            seconds: 0.0,
            tokens_per_second: 0.0,
            updates: Vec::new(),
            held_out: Vec::new(),
            levels: Vec::new(),
            memory: None,
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
        thin(&mut self.updates, MOST_POINTS);
    }

    pub(super) fn add_held_out(&mut self, updates: u64, nll: f32) {
        self.held_out.push((updates, nll));
        thin(&mut self.held_out, MOST_POINTS);
    }

    pub(super) fn add_levels(&mut self, levels: Option<Levels>) {
        self.levels.extend(levels);
        thin(&mut self.levels, MOST_LEVELS);
    }

    pub(super) fn history(&self) -> History {
        History {
            seconds: self.seconds,
            updates: self.updates.clone(),
            held_out: self.held_out.clone(),
            levels: self.levels.clone(),
        }
    }

    pub(super) fn resume(&mut self, history: History, state: &State) {
        self.seconds = history.seconds;
        self.updates = history.updates;
        self.held_out = history.held_out;
        self.levels = history.levels;
        self.tokens = state.tokens;
        self.tokens_per_second = self.tokens as f64 / self.seconds.max(1e-9);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_become_thinner() {
        let mut points = Vec::new();
        for point in 0..1000 {
            points.push(point);
            thin(&mut points, 64);
            assert!(points.len() <= 64 && points[0] == 0 && points.is_sorted());
        }
        assert!(points.len() >= 32 && points.contains(&999), "{points:?}");
    }

    #[test]
    fn weights_are_counted_beside_their_neighbours() {
        let mut counter = Counter::new();
        assert_eq!(counter.levels(1), None);
        counter.add(&[0.5, -0.5, 0.0, 0.0]);
        // Other neighbours, with a scale of their own.
        counter.add(&[8.0, 4.0, 0.0, -8.0]);
        let levels = counter.levels(7).unwrap();
        assert_eq!((levels.updates, levels.zeros), (7, 3.0 / 8.0));
        assert_eq!(
            (levels.shares[0], levels.shares[16], levels.shares[32]),
            (0.25, 0.375, 0.25)
        );
        assert_eq!(levels.shares[24], 0.125);
        assert_eq!(levels.shares.iter().sum::<f32>(), 1.0);
    }
}
