//! Puts archives together byte by byte, with nothing checked.
//!
//! Apart from the library's own archiver, which cannot make these mistakes, and whose mistakes this would repeat.

use sha2::{Digest, Sha256};

/// An archive in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft(Vec<u8>);

impl Draft {
    /// The beginning, of the archive of a file of this length.
    pub(super) fn new(file_bytes: u64) -> Self {
        Self([&b"HPAR\x01\0\0\0"[..], &file_bytes.to_le_bytes()].concat())
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// The beginning of a part.
    pub(super) fn part(self, name: &str, bytes: u64) -> Self {
        self.raw(&[1, name.len() as u8])
            .raw(name.as_bytes())
            .raw(&bytes.to_le_bytes())
    }

    /// A block of a part, in its coded form.
    pub(super) fn block(self, bytes: u32, coded: &[u8]) -> Self {
        self.raw(&bytes.to_le_bytes())
            .raw(&(coded.len() as u32).to_le_bytes())
            .raw(coded)
    }

    /// The checksum of a part of this name and contents.
    pub(super) fn crc(self, name: &str, part: &[u8]) -> Self {
        self.raw(&crc32fast::hash(&[name.as_bytes(), part].concat()).to_le_bytes())
    }

    /// A whole part of one block.
    pub(super) fn whole_part(self, name: &str, part: &[u8], coded: &[u8]) -> Self {
        let bytes = part.len() as u64;
        self.part(name, bytes).block(bytes as u32, coded).crc(name, part)
    }

    /// The end of the archive of this file.
    pub(super) fn end(self, file: &[u8]) -> Self {
        self.raw(&[0]).raw(&Sha256::digest(file))
    }

    pub(super) fn build(self) -> Vec<u8> {
        self.0
    }
}

/// A block of one lane.
pub(super) fn one_lane(coding: u8, data: &[u8]) -> Vec<u8> {
    [&[1][..], &lane(coding, data)].concat()
}

/// A block of several lanes.
pub(super) fn lanes(runs: &[u16], lanes: &[Vec<u8>]) -> Vec<u8> {
    let mut block = vec![runs.len() as u8];
    block.extend(runs.iter().flat_map(|run| run.to_le_bytes()));
    block.extend(lanes.concat());
    block
}

pub(super) fn lane(coding: u8, data: &[u8]) -> Vec<u8> {
    [&[coding][..], &(data.len() as u32).to_le_bytes(), data].concat()
}

/// A table of the bytes that occur, in order, and their frequencies as they are written.
pub(super) fn table(occurring: &[u8], frequencies: &[u8]) -> Vec<u8> {
    [&bits(occurring)[..], frequencies].concat()
}

/// 256 bits, of which these are set.
pub(super) fn bits(set: &[u8]) -> [u8; 32] {
    let mut bits = [0; 32];
    for &bit in set {
        bits[usize::from(bit / 8)] |= 1 << (bit % 8);
    }
    bits
}

/// A stream that begins with eight times the same state.
pub(super) fn stream(state: u32, words: &[u8]) -> Vec<u8> {
    [&state.to_le_bytes().repeat(8)[..], words].concat()
}
