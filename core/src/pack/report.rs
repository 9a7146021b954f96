//! What packing did to the weights.

use serde::Serialize;

use super::Survey;

/// What was lost between weights and what the file gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distortion {
    /// Σw².
    pub signal: f64,
    /// Σ(w - ŵ)².
    pub error: f64,
}

impl Distortion {
    pub(super) fn add(&mut self, weight: f32, stored: f32) {
        let (weight, stored) = (f64::from(weight), f64::from(stored));
        self.signal += weight * weight;
        self.error += (weight - stored) * (weight - stored);
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            signal: self.signal + other.signal,
            error: self.error + other.error,
        }
    }

    /// The error as a part of the signal (normalized mean squared error).
    pub fn nmse(self) -> f64 {
        if self.error == 0.0 {
            0.0
        } else {
            self.error / self.signal
        }
    }

    /// The signal-to-quantization-noise ratio in decibels; `None` if nothing was lost.
    pub fn sqnr_db(self) -> Option<f64> {
        // An error that is not a number is none of 0.
        (self.error != 0.0).then(|| 10.0 * (self.signal / self.error).log10())
    }
}

/// What became of one tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// The type it had: ggml's name, or `packed`.
    pub from: String,
    /// The format it has now.
    pub to: String,
    /// Its dimensions; the first is the length of a row.
    pub shape: Vec<u64>,
    /// How many weights it has.
    pub weights: u64,
    /// Bytes in the file.
    pub bytes: u64,
    /// Bits a weight takes, header and scales included.
    pub bits_per_weight: f64,
    /// Signal to quantization noise in decibels; `None` if nothing was lost.
    pub sqnr_db: Option<f64>,
    /// The squared error as a part of the squared weights.
    pub nmse: f64,
    /// Why the format is not the one asked for.
    pub note: Option<String>,
    /// Histograms, the entropy of the codes and comparisons; `None` unless asked for, and for vectors.
    #[serde(flatten)]
    pub survey: Option<Survey>,
}

/// What became of a model.
#[derive(Clone, Debug, Serialize)]
pub struct PackReport {
    /// All tensors in the order of the file.
    pub tensors: Vec<TensorReport>,
    /// How many weights there are.
    pub weights: u64,
    /// The length of the file in bytes.
    pub file_bytes: u64,
    /// Bits a weight takes on average, metadata and vocabulary left out.
    pub bits_per_weight: f64,
    /// Signal to quantization noise over all matrices in decibels; `None` if nothing was lost.
    pub sqnr_db: Option<f64>,
    /// The squared error as a part of the squared weights, over all matrices.
    pub nmse: f64,
    /// What the length would be with every code at its tensor's entropy; `None` unless a survey was asked for.
    pub entropy_coded_bytes: Option<u64>,
}

impl TensorReport {
    /// Bytes that entropy coding would save.
    pub(super) fn redundant_bytes(&self) -> u64 {
        let bits = |survey: &Survey| Some(survey.code_bits? - survey.entropy_bits?);
        let bits = self.survey.as_ref().and_then(bits).unwrap_or(0.0).max(0.0);
        ((bits * self.weights as f64 / 8.0) as u64).min(self.bytes)
    }
}

/// How far packing is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The tensor being packed.
    pub tensor: &'a str,
    /// Its place in the file, from 0.
    pub index: usize,
    /// How many tensors there are.
    pub count: usize,
    /// Weights that are done, of all tensors.
    pub weights_done: u64,
    /// Weights of all tensors.
    pub weights: u64,
}
