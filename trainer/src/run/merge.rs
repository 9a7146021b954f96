//! Adapters merged into their model.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use halfpi::gguf::{GgmlType, ModelFile};
use halfpi::pack::{Format, Keep, PackReport, Source, TensorShape};
use halfpi_kernels::format::{Codes, Packed};

use super::options::Start;
use super::trained::Trained;
use crate::lora;
use crate::output::{OutputError, Temporary, Weights, repack};
use crate::tensor::{AutodiffBackend, values};
use crate::{Result, TrainError};

/// The least part of what adapters change that a packed model has to keep.
const LEAST_KEPT: f64 = 0.5;

/// The weights of a model with its adapters added to them, as floats: nothing is lost.
pub struct Merged<'a, B: AutodiffBackend>(&'a Trained<B>);

impl<B: AutodiffBackend> Merged<'_, B> {
    /// What the adapter adds to a matrix, if it has one.
    fn change(&self, name: &str) -> Option<Vec<f32>> {
        let Self(trained) = self;
        let lora = trained.report.options.lora?;
        lora.change(&trained.trainer.parameters, name).map(values)
    }
}

impl<B: AutodiffBackend> Weights for Merged<'_, B> {
    fn shapes(&self) -> Result<Vec<TensorShape>> {
        self.0.shapes()
    }

    fn read(&self, tensor: &TensorShape) -> Result<Vec<f32>> {
        let mut weights = self.0.read(tensor)?;
        let change = self.change(&tensor.name).into_iter().flatten();
        weights
            .iter_mut()
            .zip(change)
            .for_each(|(weight, change)| *weight += change);
        Ok(weights)
    }
}

/// What merging lost.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MergeReport {
    /// What packing did to the merged weights.
    pub packed: PackReport,
    /// How much of what the adapters change is in the file, where 1 is all of it: the change that is found there, projected
    /// on the one that was learnt.
    pub kept: f64,
}

impl<B: AutodiffBackend> Trained<B> {
    /// The weights with the adapters added to them.
    ///
    /// # Errors
    /// [`TrainError::Option`] if the run had no adapters.
    pub fn merged(&self) -> Result<Merged<'_, B>> {
        match self.report.options.lora {
            Some(_) => Ok(Merged(self)),
            None => Err(TrainError::Option {
                option: "merge",
                reason: "the run trained no adapters".into(),
            }),
        }
    }

    /// Packs the merged model into the GGUF file `path`, which appears when it is complete: each matrix in `format`, the
    /// embedding and the output matrix in the one that suits it, or all of them in the formats that they had, if that is
    /// `None`. Stock formats that are not written here become the nearest of as many bits.
    ///
    /// # Errors
    /// [`OutputError::Vanished`] if less than half of what the adapters change is left after rounding, as where the levels
    /// of the base are further apart than that; [`halfpi::Error`] for what packing refuses.
    pub fn write_merged(&self, format: Option<Format>, path: &Path) -> Result<MergeReport> {
        let merged = self.merged()?;
        let keep = match format {
            Some(format) => self.keep(|tensor| match tensor.name.as_str() {
                "token_embd.weight" | "output.weight" => Some(format.head()),
                _ => Some(format),
            }),
            None => {
                let of_base = match &self.report.options.start {
                    Start::Model(base) if base.is_file() => formats(base)?,
                    _ => Vec::new(),
                };
                let scheme = &self.report.options.scheme;
                self.keep(|tensor| match scheme.method(&tensor.name, [tensor.rows, tensor.cols]) {
                    Some(method) => Some(method.format),
                    None => of_base
                        .iter()
                        .find(|(name, _)| *name == tensor.name)
                        .map(|&(_, format)| format),
                })
            }
        };
        let packed_file = Temporary::beside(path, "merged");
        let go_on = &mut |_: halfpi::pack::Progress<'_>| ControlFlow::Continue(());
        let packed = repack(&merged, &self.blueprint, &keep, packed_file.path(), go_on)?;
        let kept = self.kept(&merged, &Source::open(packed_file.path())?)?;
        if kept < LEAST_KEPT {
            return Err(OutputError::Vanished { kept }.into());
        }
        fs::rename(packed_file.path(), path).map_err(|source| TrainError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(MergeReport { packed, kept })
    }

    fn keep(&self, format: impl Fn(&TensorShape) -> Option<Format>) -> Vec<Keep> {
        let matrices = self.tensors.iter().filter(|tensor| !tensor.is_vector);
        let keep = matrices.filter_map(|tensor| {
            Some(Keep {
                pattern: tensor.name.clone(),
                format: format(tensor)?,
            })
        });
        keep.collect()
    }

    /// The part of what the adapters change that a file has.
    fn kept(&self, merged: &Merged<'_, B>, file: &Source) -> Result<f64> {
        let (mut found, mut learnt) = (0.0, 0.0);
        for tensor in &self.tensors {
            let Some(change) = merged.change(&tensor.name) else {
                continue;
            };
            let (before, after) = (self.read(tensor)?, file.read(&tensor.name)?);
            for ((before, after), change) in before.iter().zip(&after).zip(&change) {
                found += f64::from(after - before) * f64::from(*change);
                learnt += f64::from(*change) * f64::from(*change);
            }
        }
        Ok(if learnt == 0.0 { 1.0 } else { found / learnt })
    }
}

/// The formats of the matrices of a GGUF, or the nearest that are written here.
fn formats(base: &Path) -> Result<Vec<(String, Format)>> {
    let file = ModelFile::open(base)?;
    let gguf = file.gguf()?;
    let mut formats = Vec::new();
    for tensor in gguf.tensors() {
        let format = match tensor.ty {
            GgmlType::I8 => {
                let packed = Packed::from_file_bytes(gguf.data(tensor)).map_err(|source| TrainError::Format {
                    name: tensor.name.to_owned(),
                    source,
                })?;
                of_codes(packed.codes())
            }
            GgmlType::F32 => Format::F32,
            GgmlType::F16 => Format::F16,
            GgmlType::BF16 => Format::Bf16,
            GgmlType::TQ1_0 | GgmlType::TQ2_0 | GgmlType::I2_S => Format::Ternary,
            GgmlType::Q8_0 => Format::Q8,
            GgmlType::Q6_K => Format::Q6,
            GgmlType::Q5_0 | GgmlType::Q5_1 | GgmlType::Q5_K => Format::Phi5Additive,
            _ => Format::Phi4Additive,
        };
        formats.push((tensor.name.to_owned(), format));
    }
    Ok(formats)
}

/// The format with these codes, or one of as many bits.
fn of_codes(codes: Codes) -> Format {
    let exact = Format::all().find(|format| format.codes() == Some(codes));
    exact.unwrap_or(match codes {
        Codes::Codebook5(_) => Format::Phi5Additive,
        Codes::Codebook2(_) => Format::Halfpi2,
        _ => Format::Phi4Additive,
    })
}

/// Whether a parameter is a part of an adapter.
pub(super) fn is_adapter(name: &str) -> bool {
    lora::NAMES.iter().any(|part| name.ends_with(&format!(".{part}")))
}
