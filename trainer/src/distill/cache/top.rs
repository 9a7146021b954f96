//! The most likely tokens of logits.

use std::num::NonZero;
use std::thread;

use super::piece::LEAST;
use super::{CacheError, Origin, Predictions};

impl Predictions {
    /// What the logits of one sequence say, `[length, vocab_size]`. Rows are shared out to threads: sorting a vocabulary
    /// takes as long as a layer of a small model.
    ///
    /// # Errors
    /// [`CacheError::NotFinite`].
    pub(super) fn of(logits: &[f32], origin: &Origin) -> Result<Self, CacheError> {
        let vocab_size = origin.vocab_size as usize;
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let rows = (logits.len() / vocab_size).div_ceil(threads).max(1);
        let parts = thread::scope(|scope| {
            let shares = logits.chunks(rows * vocab_size);
            let running: Vec<_> = shares.map(|share| scope.spawn(|| of_rows(share, origin))).collect();
            let results = running.into_iter().map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            results.collect::<Result<Vec<Self>, CacheError>>()
        })?;
        let mut predictions = Self::default();
        for part in parts {
            predictions.tokens.extend(part.tokens);
            predictions.logs.extend(part.logs);
            predictions.rest.extend(part.rest);
        }
        Ok(predictions)
    }
}

fn of_rows(logits: &[f32], origin: &Origin) -> Result<Predictions, CacheError> {
    let (vocab_size, top) = (origin.vocab_size as usize, origin.top as usize);
    let mut predictions = Predictions::default();
    let mut order: Vec<u32> = Vec::with_capacity(vocab_size);
    for row in logits.chunks_exact(vocab_size) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !row.iter().all(|logit| logit.is_finite()) {
            return Err(CacheError::NotFinite);
        }
        let log = |token: u32| f64::from(row[token as usize] - largest) / f64::from(origin.temperature);
        order.clear();
        order.extend(0..origin.vocab_size);
        // Of equally likely tokens the first, so that the same logits leave the same file.
        let by_likelihood = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
        if top < vocab_size {
            order.select_nth_unstable_by(top, by_likelihood);
        }
        let (kept, others) = order.split_at_mut(top);
        kept.sort_unstable_by(by_likelihood);
        // The rest for itself: what is left of 1 would be noise.
        let rest: f64 = others.iter().map(|&token| log(token).exp()).sum();
        let sum = (rest + kept.iter().map(|&token| log(token).exp()).sum::<f64>()).ln();
        predictions.tokens.extend(kept.iter().map(|&token| token as i32));
        let logs = kept.iter().map(|&token| ((log(token) - sum) as f32).clamp(LEAST, 0.0));
        predictions.logs.extend(logs);
        predictions.rest.push(((rest.ln() - sum) as f32).clamp(LEAST, 0.0));
    }
    Ok(predictions)
}
