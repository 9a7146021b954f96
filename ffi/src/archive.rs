//! Model files as they are downloaded.

use crate::checksum::{hex, parse_sha256};
use crate::listener::Progress;
use crate::worker::caught;
use crate::{HalfpiError, LoadListener};
use halfpi::Error;
use halfpi::archive::Unpacker;
use halfpi::gguf::AtomicFile;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// What an archive held.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct UnpackedModel {
    /// Size of the model file.
    pub file_bytes: u64,
    /// Size of the archive.
    pub archive_bytes: u64,
    /// SHA-256 of the model file, in lower-case hexadecimal.
    pub sha256: String,
}

/// Restores the model file that `halfpi pack --archive` made the file `archive` of, bit for bit, and puts it at `target`.
///
/// This blocks the calling thread, on which the listener hears how far it is, MiB by MiB. What is at `target` stays until
/// everything is unpacked and every checksum is right, and stays if that fails; until then the new file grows beside it.
/// One process at a time may unpack to the same target: what one that was ended in the middle has left is removed.
///
/// `sha256` is what the model file must be, in hexadecimal; none for whatever the archive holds. `max_bytes` is the size
/// that it may have, which is checked before anything is written; none for no limit.
///
/// # Errors
/// `Archive`, `Io`, `InvalidOption` for a `sha256` that is none; `Cancelled` and `Callback` from the listener.
#[uniffi::export]
pub fn unpack_archive(
    archive: String,
    target: String,
    sha256: Option<String>,
    max_bytes: Option<u64>,
    listener: Option<Arc<dyn LoadListener>>,
) -> Result<UnpackedModel, HalfpiError> {
    caught(|| {
        let expected = sha256.as_deref().map(parse_sha256).transpose()?;
        let mut progress = Progress::begin(listener)?;
        let io = |path: &str, error: std::io::Error| HalfpiError::Io {
            path: path.to_owned(),
            detail: error.to_string(),
        };
        let refuse = |error: Error| match error {
            Error::Write(error) => io(&target, error),
            error => HalfpiError::new(&error, &archive),
        };
        let file = File::open(&archive).map_err(|error| io(&archive, error))?;
        let mut unpacker = Unpacker::new(BufReader::with_capacity(CHUNK, file)).map_err(refuse)?;
        if let Some(sha256) = expected {
            unpacker = unpacker.expect_sha256(sha256);
        }
        if let Some(most) = max_bytes {
            unpacker = unpacker.most_bytes(most);
        }
        let path = Path::new(&target);
        AtomicFile::remove_abandoned(path);
        let unpacked = unpacker.unpack(path, &mut |unpacked| {
            progress.tell(unpacked.bytes_done as f64 / unpacked.bytes as f64)
        });
        progress.told()?;
        let unpacked = unpacked.map_err(refuse)?;
        log::info!("{target}: {} bytes from {archive}", unpacked.file_bytes);
        Ok(UnpackedModel {
            file_bytes: unpacked.file_bytes,
            archive_bytes: unpacked.archive_bytes,
            sha256: hex(&unpacked.sha256),
        })
    })
}
