//! Random weights, made as stored: most formats get random codes straight away, with scales that give them the
//! standard deviation wanted.

use half::{bf16, f16};
use halfpi_kernels::format::stock::Stock;
use halfpi_kernels::format::{Codes, Float, FormatError, GROUP, HEADER_BYTES, Layout, ScaleGroup, tables};

use super::codes::{self, RandomScales, avoid_minus_128};
use super::random::Random;
use crate::Result;
use crate::gguf::GgmlType;
use crate::pack::Format;

/// How a matrix of a synthetic model is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Floats.
    Float(Float),
    /// llama.cpp's blocks.
    Stock(Stock),
    /// A packed matrix without minima.
    Packed {
        /// How a code becomes a value.
        codes: Codes,
        /// Which columns share a scale.
        scales: ScaleGroup,
    },
}

/// What is not a [`Format`].
const NAMED: &[(&str, Storage)] = &[
    ("f32", Storage::F32),
    ("f16", Storage::Float(Float::F16)),
    ("bf16", Storage::Float(Float::Bf16)),
    ("q8_0", Storage::Stock(Stock::Q8_0)),
    ("q4_0", Storage::Stock(Stock::Q4_0)),
    ("q4_1", Storage::Stock(Stock::Q4_1)),
    ("iq4_nl", Storage::Stock(Stock::Iq4Nl)),
];

/// Bytes that are made at a time: whole steps of a tile, and little memory.
const CHUNK: usize = 1 << 16;

impl Storage {
    /// The most precise one.
    pub const F32: Self = Storage::Float(Float::F32);

    /// 8-bit integers in groups of 32.
    pub(super) const Q8: Self = Storage::Packed {
        codes: Codes::Int8,
        scales: ScaleGroup::Columns(GROUP),
    };

    /// Whether only complex matrices can be stored so. They then have their real form, from `[re, im]` to `[re, im]`.
    pub fn is_complex(self) -> bool {
        matches!(
            self,
            Storage::Packed {
                codes: Codes::PhaseComplex,
                ..
            }
        )
    }

    /// The storage with this name: one of [`names`](Self::names).
    pub fn by_name(name: &str) -> Option<Self> {
        let named = NAMED.iter().find(|(known, _)| *known == name);
        named
            .map(|&(_, storage)| storage)
            .or_else(|| Self::of(name.parse().ok()?))
    }

    /// What [`pack`](super::super::pack) makes of weights in a format, if it has codes; f16 scales.
    pub fn of(format: Format) -> Option<Self> {
        let codes = format.codes()?;
        let scales = format.scales().group();
        Some(Storage::Packed { codes, scales })
    }

    /// All names: ggml's types, and the formats that have codes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let formats = Format::all()
            .filter(|format| format.codes().is_some())
            .map(Format::name);
        NAMED.iter().map(|&(name, _)| name).chain(formats)
    }

    fn layout(self, rows: usize, cols: usize) -> Option<Result<Layout, FormatError>> {
        match self {
            Storage::Packed { codes, scales } => Some(Layout::new(rows, cols, codes, scales, false)),
            Storage::Float(_) | Storage::Stock(_) => None,
        }
    }

    /// Whether such a matrix can be stored so.
    pub(super) fn check(self, rows: usize, cols: usize) -> Result<(), FormatError> {
        match self {
            Storage::Float(_) => Ok(()),
            Storage::Stock(stock) => stock.layout(rows, cols).map(drop),
            Storage::Packed { codes, scales } => Layout::new(rows, cols, codes, scales, false).map(drop),
        }
    }

    /// Bytes of the I8 tensor that holds a packed matrix, or `None` if the matrix is a tensor of a stock type.
    pub(super) fn packed_bytes(self, rows: usize, cols: usize) -> Option<usize> {
        self.layout(rows, cols)?
            .ok()
            .map(|layout| HEADER_BYTES + layout.bytes())
    }

    pub(super) fn ggml_type(self) -> GgmlType {
        match self {
            Storage::Float(Float::F32) => GgmlType::F32,
            Storage::Float(Float::F16) => GgmlType::F16,
            Storage::Float(Float::Bf16) => GgmlType::BF16,
            Storage::Stock(Stock::Q8_0) => GgmlType::Q8_0,
            Storage::Stock(Stock::Q4_0) => GgmlType::Q4_0,
            Storage::Stock(Stock::Q4_1) => GgmlType::Q4_1,
            Storage::Stock(Stock::Iq4Nl) => GgmlType::IQ4_NL,
            Storage::Packed { .. } => GgmlType::I8,
        }
    }

    /// Writes a matrix piece by piece. [`check`](Self::check) has accepted its shape.
    pub(super) fn fill(
        self,
        rows: usize,
        cols: usize,
        deviation: f32,
        random: &mut Random,
        write: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        match self {
            Storage::Float(float) => fill_floats(float, rows * cols, deviation, random, write),
            Storage::Stock(stock) => fill_blocks(stock, rows * cols / GROUP, deviation, random, write),
            Storage::Packed { codes, scales } => match Layout::new(rows, cols, codes, scales, false) {
                Ok(layout) => codes::fill(&layout, deviation, random, write),
                // `check` comes first.
                Err(_) => Ok(()),
            },
        }
    }
}

fn fill_floats(
    float: Float,
    count: usize,
    deviation: f32,
    random: &mut Random,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    // An even spread from -a to a has the standard deviation a / √3.
    let amplitude = deviation * 3f32.sqrt();
    let mut chunk = Vec::with_capacity(CHUNK);
    for first in (0..count).step_by(CHUNK / 4) {
        chunk.clear();
        for _ in first..count.min(first + CHUNK / 4) {
            let value = amplitude * random.symmetric();
            match float {
                Float::F32 => chunk.extend(value.to_le_bytes()),
                Float::F16 => chunk.extend(f16::from_f32(value).to_le_bytes()),
                Float::Bf16 => chunk.extend(bf16::from_f32(value).to_le_bytes()),
            }
        }
        write(&chunk)?;
    }
    Ok(())
}

fn fill_blocks(
    stock: Stock,
    count: usize,
    deviation: f32,
    random: &mut Random,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let values = match stock {
        Stock::Q8_0 => Codes::Int8,
        // Near enough for Q4_1, whose minimum below puts zero in the middle of the codes.
        Stock::Q4_0 | Stock::Q4_1 => Codes::Codebook4(tables::Q4_0),
        Stock::Iq4Nl => Codes::Codebook4(tables::IQ4_NL),
    };
    let scales = RandomScales::new(values, deviation);
    let header = if stock == Stock::Q4_1 { 4 } else { 2 };
    let block_bytes = stock.block_bytes();
    let mut chunk = vec![0; CHUNK / block_bytes * block_bytes];
    let mut left = count * block_bytes;
    while left > 0 {
        let chunk_bytes = left.min(chunk.len());
        let chunk = &mut chunk[..chunk_bytes];
        for block in chunk.chunks_exact_mut(block_bytes) {
            let scale = scales.pick((random.next() >> 60) as usize);
            block[..2].copy_from_slice(&scale.to_le_bytes());
            if stock == Stock::Q4_1 {
                let minimum = f16::from_f32(-7.5 * scale.to_f32());
                block[2..4].copy_from_slice(&minimum.to_le_bytes());
            }
            random.fill(&mut block[header..]);
            if stock == Stock::Q8_0 {
                avoid_minus_128(&mut block[header..]);
            }
        }
        write(chunk)?;
        left -= chunk_bytes;
    }
    Ok(())
}
