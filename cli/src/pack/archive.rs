//! `halfpi pack --archive`: the packed file once more, in as few bytes as a download allows.

use std::path::Path;

use halfpi::archive;
use halfpi::gguf::ModelFile;
use serde::Serialize;

use crate::interrupt::Interrupt;
use crate::output::{Outcome, bytes, hex, one_line};
use crate::progress;

/// What is in the archive and how large it is.
#[derive(Serialize)]
pub struct Archived {
    pub output: String,
    pub archive_bytes: u64,
    /// Of the packed file.
    pub sha256: String,
}

impl Archived {
    /// A line about it, beside a packed file of `file_bytes`.
    pub fn text(&self, file_bytes: u64) -> String {
        let share = self.archive_bytes as f64 / file_bytes as f64 * 100.0;
        let output = one_line(&self.output, 200);
        format!("{output}: {}, {share:.1}% of that\n", bytes(self.archive_bytes))
    }
}

/// Writes the packed file `model` as an archive.
pub fn write(model: &Path, output: &Path, threads: usize, interrupt: &Interrupt) -> Outcome<Archived> {
    let file = ModelFile::open(model)?;
    let bar = progress::bar(file.bytes().len() as u64, "bytes");
    let archived = archive::create(&file, output, threads, &mut |progress| {
        bar.set_position(progress.bytes_done);
        interrupt.go_on()
    });
    bar.finish_and_clear();
    let archived = archived.map_err(|error| format!("{error}; {} is complete without the archive", model.display()))?;
    Ok(Archived {
        output: output.display().to_string(),
        archive_bytes: archived.archive_bytes,
        sha256: hex(&archived.sha256),
    })
}
