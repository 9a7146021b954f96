//! safetensors files, written a piece at a time: the crate's own writer cannot fail in the middle of a tensor.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use halfpi::gguf::AtomicFile;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::OutputError;
use crate::Result;

/// A tensor to be written.
pub(super) struct Entry<T> {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// What it is written from.
    pub from: T,
}

impl<T> Entry<T> {
    fn bytes(&self) -> usize {
        let bits = self
            .shape
            .iter()
            .fold(self.dtype.bitsize(), |bits, &length| bits.saturating_mul(length));
        bits / 8
    }
}

/// Takes the next bytes of a tensor.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// Writes the file `path`, which appears when it is complete. `fill` gives the bytes of each tensor.
pub(super) fn write<T>(
    path: &Path,
    metadata: HashMap<String, String>,
    mut tensors: Vec<Entry<T>>,
    mut fill: impl FnMut(&Entry<T>, Sink<'_>) -> Result<()>,
) -> Result<()> {
    let broken = |source| OutputError::Safetensors {
        path: path.to_owned(),
        source,
    };
    // The format's order: wide types first, so that all are aligned.
    tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
    let mut end = 0usize;
    let infos = tensors.iter().map(|tensor| {
        let start = end;
        end = end.saturating_add(tensor.bytes());
        let info = TensorInfo {
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            data_offsets: (start, end),
        };
        (tensor.name.clone(), info)
    });
    let header = Metadata::new(Some(metadata), infos.collect()).map_err(broken)?;
    let header = serde_json::to_string(&header).map_err(|error| broken(error.into()))?;
    let header_bytes = header.len().next_multiple_of(8);

    let mut file = AtomicFile::create(path)?;
    let failed = |error| halfpi::Error::Write(error);
    file.write_all(&(header_bytes as u64).to_le_bytes()).map_err(failed)?;
    file.write_all(header.as_bytes()).map_err(failed)?;
    let spaces = [b' '; 8];
    file.write_all(&spaces[..header_bytes - header.len()]).map_err(failed)?;
    for tensor in &tensors {
        let mut found = 0usize;
        fill(tensor, &mut |bytes| {
            found += bytes.len();
            Ok(file.write_all(bytes).map_err(failed)?)
        })?;
        let expected = tensor.bytes();
        if found != expected {
            let name = tensor.name.clone();
            return Err(OutputError::Length { name, expected, found }.into());
        }
    }
    Ok(file.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deep models have headers of more than 64 KB, and names need not be ASCII.
    #[test]
    fn headers_of_any_length_are_read_back() {
        let path = std::env::temp_dir().join(format!("halfpi-tensors-{}.safetensors", std::process::id()));
        for count in [1, 2, 1000] {
            let tensors = (0..count).map(|i| Entry {
                name: format!("model.layers.{i}.φ.weight"),
                dtype: Dtype::U8,
                shape: vec![3],
                from: i as u8,
            });
            let fill = |entry: &Entry<u8>, sink: Sink<'_>| sink(&[entry.from; 3]);
            write(&path, HashMap::new(), tensors.collect(), fill).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(read.len(), count);
            for i in 0..count {
                let tensor = read.tensor(&format!("model.layers.{i}.φ.weight")).unwrap();
                assert_eq!(tensor.data(), [i as u8; 3]);
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
