//! Histograms whose range need not be known before the last weight has been seen.

/// Counts weights by their bfloat16: fine enough for a histogram of any width afterwards, whatever their size.
pub(super) struct WeightCounts {
    /// One for each bfloat16, into which weights are cut off.
    counts: Vec<u64>,
    sum_of_squares: f64,
    min: f32,
    max: f32,
}

impl WeightCounts {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; 1 << 16],
            sum_of_squares: 0.0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        }
    }

    pub(super) fn add(&mut self, weights: &[f32]) {
        for &weight in weights {
            self.counts[(weight.to_bits() >> 16) as usize] += 1;
            self.sum_of_squares += f64::from(weight) * f64::from(weight);
            self.min = self.min.min(weight);
            self.max = self.max.max(weight);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.sum_of_squares += other.sum_of_squares;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    pub(super) fn histogram(&self) -> WeightHistogram {
        let total: u64 = self.counts.iter().sum();
        let rms = (self.sum_of_squares / total.max(1) as f64).sqrt();
        let mut histogram = WeightHistogram {
            rms,
            min: self.min,
            max: self.max,
            bins: vec![0.0; WeightHistogram::BINS],
            outside: 0.0,
        };
        // Weights that are all 0 stay 0.
        let inverse = if rms > 0.0 { 1.0 / rms } else { 0.0 };
        for (bits, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let near = f64::from(f32::from_bits((bits as u32) << 16)) * inverse;
            let far = f64::from(f32::from_bits((bits as u32) << 16 | 0xffff)) * inverse;
            histogram.spread(near.min(far), near.max(far), count as f64);
        }
        histogram
    }
}

/// A histogram of weights over their own size.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightHistogram {
    /// The root of their mean square.
    pub rms: f64,
    /// The smallest.
    pub min: f32,
    /// The largest.
    pub max: f32,
    /// How many weights lie between -[`REACH`](Self::REACH) and [`REACH`](Self::REACH) times the root mean square, in
    /// [`BINS`](Self::BINS) intervals of the same width. (Fractions come from counters that lie in two of them.)
    pub bins: Vec<f64>,
    /// How many lie outside.
    pub outside: f64,
}

impl WeightHistogram {
    /// How many intervals there are: an odd number, so that 0 lies in the middle of one.
    pub const BINS: usize = 65;
    /// Where they end, in root mean squares.
    pub const REACH: f64 = 4.0;

    /// Adds `count` weights that lie evenly from `low` to `high`.
    fn spread(&mut self, low: f64, high: f64, count: f64) {
        let width = 2.0 * Self::REACH / Self::BINS as f64;
        let place = |x: f64| (x + Self::REACH) / width;
        let (low, high) = (place(low), place(high));
        let share = |from: f64, to: f64| {
            if high > low {
                ((to.min(high) - from.max(low)) / (high - low)).max(0.0)
            } else if (from..to).contains(&low) {
                1.0
            } else {
                0.0
            }
        };
        let last = Self::BINS as f64;
        let touched = low.clamp(0.0, last) as usize..(high.clamp(0.0, last) as usize + 1).min(Self::BINS);
        let mut inside = 0.0;
        for bin in touched {
            let part = count * share(bin as f64, bin as f64 + 1.0);
            self.bins[bin] += part;
            inside += part;
        }
        // Parts do not add up to the last bit.
        self.outside += (count - inside).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(weights: &[f32]) -> WeightHistogram {
        let mut counts = WeightCounts::new();
        counts.add(weights);
        counts.histogram()
    }

    #[test]
    fn even_weights_fill_bins_evenly() {
        let weights: Vec<f32> = (-50_000..50_000).map(|i| (i as f32 + 0.5) * 1e-9).collect();
        let histogram = of(&weights);
        // The root mean square of an even spread is its end over √3, and a bin 8/65 of that.
        assert!((histogram.rms / (5e-5 / 3f64.sqrt()) - 1.0).abs() < 1e-3);
        let expected = 100_000.0 * 8.0 / 65.0 / (2.0 * 3f64.sqrt());
        for &bin in &histogram.bins[20..45] {
            assert!((bin / expected - 1.0).abs() < 0.02, "{bin}, not {expected}");
        }
        assert_eq!(histogram.bins[0], 0.0);
        assert!(histogram.outside < 1e-6, "{}", histogram.outside);
    }

    #[test]
    fn no_weight_is_lost() {
        let mut weights = vec![0.001f32; 999];
        weights.extend([0.0, -0.0, f32::MAX, f32::MIN, 1e-45]);
        for weights in [&weights[..], &[0.0; 7], &[]] {
            let histogram = of(weights);
            let total = histogram.bins.iter().sum::<f64>() + histogram.outside;
            assert!(
                (total - weights.len() as f64).abs() < 1e-6,
                "{total} of {}",
                weights.len()
            );
        }
        assert_eq!((of(&weights).min, of(&weights).max), (f32::MIN, f32::MAX));
        assert!((of(&weights).outside - 2.0).abs() < 1e-6);
    }

    #[test]
    fn halves_add_up() {
        let weights: Vec<f32> = (0..1000).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0).collect();
        let mut first = WeightCounts::new();
        let mut second = WeightCounts::new();
        first.add(&weights[..400]);
        second.add(&weights[400..]);
        first.merge(&second);
        assert_eq!(first.histogram().bins, of(&weights).bins);
    }
}
