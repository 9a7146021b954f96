//! GGUF, the container of model files: a reader that works in place over mapped bytes, and a streaming writer.
//!
//! Versions 2 and 3, little-endian, as described in
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. A file is a magic and a version, the metadata (typed
//! key-value pairs), the list of tensors, padding up to `general.alignment`, and the tensor data.
//!
//! The reader trusts nothing: every count, length and offset is checked against the bytes that are there before it is
//! used, and memory is only taken for what has been read. See [`GgufError`] for all it can refuse.

mod array;
mod atomic;
mod cursor;
mod error;
mod file;
mod foreign;
mod reader;
mod tensor;
mod value;
mod writer;

pub use array::{ArrayIter, ArrayView, StringArray, StringIter};
pub use atomic::AtomicFile;
pub use error::GgufError;
pub(crate) use error::shown;
pub use file::ModelFile;
pub use foreign::ForeignFormat;
pub use reader::Gguf;
pub use tensor::{GgmlType, MAX_DIMS, TensorInfo};
pub use value::{Value, ValueType};
pub use writer::{TensorWriter, Writer};

/// The first four bytes of every GGUF file.
const MAGIC: &[u8; 4] = b"GGUF";
/// The metadata key that holds the alignment of tensor data.
const ALIGNMENT_KEY: &str = "general.alignment";
/// What a file without [`ALIGNMENT_KEY`] means.
const DEFAULT_ALIGNMENT: u64 = 32;

/// Whether tensor data may be aligned to `alignment` bytes: a power of two from 8 to 65536.
fn is_sane_alignment(alignment: u64) -> bool {
    alignment.is_power_of_two() && (8..=65536).contains(&alignment)
}
