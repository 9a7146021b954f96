//! Chooses the next token from the logits.
//!
//! The stages run in llama.cpp's order: penalties, top-k, top-p, min-p, temperature. Top-p and min-p therefore look
//! at the probabilities before temperature. The same options, seed and logits give the same tokens on every platform:
//! the generator is xoshiro256++ and the exponential comes from the `libm` crate, not from the system.

mod rng;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};

use rng::Xoshiro256;

/// Longest window that penalties can look at, in tokens.
pub const MAX_PENALTY_WINDOW: u32 = 65_536;

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplerOptions {
    /// Divides the logits: below 1 sharpens, above 1 flattens, 0 takes the most likely token (greedy).
    pub temperature: f32,
    /// Keeps the `top_k` most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the fewest most likely tokens that together have this probability (Holtzman et al. 2020); 1 keeps all.
    pub top_p: f32,
    /// Drops tokens less likely than this share of the most likely one (Nguyen et al. 2024); 0 keeps all.
    pub min_p: f32,
    /// Divides the positive logits of tokens in the window and multiplies the negative ones (Keskar et al. 2019);
    /// 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from a token's logit once per occurrence in the window; 0 is off.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if it occurs in the window at all; 0 is off.
    pub presence_penalty: f32,
    /// How many of the last accepted tokens the penalties look at; 0 switches them off.
    pub penalty_last_n: u32,
    /// Seed of the generator; `None` takes one from the operating system.
    pub seed: Option<u64>,
}

impl Default for SamplerOptions {
    /// For small chat models: lively, and with a light penalty against the loops they fall into.
    fn default() -> Self {
        SamplerOptions {
            temperature: 0.7,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repetition_penalty: 1.1,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_last_n: 64,
            seed: None,
        }
    }
}

impl SamplerOptions {
    /// The most likely token at every step, without penalties.
    pub fn greedy() -> Self {
        SamplerOptions {
            temperature: 0.0,
            repetition_penalty: 1.0,
            ..SamplerOptions::default()
        }
    }

    /// Checks that every option is in its range.
    ///
    /// # Errors
    /// [`SamplerError::OutOfRange`] with the first option that is not.
    pub fn validate(&self) -> Result<(), SamplerError> {
        let window = f64::from(self.penalty_last_n);
        let checks = [
            (
                "temperature",
                self.temperature,
                self.temperature >= 0.0,
                "0 (greedy) or more",
            ),
            (
                "top_p",
                self.top_p,
                self.top_p > 0.0 && self.top_p <= 1.0,
                "over 0, at most 1 (off)",
            ),
            (
                "min_p",
                self.min_p,
                (0.0..=1.0).contains(&self.min_p),
                "from 0 (off) to 1",
            ),
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0.0,
                "over 0; 1 is off",
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                true,
                "a finite number; 0 is off",
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                true,
                "a finite number; 0 is off",
            ),
            (
                "penalty_last_n",
                window as f32,
                self.penalty_last_n <= MAX_PENALTY_WINDOW,
                "at most 65536",
            ),
        ];
        for (option, value, in_range, allowed) in checks {
            if !(in_range && value.is_finite()) {
                return Err(SamplerError::OutOfRange { option, value, allowed });
            }
        }
        Ok(())
    }

    fn penalizes(&self) -> bool {
        self.penalty_last_n > 0
            && (self.repetition_penalty != 1.0 || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0)
    }
}

/// Why the sampler refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// An option is outside its range.
    #[error("the sampling option {option} is {value}; it must be {allowed}")]
    OutOfRange {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        value: f32,
        /// What it may be.
        allowed: &'static str,
    },
    /// The vocabulary has no tokens.
    #[error("the vocabulary is empty, so there is nothing to choose from")]
    EmptyVocabulary,
}

/// A token that may be chosen.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    logit: f32,
    id: u32,
}

impl Candidate {
    /// Likeliest first, equal ones by id: a total order, so that no result depends on a sorting algorithm.
    fn order(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

/// Chooses tokens for one conversation. All memory is taken by [`Sampler::new`]; sampling allocates nothing.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    seed: u64,
    rng: Xoshiro256,
    /// The last accepted tokens as a ring: `window[cursor]` is the oldest once it is full.
    window: Vec<u32>,
    cursor: usize,
    /// A sorted copy of the window.
    seen: Vec<u32>,
    candidates: Vec<Candidate>,
    vocab_size: usize,
}

impl Sampler {
    /// A sampler for logits of `vocab_size` tokens.
    ///
    /// # Errors
    /// [`SamplerError`] where an option is out of range or the vocabulary is empty.
    pub fn new(options: SamplerOptions, vocab_size: usize) -> Result<Self, SamplerError> {
        options.validate()?;
        if vocab_size == 0 {
            return Err(SamplerError::EmptyVocabulary);
        }
        // The standard library keys its hash maps from the operating system's entropy; one hash is one seed.
        let seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one(0));
        let window = if options.penalizes() {
            options.penalty_last_n as usize
        } else {
            0
        };
        // Selection keeps up to twice `top_k` while it scans.
        let candidates = match options.top_k as usize {
            0 => vocab_size,
            k => k.saturating_mul(2).min(vocab_size),
        };
        Ok(Sampler {
            rng: Xoshiro256::new(seed),
            window: Vec::with_capacity(window),
            cursor: 0,
            seen: Vec::with_capacity(window),
            candidates: Vec::with_capacity(candidates),
            options,
            seed,
            vocab_size,
        })
    }

    /// The options it was made with.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// The seed in use, also where none was given: with it the same conversation can be had again.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Back to the state after [`Sampler::new`]: the generator starts over and the window is empty.
    pub fn reset(&mut self) {
        self.rng = Xoshiro256::new(self.seed);
        self.window.clear();
        self.cursor = 0;
    }

    /// Enters a token into the window of the penalties. Call it for every generated token, and for those of the
    /// prompt that shall be penalized too.
    pub fn accept(&mut self, id: u32) {
        let length = if self.options.penalizes() {
            self.options.penalty_last_n as usize
        } else {
            0
        };
        if self.window.len() < length {
            self.window.push(id);
        } else if length > 0 {
            self.window[self.cursor] = id;
            self.cursor = (self.cursor + 1) % length;
        }
    }

    /// Chooses a token from `logits` `[vocab_size]`, which the penalties change in place. Does not [`accept`] it.
    ///
    /// A NaN logit counts as impossible and +∞ as the largest finite number. Where every token is impossible, or the
    /// slice is empty, the answer is token 0. Entries beyond the vocabulary size are ignored.
    ///
    /// [`accept`]: Sampler::accept
    pub fn sample(&mut self, logits: &mut [f32]) -> u32 {
        let usable = logits.len().min(self.vocab_size);
        let logits = &mut logits[..usable];
        self.penalize(logits);
        if self.options.temperature == 0.0 {
            return best(logits).id;
        }
        self.select_top_k(logits);
        self.keep_probable();
        self.draw()
    }

    fn penalize(&mut self, logits: &mut [f32]) {
        self.seen.clear();
        self.seen.extend_from_slice(&self.window);
        self.seen.sort_unstable();
        let SamplerOptions {
            repetition_penalty,
            frequency_penalty,
            presence_penalty,
            ..
        } = self.options;
        for occurrences in self.seen.chunk_by(|a, b| a == b) {
            let Some(logit) = logits.get_mut(occurrences[0] as usize) else {
                continue;
            };
            *logit = if *logit > 0.0 {
                *logit / repetition_penalty
            } else {
                *logit * repetition_penalty
            };
            *logit -= frequency_penalty * occurrences.len() as f32 + presence_penalty;
        }
    }

    /// Fills `candidates` with the `top_k` likeliest tokens, likeliest first, or with all possible ones by id.
    fn select_top_k(&mut self, logits: &[f32]) {
        self.candidates.clear();
        let possible = candidates(logits).filter(|candidate| candidate.logit > f32::NEG_INFINITY);
        let top_k = self.options.top_k as usize;
        if top_k == 0 || top_k >= logits.len() {
            self.candidates.extend(possible);
            return;
        }
        // Collect what beats the k-th best so far; whenever the buffer is full, find that k-th best anew.
        let full = self.candidates.capacity().min(2 * top_k);
        let mut bar: Option<Candidate> = None;
        for candidate in possible {
            if bar.is_some_and(|bar| candidate.order(&bar) == Ordering::Greater) {
                continue;
            }
            if self.candidates.len() == full {
                self.candidates.select_nth_unstable_by(top_k - 1, Candidate::order);
                self.candidates.truncate(top_k);
                bar = Some(self.candidates[top_k - 1]);
            }
            self.candidates.push(candidate);
        }
        self.candidates.sort_unstable_by(Candidate::order);
        self.candidates.truncate(top_k);
    }

    /// Top-p, then min-p. Both keep a prefix of the likeliest tokens, so min-p may cut first: it leaves little to
    /// sort.
    fn keep_probable(&mut self) {
        let SamplerOptions { top_p, min_p, .. } = self.options;
        let Some(max) = self.candidates.iter().map(|candidate| candidate.logit).reduce(f32::max) else {
            return;
        };
        let weight = |candidate: &Candidate| libm::expf(candidate.logit - max);
        let whole: f64 = match top_p < 1.0 {
            true => self
                .candidates
                .iter()
                .map(|candidate| f64::from(weight(candidate)))
                .sum(),
            false => 0.0,
        };
        if min_p > 0.0 {
            self.candidates.retain(|candidate| weight(candidate) >= min_p);
        }
        if top_p < 1.0 {
            let wanted = whole * f64::from(top_p);
            let mut mass = 0.0;
            let mut sorted = 0;
            let mut kept = 0;
            while kept < self.candidates.len() {
                if kept == sorted {
                    sorted = self.sort_more(sorted);
                }
                mass += f64::from(weight(&self.candidates[kept]));
                kept += 1;
                if mass >= wanted {
                    break;
                }
            }
            self.candidates.truncate(kept);
        }
    }

    /// Puts the next likeliest candidates behind the first `sorted`, about as many as there are; returns how many
    /// are in order now.
    fn sort_more(&mut self, sorted: usize) -> usize {
        let rest = &mut self.candidates[sorted..];
        let more = sorted.max(64).min(rest.len());
        if more < rest.len() {
            rest.select_nth_unstable_by(more, Candidate::order);
        }
        rest[..more].sort_unstable_by(Candidate::order);
        sorted + more
    }

    /// Draws one of `candidates` by its probability at the temperature.
    fn draw(&mut self) -> u32 {
        let temperature = self.options.temperature;
        let Some(max) = self.candidates.iter().map(|candidate| candidate.logit).reduce(f32::max) else {
            return 0;
        };
        let mut sum = 0.0;
        for candidate in &mut self.candidates {
            // From here on `logit` holds the weight.
            candidate.logit = libm::expf((candidate.logit - max) / temperature);
            sum += f64::from(candidate.logit);
        }
        let mut left = self.rng.next_f64() * sum;
        let mut chosen = 0;
        for candidate in self.candidates.iter().filter(|candidate| candidate.logit > 0.0) {
            chosen = candidate.id;
            left -= f64::from(candidate.logit);
            if left < 0.0 {
                break;
            }
        }
        chosen
    }
}

/// The logits as candidates, with what arithmetic cannot order made orderable.
fn candidates(logits: &[f32]) -> impl Iterator<Item = Candidate> + '_ {
    logits.iter().zip(0..).map(|(&logit, id)| {
        let logit = if logit.is_nan() {
            f32::NEG_INFINITY
        } else {
            logit.min(f32::MAX)
        };
        Candidate { logit, id }
    })
}

fn best(logits: &[f32]) -> Candidate {
    let none = Candidate {
        logit: f32::NEG_INFINITY,
        id: 0,
    };
    candidates(logits).fold(
        none,
        |best, candidate| if candidate.logit > best.logit { candidate } else { best },
    )
}
