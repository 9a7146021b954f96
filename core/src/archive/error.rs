//! Why an archive was refused.

use std::fmt;

use crate::gguf::{ForeignFormat, shown};

/// What is wrong with an archive, where, and what to do about it.
///
/// Offsets are in bytes from the start of the archive. `part` is the name of a tensor, or empty for the metadata before
/// the tensors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It does not begin as an archive does.
    #[error("not a halfpi archive: it looks like {looks_like}")]
    NotAnArchive {
        /// What the first bytes say.
        looks_like: ForeignFormat,
    },
    /// A model file as it runs was given for an archive.
    #[error("a GGUF file and no archive: use it as it is")]
    IsAModel,
    /// A version of the format that is not read here.
    #[error("archive version {version} is not supported (1 is); use a newer halfpi")]
    UnsupportedVersion {
        /// The version that the archive names.
        version: u32,
    },
    /// It says that the file has no bytes, which no model has.
    #[error("the archive holds an empty file, and so no model; get it again")]
    Empty,
    /// The file inside is longer than it may be.
    #[error("the archive holds a file of {file_bytes} bytes, and at most {most} were allowed")]
    TooLarge {
        /// The length of the file, as the archive has it.
        file_bytes: u64,
        /// The most that was allowed.
        most: u64,
    },
    /// The archive ends too soon.
    #[error("the archive ends at byte {offset}, in the middle; its download was cut short, get it again")]
    Truncated {
        /// How long it is.
        offset: u64,
    },
    /// Something follows the end.
    #[error("the archive ends at byte {offset} and more follows; it is damaged, get it again")]
    TrailingBytes {
        /// Where it should end.
        offset: u64,
    },
    /// Neither a part nor the end begins where one of them must.
    #[error("the archive has an unknown mark, {mark}, at byte {offset}; it is damaged, get it again")]
    Mark {
        /// The byte found.
        mark: u8,
        /// Where it is.
        offset: u64,
    },
    /// The name of a part is not UTF-8.
    #[error("the archive has a name that is not UTF-8 at byte {offset}; it is damaged, get it again")]
    NotUtf8 {
        /// Where the name begins.
        offset: u64,
    },
    /// A length is 0, larger than it can be, or larger than what is left of the part or the file.
    #[error(
        "the archive has {bytes} bytes in {} at byte {offset} where 1 to {most} can be; it is damaged, get it again",
        Part(part)
    )]
    Length {
        /// The part.
        part: String,
        /// Where the length is.
        offset: u64,
        /// The length.
        bytes: u64,
        /// The largest that is possible there.
        most: u64,
    },
    /// The parts are together shorter than the file.
    #[error("the archive ends after {found} bytes of a file of {expected}; it is damaged, get it again")]
    Missing {
        /// The length of the file, as the archive's beginning has it.
        expected: u64,
        /// The length of all parts.
        found: u64,
    },
    /// A block that no archiver writes.
    #[error(
        "the archive has a block at byte {offset}, in {}, whose {what} impossible; it is damaged, get it again",
        Part(part)
    )]
    Block {
        /// The part.
        part: String,
        /// Where the block begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A part is not what was archived.
    #[error(
        "the checksum of {} is {found:08x} and should be {expected:08x}; the archive is damaged, get it again",
        Part(part)
    )]
    PartChecksum {
        /// The part.
        part: String,
        /// The CRC-32 in the archive.
        expected: u32,
        /// The CRC-32 of what was restored.
        found: u32,
    },
    /// The file as a whole is not what was archived.
    #[error(
        "the restored file has the SHA-256 {} and should have {}; the archive is damaged, get it again",
        Hex(found),
        Hex(expected)
    )]
    FileChecksum {
        /// The hash in the archive.
        expected: [u8; 32],
        /// The hash of what was restored.
        found: [u8; 32],
    },
    /// The archive is whole, but of another file than the one asked for.
    #[error(
        "the archive holds the file with SHA-256 {}, and {} was asked for; get the right one",
        Hex(found),
        Hex(expected)
    )]
    WrongFile {
        /// The hash asked for.
        expected: [u8; 32],
        /// The hash of what the archive holds.
        found: [u8; 32],
    },
    /// The caller stopped it.
    #[error("cancelled; nothing was written")]
    Cancelled,
}

/// A part as a message names it.
struct Part<'a>(&'a str);

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("the metadata"),
            name => write!(f, "tensor `{}`", shown(name)),
        }
    }
}

/// A hash as programs print it.
pub(super) struct Hex<'a>(pub(super) &'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
