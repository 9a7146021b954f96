//! What an engine takes, and how it takes less.

use halfpi::engine;

/// What an engine takes, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct MemoryReport {
    /// The mapped model file. What is not in use the system may drop.
    pub file_bytes: u64,
    /// Weights in memory of the process.
    pub weights_heap_bytes: u64,
    /// What the sessions take when they are full, together.
    pub sessions_bytes: u64,
    /// The sessions.
    pub sessions: Vec<SessionReport>,
    /// What everything together may take.
    pub budget_bytes: Option<u64>,
    /// What the whole process has in memory now, mapped files included. Only Linux and Android say.
    pub resident_bytes: Option<u64>,
}

/// What a session takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SessionReport {
    /// Bytes when it is full, which is what counts against the budget.
    pub bytes: u64,
    /// Tokens that are cached.
    pub cached_tokens: u64,
    /// Bytes of their keys and values.
    pub cached_bytes: u64,
    /// It is in the middle of an answer.
    pub is_busy: bool,
}

/// How badly memory is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum TrimLevel {
    /// Gives back what costs little to have again: pages of the mapped file and working memory.
    Moderate,
    /// Gives back the whole caches of idle sessions too. Their conversations stay: the next answer reads them again.
    Critical,
}

/// How much of the machine an engine uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Enum)]
pub enum PowerMode {
    /// All of its threads.
    #[default]
    Full,
    /// Half of its threads.
    Reduced,
    /// Nothing: answers wait for another mode, or for being cancelled.
    Paused,
}

impl From<engine::MemoryReport> for MemoryReport {
    fn from(report: engine::MemoryReport) -> Self {
        MemoryReport {
            file_bytes: report.file_bytes,
            weights_heap_bytes: report.weights_heap_bytes,
            sessions_bytes: report.sessions_bytes(),
            sessions: report.sessions.iter().map(SessionReport::from).collect(),
            budget_bytes: report.budget,
            resident_bytes: report.resident_bytes,
        }
    }
}

impl From<&engine::SessionReport> for SessionReport {
    fn from(report: &engine::SessionReport) -> Self {
        SessionReport {
            bytes: report.bytes,
            cached_tokens: report.cached_tokens as u64,
            cached_bytes: report.cached_bytes,
            is_busy: report.is_busy,
        }
    }
}

impl From<TrimLevel> for engine::TrimLevel {
    fn from(level: TrimLevel) -> Self {
        match level {
            TrimLevel::Moderate => engine::TrimLevel::Moderate,
            TrimLevel::Critical => engine::TrimLevel::Critical,
        }
    }
}

impl From<PowerMode> for engine::PowerMode {
    fn from(mode: PowerMode) -> Self {
        match mode {
            PowerMode::Full => engine::PowerMode::Full,
            PowerMode::Reduced => engine::PowerMode::Reduced,
            PowerMode::Paused => engine::PowerMode::Paused,
        }
    }
}

impl From<engine::PowerMode> for PowerMode {
    fn from(mode: engine::PowerMode) -> Self {
        match mode {
            engine::PowerMode::Full => PowerMode::Full,
            engine::PowerMode::Reduced => PowerMode::Reduced,
            engine::PowerMode::Paused => PowerMode::Paused,
        }
    }
}
