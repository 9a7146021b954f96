//! Puts files together byte by byte, with nothing checked.
//!
//! Apart from the library's own writer, which cannot make these mistakes, and whose mistakes this would repeat.

/// A file in the making.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    version: u32,
    metadata: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    /// The counts in the header, where they are not the true ones.
    metadata_count: Option<u64>,
    tensor_count: Option<u64>,
    data: Vec<u8>,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self {
            version: 3,
            metadata: Vec::new(),
            tensors: Vec::new(),
            metadata_count: None,
            tensor_count: None,
            data: Vec::new(),
        }
    }

    pub(super) fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// A metadata entry of the given type number, with its value as it stands in the file.
    pub(super) fn value(self, key: &str, ty: u32, value: &[u8]) -> Self {
        self.entry(&[&string(key), &ty.to_le_bytes()[..], value].concat())
    }

    /// A metadata entry as it stands in the file.
    pub(super) fn entry(mut self, bytes: &[u8]) -> Self {
        self.metadata.push(bytes.to_vec());
        self
    }

    /// A tensor of the given type number, whose data is at `offset` in the data section.
    pub(super) fn tensor(self, name: &str, dims: &[u64], ty: u32, offset: u64) -> Self {
        self.raw_tensor(name.as_bytes(), dims.len() as u32, dims, ty, offset)
    }

    pub(super) fn raw_tensor(mut self, name: &[u8], n_dims: u32, dims: &[u64], ty: u32, offset: u64) -> Self {
        let mut tensor = raw_string(name);
        tensor.extend(n_dims.to_le_bytes());
        tensor.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        tensor.extend(ty.to_le_bytes());
        tensor.extend(offset.to_le_bytes());
        self.tensors.push(tensor);
        self
    }

    pub(super) fn metadata_count(mut self, count: u64) -> Self {
        self.metadata_count = Some(count);
        self
    }

    pub(super) fn tensor_count(mut self, count: u64) -> Self {
        self.tensor_count = Some(count);
        self
    }

    /// `len` bytes in the data section, not all alike.
    pub(super) fn data(mut self, len: u8) -> Self {
        self.data = (0..len).collect();
        self
    }

    pub(super) fn build(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        file.extend(self.metadata_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        file.extend(self.metadata.concat());
        file.extend(self.tensors.concat());
        if !self.data.is_empty() {
            file.resize(file.len().next_multiple_of(32), 0);
            file.extend(self.data);
        }
        file
    }
}

/// A string as it stands in a file.
pub(super) fn string(text: &str) -> Vec<u8> {
    raw_string(text.as_bytes())
}

/// A string that need not be one.
pub(super) fn raw_string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

/// An array as it stands in a file.
pub(super) fn array(element_type: u32, len: u64, elements: &[u8]) -> Vec<u8> {
    [&element_type.to_le_bytes()[..], &len.to_le_bytes(), elements].concat()
}
