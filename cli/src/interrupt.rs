//! Ctrl-C, and `SIGTERM` of a scheduler, for commands that write files: they stop from within, so that no half of a file
//! stays behind, and training leaves a checkpoint.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::output::Outcome;

/// Whether the command was asked to stop.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on that is only noted.
    pub fn noted() -> Outcome<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&asked);
        ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
        #[cfg(unix)]
        signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&asked))?;
        Ok(Self(asked))
    }

    /// What to answer a function that reports progress.
    pub fn go_on(&self) -> ControlFlow<()> {
        if self.0.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
