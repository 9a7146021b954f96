//! Random weights, made as stored: most formats get random codes straight away, with scales that give them the
//! standard deviation wanted.

use half::{bf16, f16};
use halfpi_kernels::format::stock::Stock;
use halfpi_kernels::format::{Codes, Float, FormatError, GROUP, HEADER_BYTES, Layout, ScaleGroup, TILE_ROWS, tables};

use super::random::Random;
use crate::Result;
use crate::gguf::GgmlType;

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

const NAMED: &[(&str, Storage)] = &[
    ("f32", Storage::F32),
    ("f16", Storage::Float(Float::F16)),
    ("bf16", Storage::Float(Float::Bf16)),
    ("q8_0", Storage::Stock(Stock::Q8_0)),
    ("q4_0", Storage::Stock(Stock::Q4_0)),
    ("q4_1", Storage::Stock(Stock::Q4_1)),
    ("iq4_nl", Storage::Stock(Stock::Iq4Nl)),
    ("q8", Storage::Q8),
    ("phi4", packed(Codes::Codebook4(tables::PHI))),
    ("phi4-additive", packed(Codes::Codebook4(tables::PHI_ADDITIVE))),
    ("phase-complex", Storage::PHASE_COMPLEX),
];

const fn packed(codes: Codes) -> Storage {
    Storage::Packed {
        codes,
        scales: ScaleGroup::Columns(GROUP),
    }
}

/// Bytes that are made at a time: whole steps of a tile, and little memory.
const CHUNK: usize = 1 << 16;

impl Storage {
    /// The most precise one.
    pub const F32: Self = Storage::Float(Float::F32);

    /// 8-bit integers in groups of 32.
    pub(super) const Q8: Self = packed(Codes::Int8);
    /// Powers of i, for the complex matrices of complex models.
    pub const PHASE_COMPLEX: Self = Storage::Packed {
        codes: Codes::PhaseComplex,
        scales: ScaleGroup::Row,
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

    /// The storage with this name: one of [`names`](Self::names), in groups of 32 where there are groups.
    pub fn by_name(name: &str) -> Option<Self> {
        NAMED
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, storage)| storage)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|&(name, _)| name)
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
                Ok(layout) => fill_packed(&layout, rows, deviation, random, write),
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

/// Scales that differ from group to group by size and sign, so that a mix-up of groups shows in the results.
struct Scales([f16; 16]);

impl Scales {
    /// Scales for codes with these values, so that the weights get this standard deviation.
    fn new(values: &[i8], deviation: f32) -> Self {
        let factors = [1, -2, 3, -4, 5, 6, 7, -8, 9, 10, -11, 12, 13, -14, 15, 16].map(|n| n as f32 / 16.0);
        let mean_square = |numbers: &[f32]| numbers.iter().map(|n| n * n).sum::<f32>() / numbers.len() as f32;
        let values: Vec<f32> = values.iter().copied().map(f32::from).collect();
        let scale = deviation / (mean_square(&values) * mean_square(&factors)).sqrt();
        Scales(factors.map(|factor| f16::from_f32(factor * scale)))
    }

    /// One of them, chosen by the low bits.
    fn pick(&self, bits: u64) -> f16 {
        self.0[bits as usize % 16]
    }
}

/// No format's tools make the code -128, and the kernels' tables have none.
fn avoid_minus_128(codes: &mut [u8]) {
    for code in codes {
        if *code == 0x80 {
            *code = 0;
        }
    }
}

/// Every value that a code can stand for.
fn code_values(codes: Codes) -> Vec<i8> {
    match codes {
        Codes::Int8 => (-127..=127).collect(),
        Codes::Int6 => (-31..=31).collect(),
        Codes::Codebook5(table) => table.to_vec(),
        Codes::Codebook4(table) => table.to_vec(),
        Codes::Codebook2(table) => table.to_vec(),
        // What codes of several weights give one of them, over all codes.
        Codes::Trits => vec![-1, 0, 1],
        Codes::PhaseAxis { magnitudes: false } | Codes::PhaseComplex => vec![-1, 0, 0, 1],
        Codes::PhasePair { stages: 1 } => vec![-2, -1, -1, 0, 0, 0, 1, 1, 2],
        Codes::PhasePair { .. } => (-6..=6).collect(),
        Codes::PhaseAxis { magnitudes: true } => (-127..=127).collect(),
    }
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
    let scales = Scales::new(&code_values(values), deviation);
    let header = if stock == Stock::Q4_1 { 4 } else { 2 };
    let block_bytes = stock.block_bytes();
    let mut chunk = vec![0; CHUNK / block_bytes * block_bytes];
    let mut left = count * block_bytes;
    while left > 0 {
        let chunk_bytes = left.min(chunk.len());
        let chunk = &mut chunk[..chunk_bytes];
        for block in chunk.chunks_exact_mut(block_bytes) {
            let scale = scales.pick(random.next() >> 60);
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

fn fill_packed(
    layout: &Layout,
    rows: usize,
    deviation: f32,
    random: &mut Random,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    write(&layout.header())?;
    // A tile of complex codes is one of complex rows, which are two real ones each.
    let rows = if layout.codes() == Codes::PhaseComplex {
        rows / 2
    } else {
        rows
    };
    let tiles = rows.div_ceil(TILE_ROWS);
    // Rows of the last tile that exist, and where that tile begins if some do not.
    let lanes = rows - (tiles - 1) * TILE_ROWS;
    let cut = |bytes: usize| {
        if lanes < TILE_ROWS {
            bytes / tiles * (tiles - 1)
        } else {
            bytes
        }
    };

    fill_lanes(
        layout.codes_bytes(),
        cut(layout.codes_bytes()),
        4,
        lanes,
        write,
        |chunk| {
            random.fill(chunk);
            if layout.codes() == Codes::Int8 {
                avoid_minus_128(chunk);
            }
        },
    )?;
    let scales = Scales::new(&code_values(layout.codes()), deviation);
    fill_lanes(
        layout.scales_bytes(),
        cut(layout.scales_bytes()),
        2,
        lanes,
        write,
        |chunk| {
            for four in chunk.chunks_exact_mut(8) {
                let mut bits = random.next();
                for scale in four.chunks_exact_mut(2) {
                    scale.copy_from_slice(&scales.pick(bits).to_le_bytes());
                    bits >>= 4;
                }
            }
        },
    )
}

/// Makes `bytes` bytes that hold 16 lanes of `lane_bytes` over and over; from `cut` on, all lanes but the first `lanes`
/// are zero.
fn fill_lanes(
    bytes: usize,
    cut: usize,
    lane_bytes: usize,
    lanes: usize,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
    mut make: impl FnMut(&mut [u8]),
) -> Result<()> {
    let mut chunk = vec![0; CHUNK.min(bytes)];
    for first in (0..bytes).step_by(CHUNK) {
        let chunk = &mut chunk[..CHUNK.min(bytes - first)];
        make(chunk);
        let step_bytes = TILE_ROWS * lane_bytes;
        let padded = chunk.get_mut(cut.saturating_sub(first)..).unwrap_or_default();
        for step in padded.chunks_exact_mut(step_bytes) {
            step[lanes * lane_bytes..].fill(0);
        }
        write(chunk)?;
    }
    Ok(())
}
