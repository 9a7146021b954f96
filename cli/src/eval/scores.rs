//! From logits to what is said of a model.

use halfpi::engine::Engine;

/// What a model makes of a text: sums over the tokens that were predicted.
#[derive(Clone, Copy, Default)]
pub struct Score {
    pub tokens: usize,
    pub nll: f64,
}

impl Score {
    /// Enters the probability that `logits` give to `token`.
    pub fn add(&mut self, logits: &[f32], token: u32) {
        let logit = logits
            .get(token as usize)
            .map_or(f64::NEG_INFINITY, |&logit| logit.into());
        self.nll += log_sum_exp(logits) - logit;
        self.tokens += 1;
    }

    /// Mean negative log-likelihood of a token, in nats.
    pub fn mean_nll(&self) -> f64 {
        self.nll / self.tokens as f64
    }

    pub fn perplexity(&self) -> f64 {
        self.mean_nll().exp()
    }
}

/// Logarithm of the sum of exponentials: what a logit is measured against.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    f64::from(max) + sum.ln()
}

/// The most likely token.
pub fn best(logits: &[f32]) -> usize {
    let best = logits
        .iter()
        .enumerate()
        .max_by(|(i, a), (j, b)| a.total_cmp(b).then(j.cmp(i)));
    best.map_or(0, |(id, _)| id)
}

/// Kullback-Leibler divergence of the distribution of `other` from that of `reference`, in nats.
pub fn kl_divergence(reference: &[f32], other: &[f32]) -> f64 {
    let (a, b) = (log_sum_exp(reference), log_sum_exp(other));
    let terms = reference.iter().zip(other).map(|(&p, &q)| {
        let log_p = f64::from(p) - a;
        log_p.exp() * (log_p - (f64::from(q) - b))
    });
    // Rounding may leave a distribution a hair less than nothing away from itself.
    terms.sum::<f64>().max(0.0)
}

/// Cuts tokens into windows of `context` that are judged apart. Where the model asks for BOS each window begins with
/// it. The first token of a window is given, all others are predicted.
pub fn windows(engine: &Engine, ids: &[u32], context: usize) -> Vec<Vec<u32>> {
    let tokenizer = engine.tokenizer();
    let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
    let room = (context - bos.iter().count()).max(1);
    let window = |ids: &[u32]| bos.into_iter().chain(ids.iter().copied()).collect::<Vec<u32>>();
    ids.chunks(room).map(window).filter(|window| window.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_logits_have_the_vocabulary_as_perplexity() {
        let mut score = Score::default();
        for token in 0..8 {
            score.add(&[3.5; 8], token);
        }
        assert_eq!(score.tokens, 8);
        assert!((score.perplexity() - 8.0).abs() < 1e-12);
    }

    #[test]
    fn divergence_is_the_textbook_one() {
        let logits = |p: &[f64]| p.iter().map(|p| p.ln() as f32 + 10.0).collect::<Vec<f32>>();
        let (p, q) = ([0.5, 0.25, 0.25], [0.25, 0.25, 0.5]);
        let expected = 0.5 * 2.0f64.ln() - 0.25 * 2.0f64.ln();
        assert!((kl_divergence(&logits(&p), &logits(&q)) - expected).abs() < 1e-6);
        assert_eq!(kl_divergence(&logits(&p), &logits(&p)), 0.0);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert!((log_sum_exp(&[3e38, 3e38]) - (f64::from(3e38f32) + 2.0f64.ln())).abs() < 1e30);
        assert_eq!(best(&[1.0, 7.0, 7.0, -1.0]), 1);
    }
}
