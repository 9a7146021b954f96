//! Which tensors a model has, and where the weights of each will be.

use super::expected::optional_vectors;
use super::stock::{float_type, is_scale, scale_beside, scale_within, stock};
use super::{LoadOptions, ModelError, TensorShape, expected_tensors};
use crate::gguf::{GgmlType, Gguf, TensorInfo};
use crate::transformer::Config;
use halfpi_kernels::format::stock::Blocks;
use halfpi_kernels::format::{Dense, Float, HEADER_BYTES, Layout, Matrix, Packed};
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

/// Where a weight is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Floats, used in the file as they are.
    File {
        bytes: Range<usize>,
        rows: usize,
        cols: usize,
        float: Float,
    },
    /// A packed matrix, used in the file as it is.
    Packed { bytes: Range<usize>, layout: Layout },
    /// Weights of another layout, packed at load into the arena.
    Arena { bytes: Range<usize>, layout: Layout },
    /// A vector, widened to f32 at load.
    Floats { floats: Range<usize> },
}

/// A tensor that is packed at load.
#[derive(Clone, Debug)]
pub(super) struct Conversion {
    pub name: String,
    pub source: Source,
    /// In the file.
    pub from: Range<usize>,
    pub layout: Layout,
}

/// What it is packed from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Blocks of one of llama.cpp's types.
    Blocks(Blocks),
    /// A packed matrix of dense ternary weights, to be had in two bits each.
    Trits(Layout),
}

/// Every tensor's place, and what it takes to fill the arena and the vectors.
#[derive(Default)]
pub(super) struct Plan {
    pub places: BTreeMap<String, Place>,
    pub conversions: Vec<Conversion>,
    pub arena_bytes: usize,
    /// Vectors in the file, in the order of their floats.
    pub vectors: Vec<(Range<usize>, Float)>,
    pub vector_floats: usize,
}

/// Arena parts begin at cache lines.
const ALIGN: usize = 64;

impl Plan {
    /// Finds every tensor of the model and checks its type and shape.
    pub fn new(gguf: &Gguf<'_>, config: &Config, options: LoadOptions) -> Result<Self, ModelError> {
        let mut plan = Plan::default();
        let mut used = HashSet::new();
        let architecture = config.architecture;
        let tied = gguf.tensor("output.weight").is_none() && !architecture.is_complex();
        let matrices = expected_tensors(config, tied).filter(|tensor| !tensor.is_vector);
        let vectors = expected_tensors(config, tied).filter(|tensor| tensor.is_vector);

        let mut matrix = |plan: &mut Plan, name: String, rows, cols| {
            let tensor = gguf
                .tensor(&name)
                .ok_or_else(|| ModelError::MissingTensor { name: name.clone() })?;
            used.insert(tensor.name);
            let factor = scale_beside(gguf, &name)?;
            let factor = factor.map(|(scale, factor)| {
                used.insert(scale);
                factor
            });
            plan.matrix(gguf, tensor, (rows, cols), factor, options)
        };
        for TensorShape { name, rows, cols, .. } in matrices {
            // A complex matrix is there in parts, or twice as wide as the real one it stands for.
            let in_whole =
                architecture.is_complex() && columns(gguf, &name) == Some(2 * cols) && name.starts_with("blk.");
            matrix(&mut plan, name, rows, if in_whole { 2 * cols } else { cols })?;
        }

        let mut vector = |plan: &mut Plan, name: String, len| match gguf.tensor(&name) {
            Some(tensor) => {
                used.insert(tensor.name);
                plan.vector(tensor, len)
            }
            None => Err(ModelError::MissingTensor { name }),
        };
        for TensorShape { name, cols, .. } in vectors {
            vector(&mut plan, name, cols)?;
        }
        for vectors in optional_vectors(config) {
            if gguf.tensor(&vectors[0].name).is_some() {
                for TensorShape { name, cols, .. } in vectors {
                    vector(&mut plan, name, cols)?;
                }
            }
        }
        match gguf.tensors().iter().find(|tensor| !used.contains(tensor.name)) {
            None => Ok(plan),
            Some(tensor) => Err(ModelError::UnusedTensor {
                name: tensor.name.to_owned(),
                architecture: architecture.name(),
            }),
        }
    }

    /// Bytes of weights that are used in the file as they are.
    pub fn mapped_bytes(&self) -> usize {
        self.places.values().map(Place::bytes_in_file).sum()
    }

    /// The packed matrices that are used in the file as they are, by name.
    pub fn packed(&self) -> impl Iterator<Item = (&str, &Place)> {
        let places = self.places.iter().map(|(name, place)| (name.as_str(), place));
        places.filter(|(_, place)| matches!(place, Place::Packed { .. }))
    }

    /// Bytes of the file that are packed into the arena.
    pub fn bytes_to_convert(&self) -> u64 {
        self.conversions
            .iter()
            .map(|conversion| conversion.from.len() as u64)
            .sum()
    }

    /// Bytes of the file that are only checked, or widened.
    pub fn bytes_in_file(&self) -> u64 {
        let vectors = self.vectors.iter().map(|(bytes, _)| bytes.len() as u64);
        self.mapped_bytes() as u64 + vectors.sum::<u64>()
    }

    /// Bytes of memory that weights take beside the file.
    pub fn heap_bytes(&self) -> usize {
        self.arena_bytes + self.vector_floats * size_of::<f32>()
    }

    fn matrix(
        &mut self,
        gguf: &Gguf<'_>,
        tensor: &TensorInfo<'_>,
        (rows, cols): (usize, usize),
        factor: Option<f32>,
        options: LoadOptions,
    ) -> Result<(), ModelError> {
        let name = || tensor.name.to_owned();
        let format = |source| ModelError::Format { name: name(), source };
        let bytes = tensor.offset as usize..(tensor.offset + tensor.bytes) as usize;
        let stock = stock(tensor.ty, options.i2s_order);
        if factor.is_some() && stock.is_none() {
            return Err(ModelError::Scaled {
                name: name(),
                ty: tensor.ty,
            });
        }
        if tensor.ty == GgmlType::I8 {
            let data = gguf.data(tensor);
            let layout = Layout::from_header(data).map_err(format)?;
            let packed = Packed::from_file_bytes(data).map_err(format)?;
            expect_shape(tensor.name, [packed.cols(), packed.rows()], [cols, rows])?;
            let bytes = bytes.start + HEADER_BYTES..bytes.end;
            match layout.expanded().filter(|_| options.expand_trits) {
                Some(expanded) => self.convert(name(), Source::Trits(layout), bytes, expanded),
                None => self.place(name(), Place::Packed { bytes, layout }),
            }
            return Ok(());
        }
        expect_shape(
            tensor.name,
            [tensor.columns() as usize, tensor.rows() as usize],
            [cols, rows],
        )?;
        if let Some(stock) = stock {
            let blocks = Blocks {
                factor,
                ..stock.matrix(rows, cols)
            };
            let layout = blocks.layout().map_err(format)?;
            if let Some(value) = scale_within(tensor.ty, gguf.data(tensor)).filter(|&scale| !is_scale(scale)) {
                return Err(ModelError::Scale { name: name(), value });
            }
            self.convert(name(), Source::Blocks(blocks), bytes, layout);
            return Ok(());
        }
        let float = float_type(tensor.ty).ok_or_else(|| ModelError::Type {
            name: name(),
            ty: tensor.ty,
        })?;
        let place = Place::File {
            bytes,
            rows,
            cols,
            float,
        };
        self.place(name(), place);
        Ok(())
    }

    fn place(&mut self, name: String, place: Place) {
        self.places.insert(name, place);
    }

    /// Takes room in the arena.
    fn convert(&mut self, name: String, source: Source, from: Range<usize>, layout: Layout) {
        let start = self.arena_bytes;
        self.arena_bytes = (start + layout.bytes()).next_multiple_of(ALIGN);
        let bytes = start..start + layout.bytes();
        self.place(name.clone(), Place::Arena { bytes, layout });
        self.conversions.push(Conversion {
            name,
            source,
            from,
            layout,
        });
    }

    fn vector(&mut self, tensor: &TensorInfo<'_>, len: usize) -> Result<(), ModelError> {
        let float = float_type(tensor.ty);
        let float = float.ok_or_else(|| ModelError::Type {
            name: tensor.name.to_owned(),
            ty: tensor.ty,
        })?;
        if tensor.dims() != [len as u64] {
            let (expected, found) = (vec![len as u64], tensor.dims().to_vec());
            return Err(ModelError::Shape {
                name: tensor.name.to_owned(),
                expected,
                found,
            });
        }
        let start = self.vector_floats;
        self.vector_floats += len;
        self.vectors
            .push((tensor.offset as usize..(tensor.offset + tensor.bytes) as usize, float));
        self.places.insert(
            tensor.name.to_owned(),
            Place::Floats {
                floats: start..start + len,
            },
        );
        Ok(())
    }
}

/// The columns that a matrix says it has.
fn columns(gguf: &Gguf<'_>, name: &str) -> Option<usize> {
    let tensor = gguf.tensor(name)?;
    match tensor.ty {
        GgmlType::I8 => Packed::from_file_bytes(gguf.data(tensor))
            .ok()
            .map(|packed| packed.cols()),
        _ => usize::try_from(tensor.columns()).ok(),
    }
}

fn expect_shape(name: &str, found: [usize; 2], expected: [usize; 2]) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    let [expected, found] = [expected, found].map(|shape| shape.map(|length| length as u64).to_vec());
    Err(ModelError::Shape {
        name: name.to_owned(),
        expected,
        found,
    })
}

impl Place {
    /// Bytes of a matrix that is used in the file as it is.
    pub fn bytes_in_file(&self) -> usize {
        match self {
            Place::File { bytes, .. } | Place::Packed { bytes, .. } => bytes.len(),
            Place::Arena { .. } | Place::Floats { .. } => 0,
        }
    }

    /// The matrix here, if it is one.
    pub fn matrix<'a>(&self, file: &'a [u8], arena: &'a [u8]) -> Option<Matrix<'a>> {
        match self {
            Place::File {
                bytes,
                rows,
                cols,
                float,
            } => Dense::new(*rows, *cols, *float, file.get(bytes.clone())?)
                .ok()
                .map(Matrix::Dense),
            Place::Packed { bytes, layout } => Packed::new(*layout, file.get(bytes.clone())?).ok().map(Matrix::Packed),
            Place::Arena { bytes, layout } => Packed::new(*layout, arena.get(bytes.clone())?).ok().map(Matrix::Packed),
            Place::Floats { .. } => None,
        }
    }

    /// The vector here, if it is one.
    pub fn vector<'a>(&self, all: &'a [f32]) -> Option<&'a [f32]> {
        match self {
            Place::Floats { floats } => all.get(floats.clone()),
            _ => None,
        }
    }
}
