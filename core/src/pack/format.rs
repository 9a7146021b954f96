//! What weights can be packed into.

use std::fmt;
use std::str::FromStr;

use halfpi_kernels::format::{Codes, tables};

use super::{PackError, Scales};

/// A format that `halfpi pack` writes. `docs/formats.md` compares them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 8-bit integers, the largest weight of a group at 127.
    Q8,
    /// 6-bit integers: for embeddings and output matrices.
    Q6,
    /// The φ ladder: a sign and eight Fibonacci numbers.
    Phi4,
    /// The additive φ table: sixteen sums of one or two powers of φ.
    Phi4Additive,
    /// The √φ ladder: a sign and sixteen levels.
    Phi5,
    /// The additive φ table of five bits: a sign and sixteen sums of two powers of φ.
    Phi5Additive,
    /// -1, 0, 1 in two bits. Weights of a ternary type keep their scales.
    Ternary,
    /// -1, 0, 1, three in five bits; one scale a row.
    TernaryDense,
    /// A widely linear complex matrix of powers of i, one bit a weight (Fairy2i, arXiv:2512.02901).
    PhaseT1,
    /// The sum of two such, the first with twice the scale of the second: two bits a weight.
    PhaseT2,
    /// Complex weights that are powers of i, for complex models (iFairy, arXiv:2508.05571).
    PhaseComplex,
    /// Pairs of weights as complex numbers on an axis, each with a magnitude of 8 bits.
    PhaseMagnitude,
    /// Pairs of weights as complex numbers on an axis, all of a group with one magnitude.
    PhaseAxis,
    /// 2-bit integers of π/2 times a scale.
    Halfpi2,
    /// 4-bit integers of π/2 times a scale.
    Halfpi4,
    /// 8-bit integers of π/2 times a scale.
    Halfpi8,
    /// llama.cpp's Q8_0, Q4_0, Q4_1, IQ4_NL, TQ1_0 and TQ2_0 and bitnet.cpp's I2_S in tiles, ready to use in place; floats
    /// as they are.
    Lossless,
    /// IEEE binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
    /// IEEE binary32.
    F32,
}

const NAMED: [(&str, Format); 20] = [
    ("q8", Format::Q8),
    ("q6", Format::Q6),
    ("phi5", Format::Phi5),
    ("phi5-additive", Format::Phi5Additive),
    ("phi4", Format::Phi4),
    ("phi4-additive", Format::Phi4Additive),
    ("ternary", Format::Ternary),
    ("ternary-dense", Format::TernaryDense),
    ("phase-t1", Format::PhaseT1),
    ("phase-t2", Format::PhaseT2),
    ("phase-complex", Format::PhaseComplex),
    ("phase-magnitude", Format::PhaseMagnitude),
    ("phase-axis", Format::PhaseAxis),
    ("halfpi2", Format::Halfpi2),
    ("halfpi4", Format::Halfpi4),
    ("halfpi8", Format::Halfpi8),
    ("lossless", Format::Lossless),
    ("f16", Format::F16),
    ("bf16", Format::Bf16),
    ("f32", Format::F32),
];

impl Format {
    /// The names of all formats.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|&(name, _)| name)
    }

    /// All formats.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMED.iter().map(|&(_, format)| format)
    }

    /// The name that `--format` takes.
    pub fn name(self) -> &'static str {
        NAMED
            .iter()
            .find(|(_, format)| *format == self)
            .map_or("", |(name, _)| name)
    }

    /// What its weights are stored as; `None` for floats and for what depends on the source.
    ///
    /// The π/2 of the `halfpi` formats is in their scales, so that their codes are plain integers.
    pub fn codes(self) -> Option<Codes> {
        Some(match self {
            Format::Q8 | Format::Halfpi8 => Codes::Int8,
            Format::Q6 => Codes::Int6,
            Format::Phi5 => Codes::Codebook5(tables::PHI5),
            Format::Phi5Additive => Codes::Codebook5(tables::PHI5_ADDITIVE),
            Format::Phi4 => Codes::Codebook4(tables::PHI),
            Format::Phi4Additive => Codes::Codebook4(tables::PHI_ADDITIVE),
            Format::Halfpi4 => Codes::Codebook4(tables::Q4_0),
            Format::Ternary => Codes::Codebook2(tables::TERNARY),
            Format::Halfpi2 => Codes::Codebook2(tables::INT2),
            Format::TernaryDense => Codes::Trits,
            Format::PhaseT1 => Codes::PhasePair { stages: 1 },
            Format::PhaseT2 => Codes::PhasePair { stages: 2 },
            Format::PhaseMagnitude => Codes::PhaseAxis { magnitudes: true },
            Format::PhaseAxis => Codes::PhaseAxis { magnitudes: false },
            Format::PhaseComplex => Codes::PhaseComplex,
            Format::Lossless | Format::F16 | Format::Bf16 | Format::F32 => return None,
        })
    }

    /// The weights that share a scale unless `--group` says so: groups of 32 where a scale's 16 bits are few beside
    /// theirs, and rows otherwise.
    pub fn scales(self) -> Scales {
        match self {
            Format::Ternary
            | Format::TernaryDense
            | Format::PhaseT1
            | Format::PhaseT2
            | Format::PhaseComplex
            | Format::PhaseAxis
            | Format::Halfpi2 => Scales::Row,
            _ => Scales::Group(32),
        }
    }

    /// The format of the embedding and the output matrix in a file of this format: they need more bits than the rest, and
    /// beside 2-bit weights they are what a token reads most of.
    ///
    /// On SmolLM2, whose embedding has 8 bits, 6 bits for it raise the perplexity by 0.6% (prose), 0.4% (chat) and 1%
    /// (code); `phi5` by 5 to 9%, `phi4-additive` by 5 to 12%.
    pub fn head(self) -> Self {
        match self {
            Format::Q6 | Format::Q8 | Format::Halfpi8 => self,
            Format::Lossless | Format::F16 | Format::Bf16 | Format::F32 => self,
            Format::Phi4 | Format::Phi4Additive | Format::Phi5 | Format::Phi5Additive => Format::Q8,
            Format::Halfpi4 | Format::PhaseMagnitude => Format::Q8,
            Format::Ternary
            | Format::TernaryDense
            | Format::PhaseT1
            | Format::PhaseT2
            | Format::PhaseComplex
            | Format::PhaseAxis
            | Format::Halfpi2 => Format::Q6,
        }
    }

    /// llama.cpp's number for files mostly of this format, `general.file_type`. There is none for packed codes, and
    /// readers that miss the key look at the tensors instead, while a wrong number would be shown as the truth.
    pub(super) fn file_type(self) -> Option<u32> {
        match self {
            Format::F32 => Some(0),
            Format::F16 => Some(1),
            Format::Bf16 => Some(32),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = PackError;

    fn from_str(name: &str) -> Result<Self, PackError> {
        let found = NAMED.iter().find(|(known, _)| *known == name);
        found
            .map(|&(_, format)| format)
            .ok_or_else(|| PackError::UnknownFormat {
                name: name.to_owned(),
                known: Format::names().collect::<Vec<_>>().join(", "),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_formats() {
        for name in Format::names() {
            assert_eq!(name.parse::<Format>().unwrap().name(), name);
        }
    }
}
