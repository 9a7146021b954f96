//! Makes model files: packs the weights of other ones, and makes up random models for tests and measurements.
//!
//! A packed matrix is a tensor of ggml's type I8 with one dimension, under its usual name, so that other GGUF readers
//! list it and step over it. Its bytes are the header of [`Layout`](halfpi_kernels::format::Layout), which begins with
//! `HPIP` and holds the true shape, then codes, scales and minima, used in place by the engine. The metadata has
//! `halfpi.layout_version` and `halfpi.format`, the name of the format asked for.
//!
//! ```no_run
//! use halfpi::pack::{Format, Options, Source, pack};
//! use std::ops::ControlFlow;
//! use std::path::Path;
//!
//! let source = Source::open("SmolLM2-135M-Instruct")?;
//! let options = Options::new(Format::Phi4Additive);
//! let report = pack(&source, &options, Path::new("out.gguf"), &mut |progress| {
//!     println!("{} of {} weights", progress.weights_done, progress.weights);
//!     ControlFlow::Continue(())
//! })?;
//! println!("{:.2} bits per weight", report.bits_per_weight);
//! # Ok::<(), halfpi::Error>(())
//! ```

mod blueprint;
mod calibrate;
mod compare;
mod error;
mod exponents;
mod floats;
mod format;
mod gate;
mod metadata;
mod method;
mod observe;
mod options;
mod packer;
mod quantize;
mod report;
mod scales;
mod source;
mod survey;
pub mod synthetic;

pub use crate::model::{TensorShape, check_shapes, expected_tensors};
pub use blueprint::Blueprint;
pub use calibrate::{Calibration, CalibrationError};
pub use compare::Alternative;
pub use error::PackError;
pub use exponents::Exponents;
pub use format::Format;
pub use method::Method;
pub use options::{Keep, Options, matches};
pub use packer::pack;
pub use quantize::{pack_matrix, pack_matrix_by, pack_trained};
pub use report::{Distortion, PackReport, Progress, TensorReport};
pub use scales::Scales;
pub use source::{Source, hub_name, vocab_size};
pub use survey::{CodeCount, Survey, WeightHistogram};
