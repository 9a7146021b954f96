//! Options that every command shares which runs a model.

use std::path::Path;

use clap::ValueEnum;
use halfpi::engine::{Engine, EngineOptions};
use halfpi::gguf::ModelFile;
use halfpi::transformer::Precision;
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
            ..self.options()
        };
        Engine::open(model, options).map_err(|error| about(model, error))
    }

    /// `name` is for errors.
    pub fn load(&self, name: &str, file: ModelFile) -> Outcome<Engine> {
        Engine::load(file, self.options()).map_err(|error| about(Path::new(name), error))
    }

    fn options(&self) -> EngineOptions {
        EngineOptions {
            threads: self.threads.map(usize::from),
            precision: self.activations.into(),
            ..EngineOptions::default()
        }
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
