//! Whether a downloaded file is the one that was wanted.

use crate::HalfpiError;
use crate::worker::caught;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 18;

/// The SHA-256 of a file in lower-case hexadecimal. This blocks, for some seconds if the file is a large model.
///
/// It is here for Swift: the only implementations that Apple's systems bring are not on Linux, where downloads are
/// tested, and this library has one anyway.
///
/// # Errors
/// `Io`.
#[uniffi::export]
pub fn file_sha256(path: String) -> Result<String, HalfpiError> {
    caught(|| {
        sha256(&path).map_err(|error| HalfpiError::Io {
            path,
            detail: error.to_string(),
        })
    })
}

fn sha256(path: &str) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => hash.update(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hex(&hash.finalize()))
}

/// In lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // A String takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A SHA-256 in hexadecimal, of either case.
///
/// # Errors
/// `InvalidOption`.
pub(crate) fn parse_sha256(text: &str) -> Result<[u8; 32], HalfpiError> {
    let wrong = || HalfpiError::option("sha256", "not 64 hexadecimal digits");
    let digit = |byte: u8| char::from(byte).to_digit(16).ok_or_else(wrong);
    if text.len() != 64 {
        return Err(wrong());
    }
    let mut sha256 = [0; 32];
    for (byte, digits) in sha256.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
    }
    Ok(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_checksums_of_the_standard() {
        let path = std::env::temp_dir().join(format!("halfpi-checksum-{}", std::process::id()));
        let path = path.to_str().unwrap().to_owned();
        // FIPS 180-2, appendix B.1 and B.3.
        for (content, expected) in [
            (
                "abc".to_owned(),
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                "a".repeat(1_000_000),
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            ),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(file_sha256(path.clone()).unwrap(), expected);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(file_sha256(path.clone()), Err(HalfpiError::Io { path: missing, .. }) if missing == path));
    }
}
