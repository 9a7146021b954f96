use halfpi_kernels::ops::{Quantization, RopePairs};

/// The families of decoder-only transformers that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama, SmolLM2, Mistral.
    Llama,
    /// Llama with biases on query, key and value; pairs of channels lie half a head apart.
    Qwen2,
    /// Qwen2 with normed queries and keys instead of biases.
    Qwen3,
    /// BitNet b1.58: norms before the output projections, squared ReLU, int8 activations a position.
    BitNet,
    /// iFairy, also Fairy±i (arXiv:2508.05571): weights and activations are complex numbers.
    IFairy,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::BitNet, Self::IFairy];

    /// The name in `general.architecture`.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::BitNet => "bitnet",
            Architecture::IFairy => "ifairy",
        }
    }

    /// The family with this name in `general.architecture`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == name)
    }

    /// Whether channels are complex numbers. A position then holds all real parts before all imaginary ones, so that
    /// `n` channels are `2n` floats; a head does so too.
    pub fn is_complex(self) -> bool {
        self == Architecture::IFairy
    }

    /// Which activations share a scale in int8, as in the family's training.
    pub fn quantization(self) -> Quantization {
        match self {
            Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => Quantization::Group,
            Architecture::BitNet => Quantization::Row,
            Architecture::IFairy => Quantization::Halves,
        }
    }

    /// Which channels of a head turn together: llama's files have their rows permuted for neighbours. (Turning a
    /// complex head's real and imaginary parts together is the product with e^(i angle).)
    pub fn rope_pairs(self) -> RopePairs {
        match self {
            Architecture::Llama => RopePairs::Adjacent,
            Architecture::Qwen2 | Architecture::Qwen3 | Architecture::BitNet | Architecture::IFairy => {
                RopePairs::Halves
            }
        }
    }
}

/// The most positions that a context may have: a file's `context_length` above it is cut to it.
pub const MAX_POSITIONS: usize = 1 << 20;

/// The shape of a model, by the names of its GGUF keys.
///
/// All lengths count floats: what a file of a [complex](Architecture::is_complex) family counts as one channel is two
/// here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Layers.
    pub block_count: usize,
    /// Channels of the residual stream.
    pub embedding_length: usize,
    /// Channels inside the feed-forward network.
    pub feed_forward_length: usize,
    /// Query heads.
    pub head_count: usize,
    /// Key and value heads.
    pub head_count_kv: usize,
    /// Channels of a head (`attention.key_length`).
    pub head_dim: usize,
    /// Tokens.
    pub vocab_size: usize,
    /// Positions that the model was trained for.
    pub context_length: usize,
    /// Keeps the norms from dividing by zero.
    pub layer_norm_rms_epsilon: f32,
    /// Base of the rotary frequencies.
    pub rope_freq_base: f32,
    /// Positions are divided by this.
    pub rope_scale: f32,
    /// Channels of a head that turn.
    pub rope_dimension_count: usize,
}

impl Config {
    /// Channels of all query heads.
    pub fn query_length(&self) -> usize {
        self.head_count.saturating_mul(self.head_dim)
    }

    /// Channels of all key heads, and of all value heads.
    pub fn kv_length(&self) -> usize {
        self.head_count_kv.saturating_mul(self.head_dim)
    }
}
