//! Random models: every architecture and weight format in milliseconds, without a download.
//!
//! They run like real ones (weights are scaled so that activations neither vanish nor explode) and say nonsense. The
//! tokenizer is a small byte-level BPE that encodes any text. One seed gives one file, on every machine.

mod codes;
mod random;
mod shapes;
mod vocabulary;
mod weights;

use std::io::Write;
use std::path::Path;

use self::random::Random;
use self::vocabulary::Vocabulary;
pub use self::weights::Storage;
use super::PackError;
use super::metadata::{LAYOUT_VERSION, LAYOUT_VERSION_KEY, set_config};
use crate::Result;
use crate::gguf::{AtomicFile, GgmlType, ModelFile, Writer};
use crate::model::{TensorShape, expected_tensors};
use crate::transformer::{Architecture, Config};

/// What a random model looks like. Change the fields at will before writing it.
///
/// ```
/// use halfpi::pack::synthetic::{Storage, SyntheticModel};
/// use halfpi::transformer::Architecture;
///
/// let mut model = SyntheticModel::tiny(Architecture::Qwen3).with_storage(Storage::by_name("q4_0").unwrap());
/// model.config.block_count = 1;
/// let file = model.to_model_file()?;
/// assert_eq!(file.gguf()?.u32("qwen3.block_count")?, 1);
/// # Ok::<(), halfpi::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SyntheticModel {
    /// The shape. `vocab_size` must be at least [`SyntheticModel::MIN_VOCAB_SIZE`].
    pub config: Config,
    /// Whether the embedding matrix is the output matrix too.
    pub tied: bool,
    /// How `token_embd.weight` is stored.
    pub embedding: Storage,
    /// How query, key, value and attention output are stored.
    pub attention: Storage,
    /// How gate, up and down are stored.
    pub feed_forward: Storage,
    /// How `output.weight` is stored, if the model is not tied.
    pub output: Storage,
    /// What all weights follow from.
    pub seed: u64,
}

/// A tensor's name, its GGUF dimensions (length of a row, rows) and what it holds.
struct Tensor {
    name: String,
    cols: usize,
    /// 0 for a vector.
    rows: usize,
    contents: Contents,
}

enum Contents {
    /// f32, spread evenly by 0.1 around this.
    Vector { around: f32 },
    /// Weights with this standard deviation.
    Matrix { storage: Storage, deviation: f32 },
}

impl SyntheticModel {
    /// 256 bytes and the special tokens.
    pub const MIN_VOCAB_SIZE: usize = 256 + vocabulary::SPECIAL.len();

    /// A model of two small layers that still has every feature of its family: several query heads to a key head,
    /// matrices that end in a part of a tile, an output matrix of its own where the family may have one.
    pub fn tiny(architecture: Architecture) -> Self {
        let config = Config {
            architecture,
            block_count: 2,
            embedding_length: 64,
            // Packed matrices take channels by 32, and complex ones are two floats each.
            feed_forward_length: if architecture.is_complex() { 192 } else { 160 },
            head_count: 4,
            head_count_kv: 2,
            head_dim: 16,
            vocab_size: 421,
            context_length: 512,
            layer_norm_rms_epsilon: 1e-5,
            rope_freq_base: 10_000.0,
            rope_scale: 1.0,
            rope_dimension_count: 16,
        };
        // llama.cpp's bitnet knows no output matrix.
        Self::new(config, architecture == Architecture::BitNet)
    }

    /// A model of this shape with f32 weights.
    pub fn new(config: Config, tied: bool) -> Self {
        let storage = Storage::F32;
        Self {
            config,
            tied,
            embedding: storage,
            attention: storage,
            feed_forward: storage,
            output: storage,
            seed: 1,
        }
    }

    /// The shape of a known model: one of [`names`](Self::names).
    pub fn by_name(name: &str) -> Option<Self> {
        shapes::SHAPES
            .iter()
            .find(|shape| shape.name == name)
            .map(|shape| shape.model())
    }

    /// The known models.
    pub fn names() -> impl Iterator<Item = &'static str> {
        shapes::SHAPES.iter().map(|shape| shape.name)
    }

    /// The same with all matrices stored in one way, or those that are not complex as `q8` if only complex ones can be.
    pub fn with_storage(self, storage: Storage) -> Self {
        let real = if storage.is_complex() { Storage::Q8 } else { storage };
        Self {
            embedding: real,
            attention: storage,
            feed_forward: storage,
            output: real,
            ..self
        }
    }

    /// The same with the embedding and the output matrix stored in another way.
    pub fn with_head(self, storage: Storage) -> Self {
        Self {
            embedding: storage,
            output: storage,
            ..self
        }
    }

    /// The same with other weights.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// How many weights it has, vectors included.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(Tensor::parameters).sum()
    }

    /// The whole file in memory.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.write(Vec::new())
    }

    /// A model file that exists in memory only.
    ///
    /// # Errors
    /// As [`write`](Self::write), and [`Error::Io`](crate::Error::Io) if there is not enough memory.
    pub fn to_model_file(&self) -> Result<ModelFile> {
        let header = self.header()?;
        let bytes = header.file_bytes() as usize;
        ModelFile::in_memory(bytes, |map| self.write_after(header, map).map(drop))
    }

    /// Writes the file `path`.
    ///
    /// # Errors
    /// As [`write`](Self::write), and [`Error::Io`](crate::Error::Io) if `path` cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write(AtomicFile::create(path.as_ref())?)?.commit()
    }

    /// Writes the model as GGUF and gives the output back.
    ///
    /// # Errors
    /// [`PackError`] if there is no such model, [`Error::Write`](crate::Error::Write) if `out` fails.
    pub fn write<W: Write>(&self, out: W) -> Result<W> {
        self.write_after(self.header()?, out)
    }

    /// Everything before the weights.
    fn header(&self) -> Result<Writer> {
        self.check()?;
        let mut writer = Writer::new();
        self.set_metadata(&mut writer)?;
        Vocabulary::new(self.config.vocab_size).set_metadata(&mut writer, self.pre_tokenizer())?;
        for tensor in self.tensors() {
            tensor.declare(&mut writer)?;
        }
        Ok(writer)
    }

    fn write_after<W: Write>(&self, header: Writer, out: W) -> Result<W> {
        let mut out = header.write_header(out)?;
        for (index, tensor) in self.tensors().iter().enumerate() {
            // A seed for each tensor: changing one leaves the others as they are.
            let mut random = Random::new(self.seed.wrapping_mul(0x1_0000).wrapping_add(index as u64));
            tensor.fill(&mut random, &mut |bytes| out.write(&tensor.name, bytes))?;
        }
        out.finish()
    }

    fn set_metadata(&self, writer: &mut Writer) -> Result<()> {
        let config = &self.config;
        writer.set("general.architecture", config.architecture.name())?;
        writer.set("general.type", "model")?;
        writer.set("general.name", "synthetic")?;
        writer.set("general.quantization_version", 2u32)?;
        set_config(writer, config)?;
        if self.matrices().iter().any(|tensor| tensor.is_packed()) {
            writer.set(LAYOUT_VERSION_KEY, LAYOUT_VERSION)?;
        }
        Ok(())
    }

    fn pre_tokenizer(&self) -> &'static str {
        match self.config.architecture {
            Architecture::Llama => "smollm",
            Architecture::Qwen2 | Architecture::Qwen3 => "qwen2",
            Architecture::BitNet | Architecture::IFairy => "llama-bpe",
        }
    }

    /// All tensors: matrices first, so that a change of the vectors leaves their weights as they are.
    fn tensors(&self) -> Vec<Tensor> {
        let shapes = expected_tensors(&self.config, self.tied);
        shapes.map(|shape| self.tensor(shape)).collect()
    }

    fn matrices(&self) -> Vec<Tensor> {
        let mut tensors = self.tensors();
        tensors.retain(|tensor| tensor.rows > 0);
        tensors
    }

    fn tensor(&self, shape: TensorShape) -> Tensor {
        let TensorShape {
            name, rows, mut cols, ..
        } = shape;
        if shape.is_vector {
            let around = if name.ends_with(".bias") { 0.0 } else { 1.0 };
            return Tensor {
                name,
                cols,
                rows: 0,
                contents: Contents::Vector { around },
            };
        }
        // Logits that differ by a few units: some tokens are likely, and none is certain.
        let head_gain = 2.0;
        let (storage, gain) = match name.as_str() {
            "token_embd.weight" => (self.embedding, head_gain),
            "output.weight" => (self.output, head_gain),
            name if name.contains(".attn_") => (self.attention, 1.0),
            _ => (self.feed_forward, 1.0),
        };
        // Of the matrix that a complex one in parts stands for.
        let inputs = if self.config.architecture.is_complex() && name.starts_with("blk.") {
            2 * cols
        } else {
            cols
        };
        if storage.is_complex() {
            cols = inputs;
        }
        let contents = Contents::Matrix {
            storage,
            // Keeps the size of activations from input to output.
            deviation: gain / (inputs as f32).sqrt(),
        };
        Tensor {
            name,
            cols,
            rows,
            contents,
        }
    }

    /// Refuses what the file could not say. (Whether such a model runs is for the loader to judge.)
    fn check(&self) -> Result<(), PackError> {
        let config = &self.config;
        let counts = [
            ("block_count", config.block_count),
            ("embedding_length", config.embedding_length),
            ("feed_forward_length", config.feed_forward_length),
            ("head_count", config.head_count),
            ("head_count_kv", config.head_count_kv),
            ("head_dim", config.head_dim),
            ("context_length", config.context_length),
            ("vocab_size", config.vocab_size),
            ("rope_dimension_count", config.rope_dimension_count),
        ];
        for (what, value) in counts {
            // Then no product of two of them overflows.
            if !(1..1 << 28).contains(&value) {
                return Err(PackError::Shape {
                    what,
                    value,
                    expected: "from 1 to 2^28",
                });
            }
        }
        if config.vocab_size < Self::MIN_VOCAB_SIZE {
            return Err(PackError::Shape {
                what: "vocab_size",
                value: config.vocab_size,
                expected: "at least 259: the bytes and the special tokens",
            });
        }
        self.matrices().iter().try_for_each(|tensor| {
            let is_complex = config.architecture.is_complex() && tensor.name.starts_with("blk.");
            tensor.check(is_complex)
        })
    }
}

impl Tensor {
    /// Weights; of a complex one, both parts.
    fn parameters(&self) -> u64 {
        let floats = self.cols as u64 * self.rows.max(1) as u64;
        match self.contents {
            // The real form has each part twice.
            Contents::Matrix { storage, .. } if storage.is_complex() => floats / 2,
            _ => floats,
        }
    }

    fn is_packed(&self) -> bool {
        matches!(
            self.contents,
            Contents::Matrix {
                storage: Storage::Packed { .. },
                ..
            }
        )
    }

    fn check(&self, is_complex: bool) -> Result<(), PackError> {
        match self.contents {
            Contents::Vector { .. } => Ok(()),
            Contents::Matrix { storage, .. } if storage.is_complex() && !is_complex => Err(PackError::NotComplex {
                name: self.name.clone(),
            }),
            Contents::Matrix { storage, .. } => {
                storage.check(self.rows, self.cols).map_err(|source| PackError::Format {
                    name: self.name.clone(),
                    source,
                })
            }
        }
    }

    fn declare(&self, writer: &mut Writer) -> Result<()> {
        let (cols, rows) = (self.cols as u64, self.rows as u64);
        match self.contents {
            Contents::Vector { .. } => writer.declare(&self.name, &[cols], GgmlType::F32)?,
            Contents::Matrix { storage, .. } => match storage.packed_bytes(self.rows, self.cols) {
                Some(bytes) => writer.declare(&self.name, &[bytes as u64], GgmlType::I8)?,
                None => writer.declare(&self.name, &[cols, rows], storage.ggml_type())?,
            },
        };
        Ok(())
    }

    fn fill(&self, random: &mut Random, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self.contents {
            Contents::Vector { around } => {
                let bytes: Vec<u8> = (0..self.cols)
                    .flat_map(|_| (around + 0.1 * random.symmetric()).to_le_bytes())
                    .collect();
                write(&bytes)
            }
            Contents::Matrix { storage, deviation } => storage.fill(self.rows, self.cols, deviation, random, write),
        }
    }
}
