//! Why a model file was refused.

use super::{ForeignFormat, GgmlType};

/// A name from a file, fit for a message: a hostile one may be megabytes long or hold terminal escapes.
pub(crate) fn shown(name: &str) -> String {
    const MOST: usize = 80;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", name[..end].escape_debug()),
        None => name.escape_debug().to_string(),
    }
}

/// What is wrong with a GGUF file, where, and what to do about it.
///
/// Offsets are in bytes from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file has no bytes.
    #[error("the file is empty; its download or copy did not happen: get it again")]
    Empty,
    /// A directory, pipe or device was given where a file is needed.
    #[error("not a regular file, so it cannot be mapped; give a .gguf file")]
    NotAFile,
    /// A part of a file was asked for that is not inside it.
    #[error("{length} bytes from byte {offset} on are not inside the file, which has {file_bytes}")]
    NotInFile {
        /// Where the part begins.
        offset: u64,
        /// Its length.
        length: u64,
        /// The length of the file.
        file_bytes: u64,
    },
    /// The file was cut short after it had been mapped.
    #[error("the file shrank from {mapped} to {now} bytes while it was open; replace files by rename, not in place")]
    Shrank {
        /// Length when it was mapped.
        mapped: u64,
        /// Length now.
        now: u64,
    },
    /// The magic is missing.
    #[error("not a GGUF file: it looks like {looks_like}")]
    NotGguf {
        /// What the first bytes say.
        looks_like: ForeignFormat,
    },
    /// Written for big-endian machines.
    #[error("a big-endian GGUF; convert it with llama.cpp's gguf_convert_endian.py or get the little-endian file")]
    BigEndian,
    /// A version of the format that is not read here.
    #[error("GGUF version {version} is not supported (2 and 3 are); convert the model again with a current llama.cpp")]
    UnsupportedVersion {
        /// The version the file names.
        version: u32,
    },
    /// The file ends inside something.
    #[error(
        "the file ends inside {place}: {needed} bytes are needed at byte {offset} and {available} are left; \
         it is truncated or damaged, get it again"
    )]
    Truncated {
        /// What was being read.
        place: String,
        /// Where it starts.
        offset: u64,
        /// How many bytes it needs.
        needed: u64,
        /// How many bytes follow `offset`.
        available: u64,
    },
    /// A count in the header is impossible for a file of this length.
    #[error("{count} {what} (counted at byte {offset}) cannot fit in {available} bytes; the header is damaged")]
    CountTooLarge {
        /// What is counted.
        what: String,
        /// How many the header claims.
        count: u64,
        /// Where the count is.
        offset: u64,
        /// The bytes that are left for them.
        available: u64,
    },
    /// A string is not UTF-8.
    #[error("{place} is not UTF-8 at byte {offset}; the file is damaged or was written by a faulty converter")]
    NotUtf8 {
        /// Which string.
        place: String,
        /// Where the first wrong byte is.
        offset: u64,
    },
    /// A metadata value has a type this version of GGUF does not define.
    #[error(
        "key `{}` has a value of unknown type {id} at byte {offset}; the file is damaged or too new",
        shown(key)
    )]
    UnknownValueType {
        /// The key.
        key: String,
        /// The type number.
        id: u32,
        /// Where the type number is.
        offset: u64,
    },
    /// An array of arrays: no model needs one, and they can nest without end.
    #[error(
        "key `{}` holds an array of arrays at byte {offset}, which is not supported",
        shown(key)
    )]
    NestedArray {
        /// The key.
        key: String,
        /// Where the inner type number is.
        offset: u64,
    },
    /// A truth value that is neither 0 nor 1.
    #[error(
        "key `{}` holds a truth value of {value} at byte {offset}; only 0 and 1 are allowed",
        shown(key)
    )]
    BadBool {
        /// The key.
        key: String,
        /// The byte found.
        value: u8,
        /// Where it is.
        offset: u64,
    },
    /// Two metadata entries have one key.
    #[error("key `{}` appears more than once in the metadata", shown(key))]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// Two tensors have one name.
    #[error("tensor `{}` appears more than once", shown(name))]
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// `general.alignment` is not usable.
    #[error("general.alignment is {value}; it must be a power of two from 8 to 65536")]
    BadAlignment {
        /// The value in the file.
        value: u64,
    },
    /// A tensor has no dimensions, or more than four.
    #[error("tensor `{}` has {n_dims} dimensions; 1 to 4 are allowed", shown(name))]
    BadDimensionCount {
        /// The tensor.
        name: String,
        /// How many it claims.
        n_dims: u32,
    },
    /// A dimension is zero.
    #[error("tensor `{}` has the empty shape {dims:?}", shown(name))]
    EmptyTensor {
        /// The tensor.
        name: String,
        /// Its dimensions.
        dims: Vec<u64>,
    },
    /// The size of a tensor does not fit in 64 bits.
    #[error("tensor `{}` has the impossible shape {dims:?}", shown(name))]
    ShapeOverflow {
        /// The tensor.
        name: String,
        /// Its dimensions.
        dims: Vec<u64>,
    },
    /// A row does not divide into whole blocks of the tensor's type.
    #[error(
        "tensor `{}`: rows of {columns} values do not divide into the blocks of {} of type {ty}",
        shown(name),
        ty.block_size()
    )]
    PartialBlock {
        /// The tensor.
        name: String,
        /// Its type.
        ty: GgmlType,
        /// The length of its rows.
        columns: u64,
    },
    /// A tensor type that is not known here, so that its size is not known either.
    #[error(
        "tensor `{}` has type {id}, which this version does not know{}; \
         convert the original model with `halfpi pack`, or use a newer halfpi",
        shown(name),
        GgmlType::former_name(*id)
    )]
    UnknownType {
        /// The tensor.
        name: String,
        /// The type number.
        id: u32,
    },
    /// Tensor data does not start at a multiple of the alignment.
    #[error(
        "the data of tensor `{}` starts {offset} bytes into the data section, not at a multiple of {alignment}",
        shown(name)
    )]
    Misaligned {
        /// The tensor.
        name: String,
        /// Its offset as stored, from the start of the data section.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Tensor data lies past the end of the file.
    #[error(
        "the data of tensor `{}` ({bytes} bytes from byte {offset}) ends past the file's {file_bytes} bytes; \
         the file is truncated or damaged, get it again",
        shown(name)
    )]
    OutOfBounds {
        /// The tensor.
        name: String,
        /// Where its data starts; `u64::MAX` if the place does not fit in 64 bits.
        offset: u64,
        /// Its length in bytes.
        bytes: u64,
        /// The length of the file.
        file_bytes: u64,
    },
    /// Two tensors share bytes.
    #[error(
        "the data of tensors `{}` and `{}` overlap at byte {offset}; the file is damaged",
        shown(first),
        shown(second)
    )]
    Overlap {
        /// The tensor that starts first.
        first: String,
        /// The tensor that starts inside it.
        second: String,
        /// Where the second starts.
        offset: u64,
    },
    /// The metadata lacks a key.
    #[error(
        "the metadata has no key `{}`, which this model needs; convert the model again",
        shown(key)
    )]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A metadata value has another type than the one asked for, or does not fit in it.
    #[error("key `{}` should be {expected} and is {found}; convert the model again", shown(key))]
    WrongType {
        /// The key.
        key: String,
        /// The type asked for.
        expected: &'static str,
        /// The type, and for numbers the value, found.
        found: String,
    },
    /// While writing: data was given for another tensor than the next one declared.
    #[error(
        "data was given for tensor `{}`, but `{}` is due; write tensors in the order they were declared",
        shown(given),
        shown(due.as_deref().unwrap_or("none"))
    )]
    OutOfOrder {
        /// The tensor the data was for.
        given: String,
        /// The tensor that is due, if any.
        due: Option<String>,
    },
    /// While writing: more data was given than the declared shape holds.
    #[error("tensor `{}` was declared with {bytes} bytes and more data was given", shown(name))]
    TooMuchData {
        /// The tensor.
        name: String,
        /// Its declared length in bytes.
        bytes: u64,
    },
    /// While writing: the file was finished before all declared tensors had their data.
    #[error("tensor `{}` lacks {missing} bytes of its data", shown(name))]
    Unfinished {
        /// The tensor.
        name: String,
        /// How many bytes it still needs.
        missing: u64,
    },
}
