//! Codes and scales in safetensors: a packed model for whoever reads neither GGUF nor tiles.
//!
//! A matrix `NAME` is `NAME.codes`, I8 of `[rows, columns]`, and `NAME.scales`, F16 or F32 of `[rows, groups]`; a weight is
//! its code times the scale of its group, a group being `columns / groups` neighbours of a row. Codes are levels: the
//! integers of the format's table, so that nothing else is needed to read them. Other tensors are floats under their own
//! names. Names, rows and columns are GGUF's. `docs/formats.md` says what the metadata holds.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use halfpi::gguf::{GgmlType, Gguf, ModelFile};
use halfpi::pack::{Format, TensorShape};
use halfpi_kernels::format::{Codes, Packed};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::tensor_file::{self, Entry, Sink};
use super::{OutputError, Weights};
use crate::{Result, TrainError};

/// What the metadata has under `format`.
const FORMAT: &str = "halfpi-codes";
const VERSION: &str = "1";

/// A tensor of a packed file, or one of the two that it becomes.
enum Part<'a> {
    Codes(Packed<'a>),
    Scales(Packed<'a>),
    Floats(&'a [u8]),
}

/// Writes codes and scales of the packed GGUF file `packed` to the safetensors file `path`, which appears when it is
/// complete.
///
/// # Errors
/// [`OutputError::NotCodes`] for tensors that have a minimum beside their scale or are blocks of llama.cpp's, and
/// [`halfpi::Error`] if the files cannot be read or written.
pub fn write_codes(packed: &Path, path: &Path) -> Result<()> {
    let file = ModelFile::open(packed)?;
    let gguf = file.gguf()?;
    let mut entries = Vec::new();
    let mut formats = BTreeMap::new();
    for tensor in gguf.tensors() {
        let data = gguf.data(tensor);
        let name = tensor.name.to_owned();
        if tensor.ty == GgmlType::I8 {
            let packed = Packed::from_file_bytes(data).map_err(|_| not_codes(&name, tensor.ty.name()))?;
            if packed.layout().minima_offset().is_some() {
                return Err(not_codes(&name, "codes with minima").into());
            }
            formats.insert(name.clone(), json!({ "format": format_name(packed.codes()) }));
            entries.extend(halves(&name, packed));
            continue;
        }
        let dtype = match tensor.ty {
            GgmlType::F32 => Dtype::F32,
            GgmlType::F16 => Dtype::F16,
            GgmlType::BF16 => Dtype::BF16,
            other => return Err(not_codes(&name, other.name()).into()),
        };
        entries.push(Entry {
            name,
            dtype,
            shape: tensor.dims().iter().rev().map(|&length| length as usize).collect(),
            from: Part::Floats(data),
        });
    }
    let metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("version".to_owned(), VERSION.to_owned()),
        ("architecture".to_owned(), architecture(&gguf)?),
        ("tensors".to_owned(), json!(formats).to_string()),
    ]);
    tensor_file::write(path, metadata, entries, |entry, sink| fill(entry, sink))
}

fn not_codes(name: &str, ty: &str) -> OutputError {
    let (name, ty) = (name.to_owned(), ty.to_owned());
    OutputError::NotCodes { name, ty }
}

fn architecture(gguf: &Gguf<'_>) -> Result<String> {
    let name = gguf.str("general.architecture").map_err(halfpi::Error::from)?;
    Ok(name.to_owned())
}

/// The first format with these codes; a ladder of its own has none.
fn format_name(codes: Codes) -> Option<&'static str> {
    Format::all()
        .find(|format| format.codes() == Some(codes))
        .map(Format::name)
}

fn halves<'a>(name: &str, packed: Packed<'a>) -> [Entry<Part<'a>>; 2] {
    let layout = packed.layout();
    // The real form of complex rows has each part twice, with a scale for either: here each row has one part and its scale.
    let is_complex = packed.codes() == Codes::PhaseComplex;
    let (cols, groups) = if is_complex {
        (packed.cols() / 2, 1)
    } else {
        (packed.cols(), layout.scale_groups())
    };
    let scale = if layout.has_f32_scales() {
        Dtype::F32
    } else {
        Dtype::F16
    };
    [
        Entry {
            name: format!("{name}.codes"),
            dtype: Dtype::I8,
            shape: vec![packed.rows(), cols],
            from: Part::Codes(packed),
        },
        Entry {
            name: format!("{name}.scales"),
            dtype: scale,
            shape: vec![packed.rows(), groups],
            from: Part::Scales(packed),
        },
    ]
}

fn fill(entry: &Entry<Part<'_>>, sink: Sink<'_>) -> Result<()> {
    let (packed, is_codes) = match &entry.from {
        Part::Floats(bytes) => return sink(bytes),
        Part::Codes(packed) => (packed, true),
        Part::Scales(packed) => (packed, false),
    };
    // Columns of the matrix that a column here stands for.
    let cols = if packed.codes() == Codes::PhaseComplex {
        packed.cols() / 2
    } else {
        packed.cols()
    };
    let step = cols / entry.shape[1].max(1);
    let mut bytes = Vec::with_capacity(cols);
    for row in 0..packed.rows() {
        bytes.clear();
        for col in (0..cols).step_by(step) {
            let (level, scale, _) = packed
                .parts(row, col)
                .map_err(|_| not_codes(&entry.name, "a broken matrix"))?;
            match entry.dtype {
                _ if is_codes => bytes.push(level as u8),
                Dtype::F16 => bytes.extend(f16::from_f32(scale).to_le_bytes()),
                _ => bytes.extend(scale.to_le_bytes()),
            }
        }
        sink(&bytes)?;
    }
    Ok(())
}

/// A file that [`write_codes`] has written.
pub struct CodesFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl CodesFile {
    /// Reads the file `path` into memory: about a byte a weight.
    ///
    /// # Errors
    /// [`OutputError::Safetensors`] if it is none, and [`TrainError::Io`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let bytes = fs::read(&path).map_err(|source| TrainError::Io {
            path: path.clone(),
            source,
        })?;
        let file = Self { path, bytes };
        file.tensors()?;
        Ok(file)
    }

    fn tensors(&self) -> Result<SafeTensors<'_>> {
        let parsed = SafeTensors::deserialize(&self.bytes).map_err(|source| OutputError::Safetensors {
            path: self.path.clone(),
            source,
        });
        Ok(parsed?)
    }

    fn bad(&self, name: &str, problem: &'static str) -> TrainError {
        OutputError::BadCodes {
            path: self.path.clone(),
            name: name.to_owned(),
            problem,
        }
        .into()
    }
}

impl Weights for CodesFile {
    fn shapes(&self) -> Result<Vec<TensorShape>> {
        let tensors = self.tensors()?;
        let names = tensors.iter().filter(|(name, _)| !name.ends_with(".scales"));
        let shapes = names.map(|(name, view)| {
            let name = name.strip_suffix(".codes").unwrap_or(name);
            match view.shape() {
                [len] => Ok(TensorShape::vector(name, *len)),
                [rows, cols] => Ok(TensorShape::matrix(name, *rows, *cols)),
                _ => Err(self.bad(name, "is neither a matrix nor a vector")),
            }
        });
        let mut shapes = shapes.collect::<Result<Vec<_>>>()?;
        shapes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(shapes)
    }

    fn read(&self, tensor: &TensorShape) -> Result<Vec<f32>> {
        let (tensors, name) = (self.tensors()?, tensor.name.as_str());
        if let Ok(view) = tensors.tensor(name) {
            return self.floats(name, &view);
        }
        let part = |part: &str| {
            let view = tensors.tensor(&format!("{name}.{part}"));
            view.map_err(|_| self.bad(name, "lacks its codes or its scales"))
        };
        let (codes, scales) = (part("codes")?, part("scales")?);
        let ([rows, cols], [scale_rows, groups]) = (codes.shape(), scales.shape()) else {
            return Err(self.bad(name, "has codes or scales that are no matrix"));
        };
        let fits = codes.dtype() == Dtype::I8 && rows == scale_rows && *groups > 0 && cols.is_multiple_of(*groups);
        if !fits || *cols == 0 {
            return Err(self.bad(name, "has scales that do not fit its codes"));
        }
        let scales = self.floats(name, &scales)?;
        let groups = codes.data().chunks_exact(cols / groups).zip(scales);
        Ok(groups
            .flat_map(|(codes, scale)| codes.iter().map(move |&code| scale * f32::from(code as i8)))
            .collect())
    }
}

impl CodesFile {
    fn floats(&self, name: &str, view: &TensorView<'_>) -> Result<Vec<f32>> {
        let data = view.data();
        Ok(match view.dtype() {
            Dtype::F32 => data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F16 => data
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&b| f16::from_le_bytes(b).to_f32())
                .collect(),
            Dtype::BF16 => {
                let halves = data.as_chunks::<2>().0.iter();
                halves.map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect()
            }
            _ => return Err(self.bad(name, "holds no floats")),
        })
    }
}
