//! What a training step takes.

/// Sequences of equal length, as plain arrays: row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub time: usize,
    /// What the model reads: `[batch][time]`.
    pub tokens: Vec<i32>,
    /// What comes next after each of them: `[batch][time]`.
    pub targets: Vec<i32>,
    /// What each target counts in the loss: `[batch][time]`. 0 where there is nothing to learn: padding, and what others
    /// than the assistant said, if so chosen.
    pub weights: Vec<f32>,
}

impl Batch {
    /// Room for `batch` sequences of `time` tokens, all padding.
    pub(super) fn padding(batch: usize, time: usize, token: u32) -> Self {
        let tokens = vec![token as i32; batch * time];
        Self {
            batch,
            time,
            targets: tokens.clone(),
            tokens,
            weights: vec![0.0; batch * time],
        }
    }

    /// Puts a sequence in a row.
    pub(super) fn set(&mut self, row: usize, sequence: &Sequence) {
        let places = row * self.time..(row + 1) * self.time;
        let inputs = self.tokens[places.clone()].iter_mut().zip(&sequence.tokens);
        inputs.for_each(|(place, &token)| *place = token as i32);
        let targets = self.targets[places.clone()].iter_mut().zip(&sequence.tokens[1..]);
        targets.for_each(|(place, &token)| *place = token as i32);
        self.weights[places].copy_from_slice(&sequence.weights[1..]);
    }

    /// The sum of all weights: what the sum of the losses is divided by.
    pub fn weight(&self) -> f64 {
        self.weights.iter().map(|&weight| f64::from(weight)).sum()
    }
}

/// A token more than a row of a batch: each is read, but for the last, and each is a target, but for the first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sequence {
    pub tokens: Vec<u32>,
    /// Of each token as a target.
    pub weights: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_what_comes_next() {
        let mut batch = Batch::padding(2, 3, 9);
        batch.set(
            1,
            &Sequence {
                tokens: vec![1, 2, 3, 4],
                weights: vec![0.25, 0.5, 0.0, 1.0],
            },
        );
        assert_eq!(batch.tokens, [9, 9, 9, 1, 2, 3]);
        assert_eq!(batch.targets, [9, 9, 9, 2, 3, 4]);
        assert_eq!(batch.weights, [0.0, 0.0, 0.0, 0.5, 0.0, 1.0]);
        assert_eq!(batch.weight(), 1.5);
    }
}
