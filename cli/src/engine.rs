//! Options that every command shares which runs a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use halfpi::engine::{Engine, EngineOptions, TernaryResidence};
use halfpi::gguf::ModelFile;
use halfpi::transformer::Precision;
use halfpi_kernels::format::stock::I2sOrder;
use halfpi_kernels::ops::KvElement;

use crate::output::{Outcome, about};

#[derive(clap::Args)]
pub struct EngineArgs {
    /// Threads [default: one for each fast core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// What weights are multiplied with: int8 is fast, f32 exact and many times slower
    #[arg(long, value_enum, default_value_t = Activations::Int8)]
    activations: Activations,
    /// Where weights of three trits in five bits are: in the file as they are, or expanded to two bits each in memory
    #[arg(long, value_enum, default_value_t = Ternary::Auto)]
    ternary: Ternary,
    /// The order of I2_S weights, which their file does not say
    #[arg(long, value_enum, default_value_t = I2s::X86)]
    i2s_order: I2s,
    /// A LoRA adapter of the model, in a GGUF file of its own
    #[arg(long, value_name = "FILE")]
    lora: Option<PathBuf>,
}

/// Where dense ternary weights are.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ternary {
    /// Whichever is faster here
    Auto,
    Dense,
    Expanded,
}

impl From<Ternary> for TernaryResidence {
    fn from(ternary: Ternary) -> Self {
        match ternary {
            Ternary::Auto => TernaryResidence::Auto,
            Ternary::Dense => TernaryResidence::Dense,
            Ternary::Expanded => TernaryResidence::Expanded,
        }
    }
}

/// The machine in whose order I2_S weights are.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum I2s {
    /// Blocks of 128: the published files, wherever they are run
    X86,
    /// Blocks of 64: made by llama-quantize of a bitnet.cpp since November 2025 that was built for ARM
    Arm,
}

impl From<I2s> for I2sOrder {
    fn from(order: I2s) -> Self {
        match order {
            I2s::X86 => I2sOrder::X86,
            I2s::Arm => I2sOrder::Arm,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Activations {
    Int8,
    F32,
}

/// How keys and values are kept.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KvType {
    F16,
    Int8,
}

impl From<KvType> for KvElement {
    fn from(kv: KvType) -> Self {
        match kv {
            KvType::F16 => KvElement::F16,
            KvType::Int8 => KvElement::Int8,
        }
    }
}

impl EngineArgs {
    pub fn open(&self, model: &Path) -> Outcome<Engine> {
        self.open_with(model, self.activations)
    }

    /// With other activations than the command line says.
    pub fn open_with(&self, model: &Path, activations: Activations) -> Outcome<Engine> {
        let options = EngineOptions {
            precision: activations.into(),
            ..self.options()?
        };
        Engine::open(model, options).map_err(|error| about(model, error))
    }

    /// `name` is for errors.
    pub fn load(&self, name: &str, file: ModelFile) -> Outcome<Engine> {
        Engine::load(file, self.options()?).map_err(|error| about(Path::new(name), error))
    }

    fn options(&self) -> Outcome<EngineOptions> {
        let lora = self.lora.as_deref();
        let open = |path: &Path| ModelFile::open(path).map(Arc::new).map_err(|error| about(path, error));
        Ok(EngineOptions {
            adapter: lora.map(open).transpose()?,
            threads: self.threads.map(usize::from),
            precision: self.activations.into(),
            ternary: self.ternary.into(),
            i2s_order: self.i2s_order.into(),
            ..EngineOptions::default()
        })
    }
}

impl From<Activations> for Precision {
    fn from(activations: Activations) -> Self {
        match activations {
            Activations::Int8 => Precision::Int8,
            Activations::F32 => Precision::F32,
        }
    }
}
