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
    let must_be_exact = true;
    write(
        weights,
        blueprint,
        &Options {
            must_be_exact,
            ..options(keep)
        },
        path,
        progress,
    )
}

/// As [`pack`], of weights that their formats cannot say exactly: they are rounded.
///
/// # Errors
/// As [`halfpi::pack::pack`], which refuses what no right scale would lose.
pub(crate) fn repack<W: Weights + ?Sized>(
    weights: &W,
    blueprint: &Blueprint,
    keep: &[Keep],
    path: &Path,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<PackReport> {
    write(weights, blueprint, &options(keep), path, progress)
}

fn write<W: Weights + ?Sized>(
    weights: &W,
    blueprint: &Blueprint,
    options: &Options,
    path: &Path,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<PackReport> {
    let floats = Temporary::beside(path, "f32");
    blueprint.write(&floats.0, Float::F32, &weights.shapes()?, |tensor| weights.read(tensor))?;
    let source = Source::open(&floats.0)?;
    Ok(halfpi::pack::pack(&source, options, path, progress)?)
}

fn options(keep: &[Keep]) -> Options {
    let others = Keep {
        pattern: "*".into(),
        format: Format::F32,
    };
    Options {
        keep: keep.iter().cloned().chain([others]).collect(),
        // The file is named after its first format; no matrix has it because of that.
        ..Options::new(keep.first().map_or(Format::F32, |keep| keep.format))
    }
}

/// A file that goes away.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// One that has a name of its own, with this end.
    pub(crate) fn beside(path: &Path, end: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}-{}.{end}", process::id(), COUNT.fetch_add(1, Relaxed)));
        Self(path.with_file_name(name))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nobody is left to tell if this fails.
        let _ = fs::remove_file(&self.0);
    }
}
