//! Histograms, entropies and comparisons, gathered while a model is packed.
//!
//! Each batch is counted when it has just been packed, so nothing of the model is held but counters and a few rows.

mod codes;
mod histogram;

use std::ops::Range;
use std::thread;

use halfpi_kernels::format::{Matrix, ScaleGroup};
use serde::Serialize;

pub use self::codes::CodeCount;
use self::codes::CodeCounts;
pub(super) use self::codes::bits_per_weight;
use self::histogram::WeightCounts;
pub use self::histogram::WeightHistogram;
use super::Distortion;
use super::compare::{Alternative, compare};
use super::source::SourceTensor;

/// Weights of a tensor that comparisons are measured on, in whole rows: so many that chance moves a figure by about
/// 0.05 dB, and so few that a tensor takes some hundredths of a second.
const SAMPLE_WEIGHTS: usize = 1 << 14;

/// What a matrix and its codes look like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// How the weights are spread.
    #[serde(skip)]
    pub weights: WeightHistogram,
    /// How often each code occurs, in the order of their values; empty where floats are stored.
    #[serde(skip)]
    pub codes: Vec<CodeCount>,
    /// Bits of a weight's code, scales left out.
    pub code_bits: Option<f64>,
    /// The entropy of the codes: bits a weight that the best code of variable length would take.
    pub entropy_bits: Option<f64>,
    /// How many rows the comparison was measured on: each in the middle of a part, all parts as long as each other.
    pub sample_rows: usize,
    /// What packing lost on those rows: the squared error as a part of the squared weights.
    pub sample_nmse: f64,
    /// What other quantizers would have lost on them.
    pub alternatives: Vec<Alternative>,
}

/// Gathers the [`Survey`] of one matrix.
pub(super) struct Surveyor<'t> {
    tensor: &'t SourceTensor<'t>,
    threads: usize,
    weights: WeightCounts,
    codes: Option<CodeCounts>,
    sample_rows: Vec<usize>,
    sample: Vec<f32>,
    sample_lost: Distortion,
}

impl<'t> Surveyor<'t> {
    pub(super) fn new(tensor: &'t SourceTensor<'t>, threads: usize) -> Self {
        let rows = (SAMPLE_WEIGHTS / tensor.cols.max(1)).clamp(1, tensor.rows.max(1));
        Self {
            tensor,
            threads,
            weights: WeightCounts::new(),
            codes: None,
            // In the middle of as many parts of the same length.
            sample_rows: (0..rows).map(|i| ((2 * i + 1) * tensor.rows) / (2 * rows)).collect(),
            sample: Vec::new(),
            sample_lost: Distortion::default(),
        }
    }

    /// Counts rows that are stored as `stored`, whose first row is the first of `rows`.
    pub(super) fn add(&mut self, rows: Range<usize>, stored: Matrix<'_>) {
        let packed = match stored {
            Matrix::Packed(packed) => Some(packed),
            Matrix::Dense(_) => None,
        };
        let count = |rows: Range<usize>, first: usize| {
            let (mut weights, mut codes) = (
                WeightCounts::new(),
                packed.map(|packed| CodeCounts::new(packed.codes())),
            );
            let mut row_weights = vec![0.0; self.tensor.cols];
            for row in rows {
                self.tensor.read_row(row, &mut row_weights);
                weights.add(&row_weights);
                if let (Some(codes), Some(packed)) = (&mut codes, &packed) {
                    codes.add(packed, row - first);
                }
            }
            (weights, codes)
        };
        let share = rows.len().div_ceil(self.threads.max(1)).max(1);
        let parts = thread::scope(|scope| {
            let (count, first) = (&count, rows.start);
            let threads: Vec<_> = rows
                .clone()
                .step_by(share)
                .map(|start| start..rows.end.min(start + share))
                .map(|part| scope.spawn(move || count(part, first)))
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(part) => part,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            threads.into_iter().map(join).collect::<Vec<_>>()
        });
        for (weights, codes) in parts {
            self.weights.merge(&weights);
            self.codes = match (self.codes.take(), codes) {
                (Some(mut all), Some(codes)) => {
                    all.merge(&codes);
                    Some(all)
                }
                (all, codes) => all.or(codes),
            };
        }
        self.add_sample(rows, stored);
    }

    fn add_sample(&mut self, rows: Range<usize>, stored: Matrix<'_>) {
        let (mut weights, mut back) = (vec![0.0; self.tensor.cols], vec![0.0; self.tensor.cols]);
        for &row in self.sample_rows.iter().filter(|row| rows.contains(row)) {
            self.tensor.read_row(row, &mut weights);
            // The row exists and `back` has its length.
            let _ = stored.dequantize_row(row - rows.start, &mut back);
            for (&weight, &back) in weights.iter().zip(&back) {
                self.sample_lost.add(weight, back);
            }
            self.sample.extend_from_slice(&weights);
        }
    }

    /// The survey, with comparisons in groups of `group`.
    pub(super) fn finish(self, group: ScaleGroup) -> Survey {
        let codes = self.codes.as_ref();
        Survey {
            weights: self.weights.histogram(),
            codes: codes.map(CodeCounts::in_order).unwrap_or_default(),
            code_bits: codes.map(CodeCounts::stored_bits),
            entropy_bits: codes.map(CodeCounts::entropy_bits),
            sample_nmse: self.sample_lost.nmse(),
            alternatives: compare(&self.sample, self.tensor.cols, group, self.threads),
            sample_rows: self.sample_rows.len(),
        }
    }
}
