//! The corpus of broken GGUF files, and a walk through all that a good one offers.
//!
//! The files are committed in `tests/corpus/gguf`, where the fuzzer takes its seeds from too. They are compared with
//! what [`cases`] makes; `HALFPI_BLESS=1 cargo test -p halfpi-tests --test broken_files` writes them anew.

mod cases;
mod draft;

use std::path::PathBuf;

use halfpi::gguf::{Gguf, GgufError, Value, Writer};

pub use cases::{cases, small_file};

/// One file of the corpus.
#[derive(Debug)]
pub struct Case {
    /// The name of its file, without the ending.
    pub name: &'static str,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// What the reader must answer: the error, or `None` if the file is good.
    pub error: Option<GgufError>,
}

/// Where the corpus is committed.
pub fn corpus_directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "corpus", "gguf"].iter().collect()
}

/// Reads everything that a header offers, and panics if its parts disagree.
///
/// What is read goes into the returned sum, so that the compiler can leave nothing of it out.
pub fn walk(gguf: &Gguf<'_>) -> u64 {
    let mut sum = gguf.alignment() + u64::from(gguf.version());
    let mut add = |value: u64| sum = sum.wrapping_add(value);
    for (key, value) in gguf.metadata() {
        // Compared as text, because a NaN does not equal itself.
        assert_eq!(gguf.get(key).map(ToString::to_string), Some(value.to_string()));
        if let Some(array) = value.as_array() {
            assert_eq!(array.iter().count(), array.len());
            array.iter().for_each(|element| add(element.to_string().len() as u64));
        }
        let is_string_array = value.as_array().is_some_and(|array| array.strings().is_some());
        assert_eq!(gguf.strings(key).is_ok(), is_string_array);
        gguf.strings(key)
            .into_iter()
            .flatten()
            .for_each(|text| add(text.len() as u64));
        gguf.i32s(key)
            .into_iter()
            .flatten()
            .for_each(|number| add(number.unsigned_abs().into()));
        gguf.f32s(key)
            .into_iter()
            .flatten()
            .for_each(|number| add(number.to_bits().into()));
        add(gguf.u64(key).unwrap_or_default());
        add(gguf.u32(key).unwrap_or_default().into());
        add(gguf.f32(key).unwrap_or_default().to_bits().into());
        add(gguf.bool(key).unwrap_or_default().into());
        add(gguf.str(key).unwrap_or_default().len() as u64);
    }
    for tensor in gguf.tensors() {
        assert_eq!(gguf.tensor(tensor.name), Some(tensor));
        assert_eq!(tensor.rows() * tensor.columns(), tensor.elements());
        assert_eq!(
            tensor
                .ty
                .row_bytes(tensor.columns())
                .map(|row| row * tensor.rows() + tensor.ty.trailer_bytes()),
            Some(tensor.bytes)
        );
        let data = gguf.data(tensor);
        assert_eq!(data.len() as u64, tensor.bytes);
        data.iter().for_each(|&byte| add(byte.into()));
    }
    sum
}

/// Writes a file anew with the library's writer, and panics if it then reads differently.
pub fn rewrite(gguf: &Gguf<'_>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.copy_metadata(gguf, |_| true).unwrap();
    for tensor in gguf.tensors() {
        writer.declare(tensor.name, tensor.dims(), tensor.ty).unwrap();
    }
    let mut tensors = writer.write_header(Vec::new()).unwrap();
    for tensor in gguf.tensors() {
        // In two pieces, of which one may be empty.
        let (start, end) = gguf.data(tensor).split_at(tensor.bytes as usize / 2);
        tensors.write(tensor.name, start).unwrap();
        tensors.write(tensor.name, end).unwrap();
    }
    let bytes = tensors.finish().unwrap();

    let again = Gguf::parse(&bytes).unwrap();
    // The writer sets the alignment itself. Values are compared as text, because a NaN does not equal itself.
    let metadata = |file: &Gguf<'_>| -> Vec<String> {
        let entries = file.metadata().filter(|(key, _)| *key != "general.alignment");
        entries
            .map(|(key, value)| {
                let elements: Vec<Value<'_>> = value.as_array().iter().flatten().collect();
                format!("{key}: {value:?} {elements:?}")
            })
            .collect()
    };
    assert_eq!(metadata(&again), metadata(gguf));
    assert_eq!(again.tensors().len(), gguf.tensors().len());
    for (copied, tensor) in again.tensors().iter().zip(gguf.tensors()) {
        assert_eq!(
            (copied.name, copied.dims(), copied.ty),
            (tensor.name, tensor.dims(), tensor.ty)
        );
        assert_eq!(again.data(copied), gguf.data(tensor));
    }
    bytes
}
