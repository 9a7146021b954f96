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
//! | … | blocks |
//! | 4 | CRC-32 of the name and the part |
//!
//! A block, up to 1 MiB of a part that is coded by itself. Its bytes are a cycle of runs, and lane `k` is the `k`-th run
//! of every cycle, so that the low and the high bytes of floats, say, are coded apart:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length |
//! | 4 | how many bytes follow |
//! | 1 | how many lanes, 1 to 8 |
//! | 2 each | if there are several: their runs, together no longer than the block |
//! | 1, 4, … | for each lane its coding, how many bytes follow, and |
//! | | coding 0: the lane as it is |
//! | | coding 1: a table, a stream |
//! | | coding 2: a bit for each byte (32 bytes) that another follows, a table for each of those, a stream: a byte has the table of the one before it, and the first one that of 0 |
//!
//! A table has a bit for each byte that occurs (32 bytes) and their frequencies, which sum up to 4096: in one byte below
//! 128, otherwise the low 7 bits with the top bit set, and the rest in a second byte.
//!
//! A stream is eight states of 32 bits, then words of 16 bits. Byte `i` comes from state `x` number `i % 8`: it is the
//! one whose range of frequencies, in the order of the bytes, holds `x % 4096`. With its frequency `f` and the sum `c` of
//! those before it, the state becomes `f * (x / 4096) + x % 4096 - c`, and if that is below 2^16, it is shifted up by 16
//! bits and the next word put below. At the end all states are 2^16 and no word is left.

mod block;
mod error;
mod frequencies;
mod lanes;
mod pipeline;
mod progress;
mod rans;
mod read;
mod sections;
mod write;

pub use error::ArchiveError;
pub use progress::Progress;
pub use read::{Unpacked, Unpacker, unpack};
pub use write::{Archived, create, write};

const MAGIC: &[u8; 4] = b"HPAR";
const VERSION: u32 = 1;
/// What stands before a part.
const PART: u8 = 1;
/// What stands before the end.
const END: u8 = 0;
