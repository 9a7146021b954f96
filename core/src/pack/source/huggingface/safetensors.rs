//! `*.safetensors`: the weights, in one file or in several with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::super::place_of;
use super::{PackError, read_json};
use crate::gguf::GgmlType;
use crate::pages::release_file;
use crate::{Error, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The mapped files of a checkpoint and where in them each tensor is.
pub(super) struct Shards {
    directory: PathBuf,
    maps: Vec<Mmap>,
    tensors: BTreeMap<String, Entry>,
}

struct Entry {
    map: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// In the map; as long as shape and type say.
    bytes: Range<usize>,
}

/// A tensor of a checkpoint.
pub(super) struct Tensor<'a> {
    pub ty: GgmlType,
    pub shape: &'a [usize],
    pub data: &'a [u8],
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let mut shards = Self {
            directory: directory.to_owned(),
            maps: Vec::new(),
            tensors: BTreeMap::new(),
        };
        for file in files(directory)? {
            shards.add(&directory.join(file))?;
        }
        Ok(shards)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let broken = |source| PackError::Safetensors {
            path: path.to_owned(),
            source,
        };
        // Before opening, because opening a pipe waits for its other end.
        if !path.metadata().map_err(io)?.is_file() {
            return Err(missing(path).into());
        }
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(broken(safetensors::SafeTensorError::HeaderTooSmall).into());
        }
        // SAFETY: a private read-only mapping. As with a GGUF, the caller is asked not to change the file meanwhile;
        // what is read from it is checked as untrusted data, and any bytes are valid floats.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let start = map.as_ptr() as usize;
        for (name, view) in SafeTensors::deserialize(&map).map_err(broken)?.tensors() {
            let data = view.data();
            let first = data.as_ptr() as usize - start;
            let entry = Entry {
                map: self.maps.len(),
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: first..first + data.len(),
            };
            if self.tensors.insert(name.clone(), entry).is_some() {
                return Err(PackError::DuplicateTensor {
                    path: path.to_owned(),
                    name,
                }
                .into());
            }
        }
        self.maps.push(map);
        Ok(())
    }

    /// Gives back the memory of a tensor's data.
    pub(super) fn release(&self, data: &[u8]) {
        for map in &self.maps {
            if let Some(bytes) = place_of(data, map) {
                // SAFETY: all of them map files.
                unsafe { release_file(map, bytes) }
            }
        }
    }

    /// The directory they are in.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor called `name`.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor called `name`, if there is one.
    ///
    /// # Errors
    /// [`PackError::Dtype`] if it holds something else than floats.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>, PackError> {
        let Some(entry) = self.tensors.get(name) else {
            return Ok(None);
        };
        let ty = match entry.dtype {
            Dtype::F32 => GgmlType::F32,
            Dtype::F16 => GgmlType::F16,
            Dtype::BF16 => GgmlType::BF16,
            other => {
                return Err(PackError::Dtype {
                    name: name.to_owned(),
                    dtype: format!("{other:?}"),
                });
            }
        };
        Ok(Some(Tensor {
            ty,
            shape: &entry.shape,
            data: self.data(entry),
        }))
    }

    /// Shape and bytes of the tensor called `name`, if there is one and it holds bytes.
    pub(super) fn bytes(&self, name: &str) -> Option<(&[usize], &[u8])> {
        let entry = self.tensors.get(name).filter(|entry| entry.dtype == Dtype::U8)?;
        Some((&entry.shape, self.data(entry)))
    }

    fn data(&self, entry: &Entry) -> &[u8] {
        let data = self.maps.get(entry.map).and_then(|map| map.get(entry.bytes.clone()));
        data.unwrap_or_default()
    }
}

/// The names of the files that hold the weights.
fn files(directory: &Path) -> Result<Vec<String>> {
    let index_path = directory.join(INDEX);
    if let Some(index) = read_json::<Index>(&index_path)? {
        let files: BTreeSet<String> = index.weight_map.into_values().collect();
        // An index must not lead out of the directory.
        let is_plain = |file: &String| {
            let mut components = Path::new(file).components();
            matches!(
                (components.next(), components.next()),
                (Some(Component::Normal(_)), None)
            )
        };
        return match files.iter().find(|file| !is_plain(file)) {
            Some(file) => Err(PackError::ShardName {
                path: index_path,
                name: file.clone(),
            }
            .into()),
            None => Ok(files.into_iter().collect()),
        };
    }
    if directory.join(SINGLE).exists() {
        return Ok(vec![SINGLE.to_owned()]);
    }
    let io = |source| Error::Io {
        path: directory.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".safetensors") {
            found.push(name);
        }
    }
    match found.len() {
        1 => Ok(found),
        _ => Err(missing(&directory.join(SINGLE)).into()),
    }
}

fn missing(path: &Path) -> PackError {
    PackError::MissingFile {
        path: path.to_owned(),
        purpose: "the weights",
    }
}
