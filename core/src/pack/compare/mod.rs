//! What other quantizers would have lost on the same weights: the yardsticks of a report.
//!
//! They are measured on some rows of a tensor under the conditions that the φ formats have: the same groups, and an f16
//! scale for each. A table of levels is measured with two scales: the one that puts the largest weight at the largest
//! level, as most are published, and the one of least squared error, which is how the φ formats choose theirs. Only the
//! second shows what the levels themselves are worth.

mod codebook;
mod kmeans;
#[cfg(test)]
mod tests;

use std::thread;

use halfpi_kernels::format::ScaleGroup;
use serde::Serialize;

use self::codebook::Codebook;
use super::{Distortion, Format, pack_matrix};

/// Bits of a scale.
const SCALE_BITS: f64 = 16.0;

/// What one quantizer loses on some rows of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// What it is called.
    pub name: &'static str,
    /// Bits a weight would take, scales included.
    pub bits_per_weight: f64,
    /// The squared error as a part of the squared weights, with the largest weight of a group at the largest level;
    /// `None` if the quantizer has no use for that scale.
    pub absmax_nmse: Option<f64>,
    /// The same with the scale of least squared error; `None` if it is never used so.
    pub searched_nmse: Option<f64>,
}

/// A quantizer to measure by.
enum Yardstick {
    /// Four bits into a fixed table.
    Table(&'static str, &'static [f32]),
    /// Four bits into a table made for the tensor.
    KMeans,
    /// One of the φ formats and the bits of its codes.
    Phi(Format, f64),
    /// Eight bits.
    Int8,
}

const YARDSTICKS: [Yardstick; 8] = [
    Yardstick::Table("log2", &codebook::LOG2),
    Yardstick::Table("int4", &codebook::INT4),
    Yardstick::Table("NF4", &codebook::NF4),
    Yardstick::KMeans,
    Yardstick::Phi(Format::Phi4, 4.0),
    Yardstick::Phi(Format::Phi4Additive, 4.0),
    Yardstick::Phi(Format::Phi5, 5.0),
    Yardstick::Int8,
];

/// Measures every yardstick on `weights`, rows of `cols` finite numbers. One that cannot have the shape is left out.
pub(super) fn compare(weights: &[f32], cols: usize, group: ScaleGroup, threads: usize) -> Vec<Alternative> {
    if weights.is_empty() || cols == 0 {
        return Vec::new();
    }
    let measure = |part: &[Yardstick]| -> Vec<Alternative> {
        let measured = part
            .iter()
            .filter_map(|yardstick| yardstick.measure(weights, cols, group));
        measured.collect()
    };
    let share = YARDSTICKS.len().div_ceil(threads.max(1));
    thread::scope(|scope| {
        let threads: Vec<_> = YARDSTICKS
            .chunks(share)
            .map(|part| scope.spawn(move || measure(part)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Vec<Alternative>>| match thread.join() {
            Ok(measured) => measured,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().flat_map(join).collect()
    })
}

impl Yardstick {
    fn measure(&self, weights: &[f32], cols: usize, group: ScaleGroup) -> Option<Alternative> {
        let columns = match group {
            ScaleGroup::Row => cols,
            ScaleGroup::Columns(columns) => columns,
        };
        let scale_bits = SCALE_BITS / columns as f64;
        let groups = || weights.chunks(columns);
        let (name, code_bits, absmax, searched) = match self {
            Yardstick::Table(name, levels) => {
                let table = Codebook::new(levels.to_vec());
                let absmax = table.loss(groups(), Codebook::absmax_scale);
                let searched = table.loss(groups(), Codebook::searched_scale);
                (*name, 4.0, Some(absmax), Some(searched))
            }
            Yardstick::KMeans => ("k-means", 4.0, None, Some(kmeans::loss(groups()))),
            Yardstick::Phi(format, code_bits) => {
                let (_, lost) = pack_matrix(weights, (weights.len() / cols, cols), *format, group, 1).ok()?;
                (format.name(), *code_bits, None, Some(lost))
            }
            Yardstick::Int8 => {
                let (_, lost) = pack_matrix(weights, (weights.len() / cols, cols), Format::Q8, group, 1).ok()?;
                ("int8", 8.0, Some(lost), None)
            }
        };
        Some(Alternative {
            name,
            bits_per_weight: code_bits + scale_bits,
            absmax_nmse: absmax.map(Distortion::nmse),
            searched_nmse: searched.map(Distortion::nmse),
        })
    }
}
