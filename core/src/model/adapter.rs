//! Low-rank adapters in files of their own, as llama.cpp has them.

use super::{ModelError, TensorShape, expected_tensors};
use crate::Result;
use crate::gguf::{Gguf, ModelFile, TensorInfo};
use crate::transformer::{Config, LayerAdapter, LowRank};
use halfpi_kernels::format::{Dense, Float, Matrix};
use self_cell::self_cell;
use std::ops::Range;

/// Why a file is not an adapter of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The file is something else.
    #[error("it is no LoRA adapter: its {key} is {value:?}, and should be {expected:?}")]
    NotAdapter {
        /// The metadata key.
        key: &'static str,
        /// Its value; empty if there is none.
        value: String,
        /// What an adapter has.
        expected: String,
    },
    /// The family has complex weights, which adapters do not change.
    #[error("models of the family {architecture} have no adapters")]
    Complex {
        /// The family.
        architecture: &'static str,
    },
    /// The scale is no number that a scale can be.
    #[error("adapter.lora.alpha is {alpha}, and must be a finite number")]
    Alpha {
        /// What the file says.
        alpha: f32,
    },
    /// A tensor that changes no linear layer of the model.
    #[error(
        "its tensor {name:?} changes no linear layer of the model: adapters of embeddings and norms are not applied"
    )]
    Unknown {
        /// The tensor.
        name: String,
    },
    /// One of two matrices is missing.
    #[error("it has no tensor {name:?}, which belongs to one that it has; get the adapter again")]
    Unpaired {
        /// The tensor that is missing.
        name: String,
    },
    /// A matrix does not fit the layer, or its other half.
    #[error(
        "its tensor {name:?} has the shape {found:?}, and the model needs {expected:?} (columns, rows): another model's?"
    )]
    Shape {
        /// The tensor.
        name: String,
        /// What would fit.
        expected: [u64; 2],
        /// What the file has.
        found: Vec<u64>,
    },
    /// A matrix is not stored as floats.
    #[error("its tensor {name:?} has type {ty}: adapters are F32, F16 or BF16")]
    Type {
        /// The tensor.
        name: String,
        /// The type.
        ty: &'static str,
    },
    /// A weight is infinite or not a number.
    #[error("its tensor {name:?} has a weight that is not a finite number; the adapter is damaged")]
    NotFinite {
        /// The tensor.
        name: String,
    },
}

/// The linear layers of a block that may have an adapter.
const LAYERS: [&str; 7] = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
];

type Layers<'a> = Vec<LayerAdapter<'a>>;

self_cell!(
    /// An adapter's matrices, a layer's after another's.
    struct Matrices {
        owner: Vec<f32>,
        #[covariant]
        dependent: Layers,
    }
);

/// An adapter that fits a model.
pub(crate) struct Adapter {
    matrices: Matrices,
    /// The highest.
    rank: usize,
}

/// Where in the floats a layer's two matrices are.
struct Place {
    block: usize,
    layer: usize,
    rank: usize,
    rows: usize,
    cols: usize,
    start: usize,
}

impl Adapter {
    /// Reads an adapter of a model of this shape. Its matrices become f32, the scale multiplied into one of them.
    ///
    /// # Errors
    /// [`AdapterError`], within [`Error::ModelFile`](crate::Error::ModelFile) if the file has a name.
    pub(crate) fn new(file: &ModelFile, config: &Config) -> Result<Self> {
        let gguf = file.gguf()?;
        read(&gguf, config).map_err(|error| file.name_in(error))
    }

    pub(crate) fn layers(&self) -> &[LayerAdapter<'_>] {
        self.matrices.borrow_dependent()
    }

    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.matrices.borrow_owner()[..])
    }
}

fn read(gguf: &Gguf<'_>, config: &Config) -> Result<Adapter> {
    let architecture = config.architecture.name();
    if config.architecture.is_complex() {
        return Err(ModelError::from(AdapterError::Complex { architecture }).into());
    }
    for (key, expected) in [
        ("general.type", "adapter"),
        ("adapter.type", "lora"),
        ("general.architecture", architecture),
    ] {
        let value = gguf.opt_str(key)?.unwrap_or_default().to_owned();
        if value != expected {
            let expected = expected.to_owned();
            return Err(ModelError::from(AdapterError::NotAdapter { key, value, expected }).into());
        }
    }
    let alpha = gguf.f32("adapter.lora.alpha")?;
    if !alpha.is_finite() {
        return Err(ModelError::from(AdapterError::Alpha { alpha }).into());
    }
    let (floats, places) = matrices(gguf, config, alpha).map_err(ModelError::from)?;
    let rank = places.iter().map(|place| place.rank).max().unwrap_or(0);
    let matrices = Matrices::try_new(floats, |floats| layers(floats, &places, config.block_count))?;
    Ok(Adapter { matrices, rank })
}

/// All matrices of the file, and where they are.
fn matrices(gguf: &Gguf<'_>, config: &Config, alpha: f32) -> Result<(Vec<f32>, Vec<Place>), AdapterError> {
    let (mut floats, mut places, mut used) = (Vec::new(), Vec::new(), 0);
    for TensorShape { name, rows, cols, .. } in expected_tensors(config, true) {
        let Some((block, layer)) = place_of(&name) else {
            continue;
        };
        let [a, b] = ["lora_a", "lora_b"].map(|part| format!("{name}.{part}"));
        let (a, b) = match (gguf.tensor(&a), gguf.tensor(&b)) {
            (None, None) => continue,
            (Some(a), Some(b)) => (a, b),
            (None, Some(_)) => return Err(AdapterError::Unpaired { name: a }),
            (Some(_), None) => return Err(AdapterError::Unpaired { name: b }),
        };
        used += 2;
        let rank = a.rows();
        // No low rank is above that of the matrix; products of lengths then cannot overflow either.
        let rank = usize::try_from(rank)
            .ok()
            .filter(|rank| *rank <= rows.min(cols))
            .unwrap_or(rows.min(cols));
        let start = floats.len();
        append(gguf, a, [cols, rank], 1.0, &mut floats)?;
        append(gguf, b, [rank, rows], alpha / rank as f32, &mut floats)?;
        places.push(Place {
            block,
            layer,
            rank,
            rows,
            cols,
            start,
        });
    }
    if used != gguf.tensors().len() {
        let is_used = |tensor: &&TensorInfo<'_>| {
            let of = tensor
                .name
                .strip_suffix(".lora_a")
                .or(tensor.name.strip_suffix(".lora_b"));
            let block = of.and_then(place_of).map(|(block, _)| block);
            block.is_some_and(|block| block < config.block_count)
        };
        let unknown = gguf.tensors().iter().find(|tensor| !is_used(tensor));
        let name = unknown.map_or("", |tensor| tensor.name).to_owned();
        return Err(AdapterError::Unknown { name });
    }
    Ok((floats, places))
}

/// Block and layer of a tensor that may have an adapter.
fn place_of(name: &str) -> Option<(usize, usize)> {
    let (block, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let rest = rest.strip_suffix(".weight")?;
    let layer = LAYERS.iter().position(|layer| *layer == rest)?;
    Some((block.parse().ok()?, layer))
}

fn append(
    gguf: &Gguf<'_>,
    tensor: &TensorInfo<'_>,
    [cols, rows]: [usize; 2],
    scale: f32,
    floats: &mut Vec<f32>,
) -> Result<(), AdapterError> {
    let name = || tensor.name.to_owned();
    let expected = [cols as u64, rows as u64];
    if tensor.dims() != expected {
        let found = tensor.dims().to_vec();
        return Err(AdapterError::Shape {
            name: name(),
            expected,
            found,
        });
    }
    let float = super::stock::float_type(tensor.ty).ok_or_else(|| AdapterError::Type {
        name: name(),
        ty: tensor.ty.name(),
    })?;
    let first = floats.len();
    floats.extend(float.iter(gguf.data(tensor)).map(|weight| scale * weight));
    if floats[first..].iter().all(|weight| weight.is_finite()) {
        Ok(())
    } else {
        Err(AdapterError::NotFinite { name: name() })
    }
}

fn layers<'a>(floats: &'a [f32], places: &[Place], blocks: usize) -> Result<Layers<'a>, ModelError> {
    let mut layers = vec![LayerAdapter::default(); blocks];
    for place in places {
        let middle = place.start + place.rank * place.cols;
        let matrix = |rows, cols, at: Range<usize>| {
            let bytes = bytemuck::cast_slice(floats.get(at).unwrap_or_default());
            Dense::new(rows, cols, Float::F32, bytes).map(Matrix::Dense)
        };
        let a = matrix(place.rank, place.cols, place.start..middle);
        let b = matrix(place.rows, place.rank, middle..middle + place.rows * place.rank);
        let format = |source| ModelError::Format {
            name: format!("blk.{}.{}.weight", place.block, LAYERS[place.layer]),
            source,
        };
        let low_rank = LowRank {
            a: a.map_err(format)?,
            b: b.map_err(format)?,
        };
        let Some(layer) = layers.get_mut(place.block) else {
            continue;
        };
        let of = [
            &mut layer.attn_q,
            &mut layer.attn_k,
            &mut layer.attn_v,
            &mut layer.attn_output,
            &mut layer.ffn_gate,
            &mut layer.ffn_up,
            &mut layer.ffn_down,
        ];
        for (i, slot) in of.into_iter().enumerate() {
            if i == place.layer {
                *slot = Some(low_rank);
            }
        }
    }
    Ok(layers)
}
