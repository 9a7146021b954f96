//! halfpi for Kotlin and Swift: the engine and its sessions, through uniffi.
//!
//! This crate converts types and owns the engine's thread; how a model runs is none of its business. Calls that may
//! take long block the calling thread (load, unpack, prewarm, close, wait) or answer through a listener, which the engine's
//! thread calls (generate).
// uniffi's macros write `extern "C"` functions into this crate; nothing else here may be unsafe.
#![deny(unsafe_code)]

mod answer;
mod archive;
mod checksum;
mod engine;
mod error;
mod generation;
mod listener;
mod log;
mod memory;
mod model;
mod options;
mod session;
mod worker;

pub use answer::{Answer, ChatMessage, ChatRole, FinishReason, ToolCall, ToolDeclaration, Usage};
pub use archive::{UnpackedModel, unpack_archive};
pub use checksum::file_sha256;
pub use engine::Engine;
pub use error::HalfpiError;
pub use generation::Generation;
pub use listener::{CallbackError, GenerationListener, LoadListener};
pub use log::{LogLevel, LogSink, set_log_sink};
pub use memory::{MemoryReport, PowerMode, SessionReport, TrimLevel};
pub use model::{MemoryNeeded, ModelInfo, ModelSource, inspect_model, memory_needed};
pub use options::{EngineConfig, GenerationOptions, KvPrecision, Overflow, SessionConfig};
pub use session::Session;

uniffi::setup_scaffolding!();

/// The version of this library.
#[uniffi::export]
pub fn library_version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The instruction sets that this processor runs, by the names that [`EngineConfig::backend`] takes; the fastest first.
#[uniffi::export]
pub fn available_backends() -> Vec<String> {
    let names = halfpi_kernels::Backend::available().map(|backend| backend.name().to_owned());
    names.collect()
}
