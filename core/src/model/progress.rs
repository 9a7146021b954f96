use super::ModelError;
use std::ops::ControlFlow;

/// How far loading is, in bytes of the file's weights.
///
/// Weights that are used in the file as they are count when they have been checked, others when they are converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes that are ready.
    pub done: u64,
    /// Bytes of all weights.
    pub total: u64,
}

impl LoadProgress {
    /// The part that is done, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.total == 0 {
            1.0
        } else {
            self.done as f64 / self.total as f64
        }
    }
}

/// Takes how far loading is, on the thread that loads; `Break` cancels it.
pub type LoadListener<'a> = dyn FnMut(LoadProgress) -> ControlFlow<()> + 'a;

/// Counts, and asks whether to go on.
pub(super) struct Steps<'l, 'f> {
    progress: LoadProgress,
    listener: &'l mut LoadListener<'f>,
}

impl<'l, 'f> Steps<'l, 'f> {
    pub fn new(total: u64, listener: &'l mut LoadListener<'f>) -> Self {
        let progress = LoadProgress { done: 0, total };
        Steps { progress, listener }
    }

    /// Adds `bytes` that are ready.
    pub fn advance(&mut self, bytes: u64) -> Result<(), ModelError> {
        self.progress.done = (self.progress.done + bytes).min(self.progress.total);
        match (self.listener)(self.progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ModelError::Cancelled),
        }
    }

    /// Says that everything is ready, unless that was said.
    pub fn finish(&mut self) -> Result<(), ModelError> {
        let left = self.progress.total - self.progress.done;
        if left > 0 { self.advance(left) } else { Ok(()) }
    }
}
