use crate::gguf::{Gguf, ModelFile};
use sha2::{Digest, Sha256};

/// Bytes of a sample of a tensor.
const SAMPLE: usize = 64;

/// What tells a model from others without reading all of it: SHA-256 of the file's length, of everything before the first
/// tensor (metadata with the tokenizer, names, types and places of all tensors), and of 64 bytes at the beginning, in the
/// middle and at the end of every tensor.
///
/// Two files with the same fingerprint have the same shape, vocabulary and template. Training changes weights everywhere,
/// so that another checkpoint differs in the samples too; a file in which someone changed single bytes may not.
pub(crate) fn fingerprint(file: &ModelFile, gguf: &Gguf<'_>) -> [u8; 32] {
    let bytes = file.bytes();
    let header = gguf.tensors().iter().map(|tensor| tensor.offset).min();
    let header = header.map_or(bytes.len(), |end| (end as usize).min(bytes.len()));
    let mut hash = Sha256::new();
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(&bytes[..header]);
    for tensor in gguf.tensors() {
        let data = gguf.data(tensor);
        let last = data.len().saturating_sub(SAMPLE);
        for start in [0, last / 2, last] {
            hash.update(&data[start..data.len().min(start + SAMPLE)]);
        }
    }
    hash.finalize().into()
}
