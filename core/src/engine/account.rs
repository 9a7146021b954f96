//! What an engine and its sessions take of the memory, how much they may, and what can be given back.

use super::EngineError;
use crate::Result;
use crate::model::LoadedModel;
use crate::session::Slot;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How badly memory is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimLevel {
    /// Gives back what costs little to have again: pages of the mapped file, working memory, and what a cache once held
    /// and no longer does.
    Moderate,
    /// Gives back the whole caches of idle sessions too. Their conversations stay: the next answer reads them again.
    Critical,
}

/// What an engine takes, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryReport {
    /// The mapped model file, or the copy of one that was given as bytes. What is not in use the system may drop.
    pub file_bytes: u64,
    /// Weights in memory of the process.
    pub weights_heap_bytes: u64,
    /// The sessions.
    pub sessions: Vec<SessionReport>,
    /// What everything together may take.
    pub budget: Option<u64>,
    /// What the whole process has in memory now, mapped files included. Only Linux and Android say.
    pub resident_bytes: Option<u64>,
}

impl MemoryReport {
    /// What the sessions take when they are full.
    pub fn sessions_bytes(&self) -> u64 {
        self.sessions.iter().map(|session| session.bytes).sum()
    }
}

/// What a session takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionReport {
    /// Bytes when it is full, which is what counts against the budget.
    pub bytes: u64,
    /// Tokens that are cached.
    pub cached_tokens: usize,
    /// Bytes of their keys and values.
    pub cached_bytes: u64,
    /// It is in the middle of an answer.
    pub is_busy: bool,
}

/// Weights and sessions.
pub(crate) struct Account {
    budget: Option<u64>,
    /// What the budget must hold besides sessions.
    weights: u64,
    sessions: Mutex<Vec<Weak<Slot>>>,
}

impl Account {
    pub fn new(budget: Option<u64>, model: &LoadedModel) -> Self {
        Account {
            budget,
            weights: (model.mapped_bytes() + model.heap_bytes()) as u64,
            sessions: Mutex::default(),
        }
    }

    /// Makes a session's memory, if it fits.
    pub fn admit(&self, bytes: u64, make: impl FnOnce() -> Result<Slot>) -> Result<Arc<Slot>> {
        let mut sessions = self.lock();
        sessions.retain(|session| session.strong_count() > 0);
        if let Some(budget) = self.budget {
            let others = sessions.iter().filter_map(Weak::upgrade).map(|slot| slot.bytes());
            let needed = others.fold(self.weights.saturating_add(bytes), u64::saturating_add);
            if needed > budget {
                return Err(EngineError::MemoryBudget { needed, budget }.into());
            }
        }
        let slot = Arc::new(make()?);
        sessions.push(Arc::downgrade(&slot));
        Ok(slot)
    }

    pub fn trim(&self, level: TrimLevel) {
        for session in self.lock().iter().filter_map(Weak::upgrade) {
            session.trim(level);
        }
    }

    pub fn report(&self, model: &LoadedModel) -> MemoryReport {
        MemoryReport {
            file_bytes: model.file().bytes().len() as u64,
            weights_heap_bytes: model.heap_bytes() as u64,
            sessions: self
                .lock()
                .iter()
                .filter_map(Weak::upgrade)
                .map(|session| session.report())
                .collect(),
            budget: self.budget,
            resident_bytes: resident_bytes(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Slot>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the process has in memory, where the system says so in a file.
fn resident_bytes() -> Option<u64> {
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}
