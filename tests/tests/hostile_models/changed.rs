//! A good model with some things changed.

use halfpi::gguf::{GgmlType, Gguf, Value, Writer};
use halfpi::pack::synthetic::{Storage, SyntheticModel};
use halfpi::transformer::Architecture;
use std::collections::HashSet;

/// A model file in the making.
#[derive(Clone)]
pub struct Changed {
    original: Vec<u8>,
    dropped: HashSet<&'static str>,
    set: Vec<(&'static str, Value<'static>)>,
    lists: Vec<(&'static str, Vec<String>)>,
    tensors: Vec<Tensor>,
}

#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dims: Vec<u64>,
    pub ty: GgmlType,
    pub data: Vec<u8>,
}

/// A good one.
pub fn model(architecture: Architecture, format: &str) -> Changed {
    let storage = Storage::by_name(format).unwrap();
    let original = SyntheticModel::tiny(architecture)
        .with_storage(storage)
        .to_bytes()
        .unwrap();
    let gguf = Gguf::parse(&original).unwrap();
    let tensors = gguf
        .tensors()
        .iter()
        .map(|tensor| Tensor {
            name: tensor.name.to_owned(),
            dims: tensor.dims().to_vec(),
            ty: tensor.ty,
            data: gguf.data(tensor).to_vec(),
        })
        .collect();
    Changed {
        tensors,
        original,
        dropped: HashSet::new(),
        set: Vec::new(),
        lists: Vec::new(),
    }
}

/// A good one of the llama family with 4-bit weights.
pub fn llama() -> Changed {
    model(Architecture::Llama, "q4_0")
}

impl Changed {
    pub fn without(mut self, key: &'static str) -> Self {
        self.dropped.insert(key);
        self
    }

    pub fn set(mut self, key: &'static str, value: impl Into<Value<'static>>) -> Self {
        self.set.push((key, value.into()));
        self.without(key)
    }

    pub fn set_strings(mut self, key: &'static str, values: Vec<String>) -> Self {
        self.lists.push((key, values));
        self.without(key)
    }

    pub fn names(&self) -> Vec<String> {
        self.tensors.iter().map(|tensor| tensor.name.clone()).collect()
    }

    pub fn without_tensor(mut self, name: &str) -> Self {
        self.tensor(name);
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    pub fn with_tensor(mut self, name: &str, dims: &[u64], ty: GgmlType) -> Self {
        let bytes: u64 = ty.row_bytes(dims[0]).unwrap() * dims[1..].iter().product::<u64>();
        self.tensors.push(Tensor {
            name: name.to_owned(),
            dims: dims.to_vec(),
            ty,
            data: vec![0; bytes as usize],
        });
        self
    }

    /// The tensor of this name, to be changed.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    /// The model after a change of one tensor.
    pub fn change(mut self, name: &str, change: impl FnOnce(&mut Tensor)) -> Self {
        change(self.tensor(name));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let original = Gguf::parse(&self.original).unwrap();
        let mut writer = Writer::new();
        writer
            .copy_metadata(&original, |key| !self.dropped.contains(key))
            .unwrap();
        for (key, value) in &self.set {
            writer.set(key, *value).unwrap();
        }
        for (key, values) in &self.lists {
            writer.set_strings(key, values).unwrap();
        }
        for tensor in &self.tensors {
            writer.declare(&tensor.name, &tensor.dims, tensor.ty).unwrap();
        }
        let mut out = writer.write_header(Vec::new()).unwrap();
        for tensor in &self.tensors {
            out.write(&tensor.name, &tensor.data).unwrap();
        }
        out.finish().unwrap()
    }
}

impl Tensor {
    /// Gives it another shape, filled up or cut.
    pub fn reshape(&mut self, dims: &[u64]) {
        let row_bytes = self.ty.row_bytes(dims[0]).unwrap();
        self.data
            .resize((row_bytes * dims[1..].iter().product::<u64>()) as usize, 0);
        self.dims = dims.to_vec();
    }

    /// Another type with as many values, all zero.
    pub fn retype(&mut self, ty: GgmlType) {
        self.ty = ty;
        let dims = self.dims.clone();
        self.data.clear();
        self.reshape(&dims);
    }
}
