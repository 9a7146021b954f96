//! How the learning rate and the weight decay change over a run.

use super::Step;
use serde::{Deserialize, Serialize};

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its share of the updates; the shares of all stages are taken in proportion to their sum.
    pub share: f32,
    /// The learning rate at its beginning.
    pub rate: f32,
    /// The learning rate at its end, reached along half a cosine wave (arXiv:1608.03983).
    pub final_rate: f32,
    /// Weight decay.
    pub decay: f32,
}

/// The learning rate and weight decay of every update: a linear warm-up, then stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Updates over which the rate rises from 0.
    pub warm_up: u64,
    /// Updates altogether.
    pub updates: u64,
    /// One after the other, at least one.
    pub stages: Vec<Stage>,
}

impl Schedule {
    /// A cosine from `rate` to a tenth of it, with constant weight decay.
    pub fn cosine(updates: u64, rate: f32, decay: f32) -> Self {
        let stages = vec![Stage {
            share: 1.0,
            rate,
            final_rate: rate / 10.0,
            decay,
        }];
        Self {
            warm_up: updates / 50,
            updates,
            stages,
        }
    }

    /// As BitNet b1.58 is trained: a high rate first, then a smaller one without weight decay (The Era of 1-bit LLMs:
    /// Training Tips, Code and FAQ, section 3).
    pub fn two_stages(updates: u64, rate: f32, decay: f32) -> Self {
        let stages = vec![
            Stage {
                share: 0.5,
                rate,
                final_rate: rate * 0.6,
                decay,
            },
            Stage {
                share: 0.5,
                rate: rate * 0.4,
                final_rate: 0.0,
                decay: 0.0,
            },
        ];
        Self {
            warm_up: updates / 50,
            updates,
            stages,
        }
    }

    /// The highest learning rate of all stages.
    pub fn highest(&self) -> f32 {
        self.stages
            .iter()
            .flat_map(|stage| [stage.rate, stage.final_rate])
            .fold(0.0, f32::max)
    }

    /// The size of update `index`, the first being 0. After the last stage the rate stays as it ended.
    pub fn step(&self, index: u64) -> Step {
        let warm = match self.warm_up {
            0 => 1.0,
            warm_up => ((index + 1) as f64 / warm_up as f64).min(1.0),
        };
        let total: f64 = self.stages.iter().map(|stage| f64::from(stage.share)).sum();
        let mut at = index as f64 / self.updates.max(1) as f64 * total;
        for (i, stage) in self.stages.iter().enumerate() {
            let share = f64::from(stage.share);
            if at < share || i + 1 == self.stages.len() {
                let done = if share > 0.0 { (at / share).min(1.0) } else { 1.0 };
                let (first, last) = (f64::from(stage.rate), f64::from(stage.final_rate));
                let rate = last + (first - last) * (1.0 + (std::f64::consts::PI * done).cos()) / 2.0;
                return Step {
                    rate: (rate * warm) as f32,
                    decay: stage.decay,
                };
            }
            at -= share;
        }
        Step { rate: 0.0, decay: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_then_fall() {
        let schedule = Schedule {
            warm_up: 10,
            ..Schedule::cosine(100, 1.0, 0.1)
        };
        let rate = |index| schedule.step(index).rate;
        assert!((rate(0) - 0.1).abs() < 1e-3, "{}", rate(0));
        assert!((1..9).all(|index| rate(index) > rate(index - 1)));
        assert!((11..100).all(|index| rate(index) < rate(index - 1)));
        assert!((rate(50) - 0.55).abs() < 1e-5 && (rate(100) - 0.1).abs() < 1e-6);
        assert_eq!(rate(1000), rate(100));
    }

    #[test]
    fn the_second_stage_has_no_decay() {
        let schedule = Schedule::two_stages(100, 1.0, 0.1);
        assert_eq!(schedule.step(49).decay, 0.1);
        assert_eq!(schedule.step(50).decay, 0.0);
        assert!(schedule.step(50).rate <= 0.4 && schedule.step(49).rate > 0.59);
        assert!(schedule.step(99).rate < 0.01);
    }
}
