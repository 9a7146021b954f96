//! How far archiving or unpacking has come.

use std::ops::ControlFlow;

use super::ArchiveError;

/// How far archiving or unpacking has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The tensor under way; empty before the first.
    pub part: &'a str,
    /// Bytes of the model file that are done.
    pub bytes_done: u64,
    /// Bytes of the model file.
    pub bytes: u64,
}

/// Bytes between two reports, however small the blocks are that they come in.
const STEP: u64 = 1 << 20;

/// Reports every MiB, and the end.
pub(super) struct Reports<'p> {
    listener: &'p mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    bytes_done: u64,
    bytes: u64,
}

impl<'p> Reports<'p> {
    /// Of a file of so many bytes.
    pub fn new(bytes: u64, listener: &'p mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Self {
        Self {
            listener,
            bytes_done: 0,
            bytes,
        }
    }

    /// Adds bytes of a part that are done.
    ///
    /// # Errors
    /// [`ArchiveError::Cancelled`] if the listener wants no more.
    pub fn advance(&mut self, part: &str, bytes: usize) -> Result<(), ArchiveError> {
        let before = self.bytes_done;
        self.bytes_done += bytes as u64;
        if before / STEP == self.bytes_done / STEP && self.bytes_done < self.bytes {
            return Ok(());
        }
        let progress = Progress {
            part,
            bytes_done: self.bytes_done,
            bytes: self.bytes,
        };
        match (self.listener)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ArchiveError::Cancelled),
        }
    }
}
