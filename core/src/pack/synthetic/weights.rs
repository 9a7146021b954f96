//! Random weights, made as stored: most formats get random codes straight away, with scales that give them the
//! standard deviation wanted.

use half::{bf16, f16};
use halfpi_kernels::format::stock::{I2sOrder, Stock};
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
    ("tq1_0", Storage::Stock(Stock::Tq1_0)),
    ("tq2_0", Storage::Stock(Stock::Tq2_0)),
    ("i2_s", Storage::Stock(Stock::I2S(I2sOrder::X86))),
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
            Storage::Stock(stock) => stock.matrix(rows, cols).layout().map(drop),
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
            Storage::Stock(Stock::Tq1_0) => GgmlType::TQ1_0,
            Storage::Stock(Stock::Tq2_0) => GgmlType::TQ2_0,
            Storage::Stock(Stock::I2S(_)) => GgmlType::I2_S,
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
            Storage::Stock(stock) => fill_blocks(stock, rows * cols, deviation, random, write),
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

/// Codes of which half stand for 0, the others for -1 and 1.
const HALF_ZEROS: Codes = Codes::PhaseAxis { magnitudes: false };

fn fill_blocks(
    stock: Stock,
    weights: usize,
    deviation: f32,
    random: &mut Random,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let block_bytes = stock.block_bytes();
    // Where the scale is, and where the codes are.
    let (values, scale_at, codes) = match stock {
        Stock::Q8_0 => (Codes::Int8, Some(0), 2..block_bytes),
        Stock::Q4_0 => (Codes::Codebook4(tables::Q4_0), Some(0), 2..block_bytes),
        // Near enough: its minimum below puts zero in the middle of the codes.
        Stock::Q4_1 => (Codes::Codebook4(tables::Q4_0), Some(0), 4..block_bytes),
        Stock::Iq4Nl => (Codes::Codebook4(tables::IQ4_NL), Some(0), 2..block_bytes),
        Stock::Tq1_0 | Stock::Tq2_0 => (HALF_ZEROS, Some(block_bytes - 2), 0..block_bytes - 2),
        Stock::I2S(_) => (HALF_ZEROS, None, 0..block_bytes),
    };
    // Random bytes of TQ1_0 make a third of its weights 0.
    let zeros = if stock == Stock::Tq1_0 { 0.75f32.sqrt() } else { 1.0 };
    let scales = RandomScales::of_blocks(values, deviation * zeros);
    let mut chunk = vec![0; CHUNK / block_bytes * block_bytes];
    let mut left = weights / stock.block_cols() * block_bytes;
    while left > 0 {
        let chunk_bytes = left.min(chunk.len());
        let chunk = &mut chunk[..chunk_bytes];
        for block in chunk.chunks_exact_mut(block_bytes) {
            if let Some(at) = scale_at {
                let scale = scales.pick((random.next() >> 60) as usize);
                block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                if stock == Stock::Q4_1 {
                    let minimum = f16::from_f32(-7.5 * scale.to_f32());
                    block[2..4].copy_from_slice(&minimum.to_le_bytes());
                }
            }
            let codes = &mut block[codes.clone()];
            random.fill(codes);
            match stock {
                Stock::Q8_0 => avoid_minus_128(codes),
                Stock::Tq2_0 | Stock::I2S(_) => avoid_two(codes),
                Stock::Q4_0 | Stock::Q4_1 | Stock::Iq4Nl | Stock::Tq1_0 => {}
            }
        }
        write(chunk)?;
        left -= chunk_bytes;
    }
    if stock.trailer_bytes() == 0 {
        return Ok(());
    }
    let mut trailer = vec![0; stock.trailer_bytes()];
    let scale = deviation * 2f32.sqrt();
    trailer[..4].copy_from_slice(&scale.to_le_bytes());
    write(&trailer)
}

/// No tool makes the 2-bit ternary code that stands for 2: it becomes 0.
fn avoid_two(codes: &mut [u8]) {
    for code in codes {
        let twos = *code & *code >> 1 & 0b0101_0101;
        *code &= !(twos << 1);
    }
}
