//! Archives: a model file as it is downloaded, entropy-coded, from which the run-time file comes back bit for bit.
//!
//! Weights are stored in the width that a processor reads fast, not in as few bits as they need: a ternary weight takes
//! 2 bits where it carries at most 1.58, the levels of a φ ladder are not equally frequent, and the sign and exponent of
//! scales hardly vary. An archive has each byte in as many bits as its frequency asks for
//! ([rANS](https://arxiv.org/abs/1311.2540)), block by block, so that it is written and read as a stream, in little
//! memory and on several threads.
//!
//! Nothing is believed before it is checked: each tensor has a CRC-32, the whole file a SHA-256, and [`unpack`] puts the
//! file in its place after all of them were right.
//!
//! # Format
//! All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `HPAR` |
//! | 4 | version, 1 |
//! | 8 | length of the file |
//! | … | parts: what comes before the first tensor, then each tensor with the padding after it, in the file's order |
//! | 1 | 0 |
//! | 32 | SHA-256 of the file |
//!
//! A part:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 1 |
//! | 1, … | name of the tensor: its length, UTF-8; empty for what comes before the first one |
//! | 8 | length of the part |
//! | … | blocks of at most 1 MiB: length (4), length when coded (4), and `core/src/archive/block.rs` says what follows |
//! | 4 | CRC-32 of the name and the part |

mod block;
mod error;
mod frequencies;
mod lanes;
mod pipeline;
mod rans;
mod read;
mod sections;
mod write;

pub use error::ArchiveError;
pub use read::{Unpacked, Unpacker, unpack};
pub use write::{Archived, create, write};

const MAGIC: &[u8; 4] = b"HPAR";
const VERSION: u32 = 1;
/// What stands before a part.
const PART: u8 = 1;
/// What stands before the end.
const END: u8 = 0;

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
