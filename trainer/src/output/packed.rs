//! A packed GGUF of the weights that training used.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use halfpi::pack::{Blueprint, Format, Keep, Options, PackReport, Progress, Source};
use halfpi_kernels::format::Float;

use super::Weights;
use crate::Result;

/// Packs weights into the GGUF file `path`, which appears when it is complete: each matrix in the format of the first
/// pattern that matches its name, and in f32 where none does.
///
/// The file gives back every weight to the bit. For that, weights must be levels of their format times scales that it can
/// store: f16 for the weights of a row or of a group of a row, or f32 for the ternary ones, `halfpi2` and rows.
///
/// Meanwhile, the weights lie in f32 in a file beside it.
///
/// # Errors
/// [`PackError::Changed`](halfpi::pack::PackError::Changed) names the first weight that its format cannot say, and other
/// [`halfpi::Error`]s what else keeps the model from being packed or the files from being written.
pub fn pack<W: Weights + ?Sized>(
    weights: &W,
    blueprint: &Blueprint,
    keep: &[Keep],
    path: &Path,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<PackReport> {
    let floats = Temporary::beside(path);
    blueprint.write(&floats.0, Float::F32, &weights.shapes()?, |tensor| weights.read(tensor))?;
    let source = Source::open(&floats.0)?;
    Ok(halfpi::pack::pack(&source, &options(keep), path, progress)?)
}

fn options(keep: &[Keep]) -> Options {
    let others = Keep {
        pattern: "*".into(),
        format: Format::F32,
    };
    Options {
        keep: keep.iter().cloned().chain([others]).collect(),
        must_be_exact: true,
        // The file is named after its first format; no matrix has it because of that.
        ..Options::new(keep.first().map_or(Format::F32, |keep| keep.format))
    }
}

/// A file that goes away.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{}.f32", process::id(), COUNT.fetch_add(1, Relaxed)));
        Self(path.with_file_name(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nobody is left to tell if this fails.
        let _ = fs::remove_file(&self.0);
    }
}
