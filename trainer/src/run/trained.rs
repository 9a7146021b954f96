//! What a run leaves.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use halfpi::gguf::{AtomicFile, GgmlType, Writer};
use halfpi::pack::{Blueprint, Keep, PackReport, TensorShape};

use super::RunReport;
use super::merge::is_adapter;
use crate::output::{self, Weights};
use crate::quantize::{Quantized, Scheme};
use crate::tensor::{AutodiffBackend, values};
use crate::train::Trainer;
use crate::{Result, TrainError};

/// A model after its training, with all that is needed to write it.
pub struct Trained<B: AutodiffBackend> {
    /// The model.
    pub trainer: Trainer<B>,
    /// How its forward pass quantizes.
    pub scheme: Scheme,
    /// Its tokenizer, template and shape.
    pub blueprint: Blueprint,
    /// The tensors of its file, in order.
    pub tensors: Vec<TensorShape>,
    /// What happened.
    pub report: RunReport,
}

impl<B: AutodiffBackend> Trained<B> {
    /// Packs the model into the GGUF file `path`: the very weights of its last forward pass. Adapters are left out:
    /// [`write_adapter`](Self::write_adapter).
    ///
    /// # Errors
    /// As [`output::pack`].
    pub fn write_model(&self, path: &Path) -> Result<PackReport> {
        let keep = self.tensors.iter().filter_map(|tensor| {
            let method = self.scheme.method(&tensor.name, [tensor.rows, tensor.cols])?;
            Some(Keep {
                pattern: tensor.name.clone(),
                format: method.format,
            })
        });
        let keep: Vec<Keep> = keep.collect();
        output::pack(self, &self.blueprint, &keep, path, &mut |_| ControlFlow::Continue(()))
    }

    /// Writes the adapters into the GGUF file `path`, in llama.cpp's convention.
    ///
    /// # Errors
    /// [`TrainError::Option`] if the run had no adapters, and what keeps the file from being written.
    pub fn write_adapter(&self, path: &Path) -> Result<()> {
        let Some(lora) = self.report.options.lora else {
            return Err(TrainError::Option {
                option: "lora",
                reason: "the run trained no adapters".into(),
            });
        };
        let parts: Vec<_> = self
            .trainer
            .parameters
            .iter()
            .filter(|(name, _)| is_adapter(name))
            .collect();
        let mut writer = Writer::new();
        let architecture = self.blueprint.config().architecture.name();
        let header = |writer: &mut Writer| -> Result<(), halfpi::gguf::GgufError> {
            writer.set("general.architecture", architecture)?;
            writer.set("general.type", "adapter")?;
            writer.set("adapter.type", "lora")?;
            writer.set("adapter.lora.alpha", lora.alpha)?;
            for (name, parameter) in &parts {
                let [rows, cols] = parameter.value.dims();
                writer.declare(name, &[cols as u64, rows as u64], GgmlType::F32)?;
            }
            Ok(())
        };
        header(&mut writer).map_err(halfpi::Error::from)?;
        let mut out = writer.write_header(AtomicFile::create(path)?)?;
        for (name, parameter) in parts {
            let bytes: Vec<u8> = values(parameter.value.clone())
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            out.write(name, &bytes)?;
        }
        let mut file = out.finish()?;
        file.flush().map_err(|source| TrainError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(file.commit()?)
    }
}

/// What the forward pass multiplies with in the place of the tensor called `name`, row by row.
pub(super) fn effective<B: AutodiffBackend>(trainer: &Trainer<B>, scheme: &Scheme, name: &str) -> Result<Vec<f32>> {
    if let Some(integers) = trainer
        .votes
        .as_ref()
        .and_then(|votes| Some(votes.lock().get(name)?.values()))
    {
        return Ok(integers);
    }
    let parameters = &trainer.parameters;
    Ok(values(Quantized { parameters, scheme }.effective(name)?))
}

/// The weights of the last forward pass.
impl<B: AutodiffBackend> Weights for Trained<B> {
    fn shapes(&self) -> Result<Vec<TensorShape>> {
        Ok(self.tensors.clone())
    }

    fn read(&self, tensor: &TensorShape) -> Result<Vec<f32>> {
        effective(&self.trainer, &self.scheme, &tensor.name)
    }
}
