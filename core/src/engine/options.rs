use super::EngineError;
use crate::Result;
use crate::gguf::ModelFile;
use crate::model::LoadOptions;
use crate::pool::Pool;
use crate::template::ChatTemplate;
use crate::transformer::Precision;
use halfpi_kernels::Backend;
use halfpi_kernels::format::stock::I2sOrder;
use std::sync::Arc;

/// Names a backend to use instead of the fastest one: `scalar`, `avx2`, `avxvnni`, `avx512vnni`, `avx512vbmi`, `neon`,
/// `neon-dotprod`, `neon-i8mm`.
pub const BACKEND_VARIABLE: &str = "HALFPI_BACKEND";

/// How an engine works.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Threads, 1 to 65; `None` for one for each fast core.
    pub threads: Option<usize>,
    /// The instruction set; `None` for the one that [`BACKEND_VARIABLE`] names, or else the fastest.
    pub backend: Option<Backend>,
    /// What packed weights are multiplied with.
    pub precision: Precision,
    /// Positions of a prompt that run together, at least 1. More are faster, take more memory and delay a cancel.
    pub prefill_chunk: usize,
    /// The chat template; `None` for the file's own, or ChatML if it has none.
    pub chat_template: Option<ChatTemplate>,
    /// Where dense ternary weights are.
    pub ternary: TernaryResidence,
    /// The order of I2_S codes, which their file does not say.
    pub i2s_order: I2sOrder,
    /// A low-rank adapter of the model (LoRA): see [`LoadedModel::with_adapter`](crate::model::LoadedModel::with_adapter).
    pub adapter: Option<Arc<ModelFile>>,
    /// The most bytes that weights and sessions together may take; `None` for no limit. It is checked before weights are
    /// read or converted, and whenever a session begins. ([`ModelInfo::memory_needed`](crate::model::ModelInfo) says
    /// what counts.)
    pub memory_budget: Option<u64>,
}

/// Where the weights of a file are that has three ternary ones in five bits.
///
/// Either way the model's weights are the same. Its scores may differ in the last bits, since sums are cut at other
/// columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TernaryResidence {
    /// Whichever is faster with the engine's backend: dense with `avx512vbmi`, which looks trits up, expanded with others.
    #[default]
    Auto,
    /// In the mapped file as they are: the least memory, and none of it the process's own.
    Dense,
    /// In two bits each, in memory of the process, a fifth more.
    Expanded,
}

impl TernaryResidence {
    /// Whether weights are expanded for a backend.
    fn expands(self, backend: Backend) -> bool {
        match self {
            TernaryResidence::Auto => !backend.looks_up_trits(),
            TernaryResidence::Dense => false,
            TernaryResidence::Expanded => true,
        }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            threads: None,
            backend: None,
            precision: Precision::Int8,
            prefill_chunk: 128,
            chat_template: None,
            ternary: TernaryResidence::Auto,
            i2s_order: I2sOrder::default(),
            adapter: None,
            memory_budget: None,
        }
    }
}

impl EngineOptions {
    /// The instruction set that an engine with these options uses.
    pub(super) fn backend(&self) -> Result<Backend, EngineError> {
        self.backend.map_or_else(backend_from_environment, Ok)
    }

    /// How weights are loaded for it.
    pub(super) fn load(&self, backend: Backend) -> LoadOptions {
        LoadOptions {
            i2s_order: self.i2s_order,
            expand_trits: self.ternary.expands(backend),
        }
    }

    /// Threads asked for.
    pub(super) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(Pool::default_threads)
    }
}

fn backend_from_environment() -> Result<Backend, EngineError> {
    let Some(name) = std::env::var_os(BACKEND_VARIABLE).filter(|name| !name.is_empty()) else {
        return Ok(Backend::detect());
    };
    let name = name.to_string_lossy().into_owned();
    Backend::from_name(&name).ok_or_else(|| {
        let available: Vec<_> = Backend::available().map(Backend::name).collect();
        EngineError::Backend {
            name,
            available: available.join(", "),
        }
    })
}
