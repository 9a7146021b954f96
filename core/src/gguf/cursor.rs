//! A checked reading position in the header of a file.

use super::GgufError;

/// Reads little-endian values from `bytes`, never past their end.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The bytes from the start of the file to here.
    pub(super) fn offset(&self) -> u64 {
        self.at as u64
    }

    /// How many bytes follow.
    pub(super) fn remaining(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The next `len` bytes. `place` names what they are, and is only called to report an error.
    pub(super) fn take(&mut self, len: u64, place: impl FnOnce() -> String) -> Result<&'a [u8], GgufError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(GgufError::Truncated {
                place: place(),
                offset: self.offset(),
                needed: len,
                available: self.remaining(),
            }),
        }
    }

    /// The next `N` bytes.
    pub(super) fn take_array<const N: usize>(&mut self, place: impl FnOnce() -> String) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, place)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, place: impl FnOnce() -> String) -> Result<u32, GgufError> {
        self.take_array(place).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, place: impl FnOnce() -> String) -> Result<u64, GgufError> {
        self.take_array(place).map(u64::from_le_bytes)
    }

    /// A string: its length in bytes (u64), then the bytes, which must be UTF-8.
    pub(super) fn string(&mut self, place: impl Fn() -> String) -> Result<&'a str, GgufError> {
        let len = self.u64(&place)?;
        let start = self.offset();
        str::from_utf8(self.take(len, &place)?).map_err(|e| GgufError::NotUtf8 {
            place: place(),
            offset: start + e.valid_up_to() as u64,
        })
    }

    /// What lies between `start`, an earlier [`Self::offset`], and here.
    pub(super) fn since(&self, start: u64) -> &'a [u8] {
        // `start` came from `at`, a usize.
        &self.bytes[start as usize..self.at]
    }
}
