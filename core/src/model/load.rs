use super::adapter::Adapter;
use super::convert::fill_arena;
use super::progress::Steps;
use super::tensors::{Place, Plan};
use super::{LoadListener, LoadOptions, ModelError, read_config, scales};
use crate::Result;
use crate::gguf::{Gguf, ModelFile};
use crate::transformer::{Config, Layer, Model};
use halfpi_kernels::Parallel;
use halfpi_kernels::format::Matrix;
use memmap2::MmapMut;
use self_cell::self_cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A model file whose weights are ready to multiply with.
///
/// Packed and float tensors stay in the mapped file; llama.cpp's block types (and dense trits, where [`LoadOptions`] ask
/// for it) are packed into memory of their own, and the file's pages given back as that goes on.
pub struct LoadedModel {
    config: Config,
    mapped_bytes: usize,
    weights: Weights,
    adapter: Option<Adapter>,
}

/// What the weights borrow from.
struct Storage {
    file: ModelFile,
    arena: Option<MmapMut>,
    vectors: Vec<f32>,
}

/// A [`Model`] that owns its list of layers.
struct Parts<'a> {
    token_embd: Matrix<'a>,
    layers: Vec<Layer<'a>>,
    output_norm: &'a [f32],
    output: Matrix<'a>,
    rope_freqs: &'a [f32],
}

self_cell!(
    struct Weights {
        owner: Storage,
        #[covariant]
        dependent: Parts,
    }
);

impl LoadedModel {
    /// Reads the metadata, finds and checks every tensor, and packs those that need it.
    ///
    /// Every scale and minimum is looked at: none may be infinite or not a number. That of a group may be zero, that of a
    /// whole tensor not. Codes cannot be wrong, and floats are not read.
    ///
    /// # Errors
    /// [`GgufError`](crate::gguf::GgufError) and [`ModelError`]: the file is broken, incomplete or of a kind that does
    /// not run here. Within [`Error::ModelFile`](crate::Error::ModelFile) if the file has a name.
    pub fn new(file: ModelFile, parallel: &dyn Parallel) -> Result<Self> {
        Self::with_options(file, LoadOptions::default(), parallel)
    }

    /// The same with other options than the usual.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(file: ModelFile, options: LoadOptions, parallel: &dyn Parallel) -> Result<Self> {
        let mut go_on = |_| ControlFlow::Continue(());
        let prepared = Prepared::new(&file, &file.gguf()?, options, parallel, &mut go_on);
        prepared.map_err(|error| file.name_in(error))?.finish(file)
    }

    /// The same with a low-rank adapter beside the weights (LoRA, arXiv:2106.09685), in place of any other: a GGUF as
    /// llama.cpp has them, `adapter.type` `lora`. Its matrices are copied out of the file.
    ///
    /// # Errors
    /// [`AdapterError`](super::AdapterError): the file is none, damaged, or another model's.
    pub fn with_adapter(self, file: &ModelFile) -> Result<Self> {
        let adapter = Some(Adapter::new(file, &self.config)?);
        Ok(Self { adapter, ..self })
    }

    /// The highest rank of the adapter; 0 without one.
    pub fn adapter_rank(&self) -> usize {
        self.adapter.as_ref().map_or(0, Adapter::rank)
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file it came from.
    pub fn file(&self) -> &ModelFile {
        &self.weights.borrow_owner().file
    }

    /// Bytes of weights that were packed into memory of their own.
    pub fn arena_bytes(&self) -> usize {
        self.weights
            .borrow_owner()
            .arena
            .as_ref()
            .map_or(0, |arena| arena.len())
    }

    /// Bytes of weights that are used in the file as they are.
    pub fn mapped_bytes(&self) -> usize {
        self.mapped_bytes
    }

    /// Bytes of memory that weights take beside the file.
    pub fn heap_bytes(&self) -> usize {
        let adapter = self.adapter.as_ref().map_or(0, Adapter::bytes);
        self.arena_bytes() + size_of_val(&self.weights.borrow_owner().vectors[..]) + adapter
    }

    /// Gives back the memory of the mapped file; what is used of it is read again.
    pub(crate) fn release_file(&self) {
        let file = self.file();
        file.release(0..file.bytes().len());
    }

    /// The weights, ready to run.
    pub fn model(&self) -> Model<'_> {
        let parts = self.weights.borrow_dependent();
        Model {
            config: self.config,
            token_embd: parts.token_embd,
            layers: &parts.layers,
            output_norm: parts.output_norm,
            output: parts.output,
            rope_freqs: parts.rope_freqs,
            adapter: self.adapter.as_ref().map_or(&[], Adapter::layers),
            adapter_rank: self.adapter_rank(),
        }
    }

    /// Bytes of weights that one decoded token reads.
    pub fn bytes_per_token(&self) -> usize {
        let parts = self.weights.borrow_dependent();
        let layers = parts.layers.iter().flat_map(|layer| {
            [
                layer.attn_q,
                layer.attn_k,
                layer.attn_v,
                layer.attn_output,
                layer.ffn_gate,
                layer.ffn_up,
                layer.ffn_down,
            ]
        });
        layers.chain([parts.output]).map(|matrix| matrix.bytes()).sum()
    }
}

/// Everything about a model that does not borrow from its file.
pub(crate) struct Prepared {
    config: Config,
    plan: Plan,
    arena: Option<MmapMut>,
    vectors: Vec<f32>,
}

impl Prepared {
    /// The long part of loading.
    pub(crate) fn new(
        file: &ModelFile,
        gguf: &Gguf<'_>,
        options: LoadOptions,
        parallel: &dyn Parallel,
        listener: &mut LoadListener<'_>,
    ) -> Result<Self> {
        let config = read_config(gguf)?;
        let plan = Plan::new(gguf, &config, options)?;
        let (converted, as_it_is) = (plan.bytes_to_convert(), plan.bytes_in_file());
        let mut steps = Steps::new(converted + as_it_is, listener);
        let mut vectors = Vec::with_capacity(plan.vector_floats);
        for (bytes, float) in &plan.vectors {
            vectors.extend(float.iter(&file.bytes()[bytes.clone()]));
        }
        let packed = plan.packed().map(|(_, place)| place.bytes_in_file() as u64);
        steps.advance(as_it_is - packed.sum::<u64>())?;
        scales::check(file, &plan, parallel, &mut steps)?;
        // Last, because it gives back what was read of the file: a vector's neighbours came with it.
        let arena = fill_arena(file, &plan.conversions, plan.arena_bytes, parallel, &mut steps)?;
        steps.finish()?;
        Ok(Prepared {
            config,
            plan,
            arena,
            vectors,
        })
    }

    /// The model's shape.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Joins it with its file.
    pub(crate) fn finish(self, file: ModelFile) -> Result<LoadedModel> {
        let Prepared {
            config,
            plan,
            arena,
            vectors,
        } = self;
        let mapped_bytes = plan.mapped_bytes();
        let storage = Storage { file, arena, vectors };
        let weights = Weights::try_new(storage, |storage| Parts::new(storage, &config, &plan.places))?;
        Ok(LoadedModel {
            config,
            mapped_bytes,
            weights,
            adapter: None,
        })
    }
}

impl<'a> Parts<'a> {
    fn new(storage: &'a Storage, config: &Config, places: &BTreeMap<String, Place>) -> Result<Self, ModelError> {
        let missing = |name: &str| ModelError::MissingTensor { name: name.to_owned() };
        let arena = storage.arena.as_deref().unwrap_or_default();
        let matrix = |name: &str| {
            let place = places
                .get(name)
                .and_then(|place| place.matrix(storage.file.bytes(), arena));
            place.ok_or_else(|| missing(name))
        };
        let vector = |name: &str| places.get(name).and_then(|place| place.vector(&storage.vectors));
        let required = |name: &str| vector(name).ok_or_else(|| missing(name));

        let layers = (0..config.block_count).map(|block| {
            let name = |suffix: &str| format!("blk.{block}.{suffix}");
            let pair = |a: &str, b: &str| Some([vector(&name(a))?, vector(&name(b))?]);
            let bias = |suffix: &str| vector(&name(suffix));
            Ok(Layer {
                attn_norm: required(&name("attn_norm.weight"))?,
                attn_q: matrix(&name("attn_q.weight"))?,
                attn_k: matrix(&name("attn_k.weight"))?,
                attn_v: matrix(&name("attn_v.weight"))?,
                attn_bias: match [bias("attn_q.bias"), bias("attn_k.bias"), bias("attn_v.bias")] {
                    [Some(q), Some(k), Some(v)] => Some([q, k, v]),
                    _ => None,
                },
                attn_qk_norm: pair("attn_q_norm.weight", "attn_k_norm.weight"),
                attn_sub_norm: vector(&name("attn_sub_norm.weight")),
                attn_output: matrix(&name("attn_output.weight"))?,
                ffn_norm: required(&name("ffn_norm.weight"))?,
                ffn_gate: matrix(&name("ffn_gate.weight"))?,
                ffn_up: matrix(&name("ffn_up.weight"))?,
                ffn_sub_norm: vector(&name("ffn_sub_norm.weight")),
                ffn_down: matrix(&name("ffn_down.weight"))?,
            })
        });
        let token_embd = matrix("token_embd.weight")?;
        Ok(Parts {
            token_embd,
            layers: layers.collect::<Result<_, ModelError>>()?,
            output_norm: required("output_norm.weight")?,
            // Files without an output matrix use the embedding for it.
            output: if places.contains_key("output.weight") {
                matrix("output.weight")?
            } else {
                token_embd
            },
            rope_freqs: vector("rope_freqs.weight").unwrap_or_default(),
        })
    }
}
