//! What was found in the data.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::LineProblem;

/// Bad lines that are named.
const NAMED: usize = 20;

/// What was read, what became of it, and what could not be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataReport {
    /// Lines that were read, in every epoch again.
    pub lines: u64,
    /// Documents in them; of long texts, pieces.
    pub documents: u64,
    /// Those of them that are on the other side of the split.
    pub other_part: u64,
    /// Conversations among those that were taken.
    pub conversations: u64,
    /// Documents without a token.
    pub empty: u64,
    /// Tokens that were taken.
    pub tokens: u64,
    /// Those of them that count in the loss.
    pub trained_tokens: u64,
    /// Documents that are longer than a sequence and were split.
    pub split: u64,
    /// Documents that are longer than a sequence and were dropped.
    pub dropped: u64,
    /// Places of sequences that nothing was put in.
    pub padding: u64,
    /// Lines that could not be used.
    pub bad_lines: u64,
    /// The first of these.
    pub named: Vec<BadLine>,
}

/// A line that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadLine {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: u64,
    /// What is wrong.
    pub problem: String,
}

impl DataReport {
    /// Without the names.
    pub(super) fn counts(&self) -> Self {
        let named = Vec::new();
        Self { named, ..*self }
    }

    pub(super) fn add_bad_line(&mut self, file: &Path, line: u64, problem: &LineProblem) {
        self.bad_lines += 1;
        // In later epochs, and after resuming, some are met again.
        let file = file.display().to_string();
        let is_named = self.named.iter().any(|bad| bad.line == line && bad.file == file);
        if !is_named && self.named.len() < NAMED {
            let problem = problem.to_string();
            self.named.push(BadLine { file, line, problem });
        }
    }
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.documents.saturating_sub(self.other_part);
        writeln!(
            f,
            "{taken} of {} documents ({} conversations) taken from {} lines: {} tokens, {} of them in the loss",
            self.documents, self.conversations, self.lines, self.tokens, self.trained_tokens
        )?;
        let counts = [
            (self.empty, "documents without a token"),
            (self.split, "documents longer than a sequence, split"),
            (self.dropped, "documents longer than a sequence, dropped"),
            (self.padding, "places of sequences left empty"),
            (self.bad_lines, "lines that could not be used"),
        ];
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(f, "{count} {what}")?;
        }
        for BadLine { file, line, problem } in &self.named {
            writeln!(f, "  {file}:{line}: {problem}")?;
        }
        match self.bad_lines > self.named.len() as u64 && !self.named.is_empty() {
            true => writeln!(f, "  …"),
            false => Ok(()),
        }
    }
}
