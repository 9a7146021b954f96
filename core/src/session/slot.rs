//! The memory of a session, which its engine can reach too, to give back what is not in use.

use crate::engine::{SessionReport, TrimLevel};
use crate::pages::release_anonymous;
use halfpi_kernels::ops::KvLayout;
use memmap2::MmapMut;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// A session's memory. It is locked for each pass and no longer, so that the engine may look at it meanwhile.
pub(crate) struct Slot {
    layout: KvLayout,
    /// Everything, for the budget.
    bytes: u64,
    kv_bytes: usize,
    buffers: Mutex<Buffers>,
}

/// What is locked.
pub(super) struct Buffers {
    /// Keys and values of all layers.
    pub kv: MmapMut,
    /// Working memory of a pass: floats. Nothing in it outlives the pass.
    pub workspace: MmapMut,
    /// Positions whose keys and values are there: at least as many as the session has tokens, unless they were given
    /// back.
    pub positions: usize,
    /// Calls that use the cache now: nobody gives it back.
    turns: usize,
}

/// While it lives, nothing of the cache that is in use is given back.
pub(super) struct InUse(Arc<Slot>);

impl Slot {
    pub fn new(layout: KvLayout, bytes: u64, kv: MmapMut, workspace: MmapMut) -> Self {
        Slot {
            layout,
            bytes,
            kv_bytes: kv.len(),
            buffers: Mutex::new(Buffers {
                kv,
                workspace,
                positions: 0,
                turns: 0,
            }),
        }
    }

    /// How a layer's keys and values lie.
    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Everything, when it is full.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The cache, when it is full.
    pub fn kv_bytes(&self) -> usize {
        self.kv_bytes
    }

    /// Positions whose keys and values are there.
    pub fn positions(&self) -> usize {
        self.lock().positions
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Buffers> {
        // A pass that panicked has only written where nothing is yet.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(self: &Arc<Self>) -> InUse {
        self.lock().turns += 1;
        InUse(Arc::clone(self))
    }

    /// Where in the cache the keys and values of the first `positions` positions are, in order.
    pub(super) fn used(&self, positions: usize) -> impl Iterator<Item = Range<usize>> {
        let (layout, layer) = (self.layout, self.layout.bytes());
        (0..self.kv_bytes).step_by(layer.max(1)).flat_map(move |start| {
            let parts = layout.used(positions);
            parts.map(move |part| start + part.start..start + part.end)
        })
    }

    pub fn trim(&self, level: TrimLevel) {
        let mut buffers = match self.buffers.try_lock() {
            Ok(buffers) => buffers,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            // In the middle of a pass: what it uses is needed, and waiting for it may take long.
            Err(TryLockError::WouldBlock) => return,
        };
        let Buffers {
            kv,
            workspace,
            positions,
            turns,
        } = &mut *buffers;
        release_anonymous(workspace, 0..usize::MAX);
        if *turns == 0 && level == TrimLevel::Critical {
            *positions = 0;
        }
        let mut end = 0;
        for used in self.used(*positions) {
            release_anonymous(kv, end..used.start);
            end = used.end;
        }
        release_anonymous(kv, end..usize::MAX);
    }

    pub fn report(&self) -> SessionReport {
        let buffers = self.lock();
        SessionReport {
            bytes: self.bytes,
            cached_tokens: buffers.positions,
            cached_bytes: self.used(buffers.positions).map(|part| part.len() as u64).sum(),
            is_busy: buffers.turns > 0,
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.lock().turns -= 1;
    }
}
