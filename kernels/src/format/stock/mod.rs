//! llama.cpp's and bitnet.cpp's block types, turned into packed matrices without loss.
//!
//! Source: ggml's `ggml-common.h`. A block holds 32 neighbours of one row: an f16 scale (Q4_1: and an f16 minimum), then
//! the codes. 4-bit blocks keep columns 0..16 in the low nibbles and 16..32 in the high ones, as our tiles do, so
//! packing only moves 4-byte words. Ternary types have larger blocks, and become 2-bit codes.

mod ternary;

use super::{Codes, FormatError, GROUP, Layout, ScaleGroup, TILE_ROWS, tables};
use half::f16;

/// A block type that packs without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stock {
    /// 8-bit codes, scale.
    Q8_0,
    /// 4-bit codes minus 8, scale.
    Q4_0,
    /// 4-bit codes, scale and minimum.
    Q4_1,
    /// 4-bit indices into a non-linear table, scale.
    Iq4Nl,
    /// Ternary, five in a byte; a scale for 256 weights.
    Tq1_0,
    /// Ternary in 2 bits; a scale for 256 weights.
    Tq2_0,
    /// bitnet.cpp's: ternary in 2 bits; one f32 scale for the tensor, in the 32 bytes after its codes.
    I2S(I2sOrder),
}

/// The order of I2_S codes, which is that of the machine that wrote the file, and which no file names.
///
/// bitnet.cpp wrote only the first until November 2025, so the published files (`microsoft/bitnet-b1.58-2B-4T-gguf`) have
/// it, and its converter in Python still does. Its `llama-quantize` writes the second when it is built for ARM since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum I2sOrder {
    /// Blocks of 128 columns.
    #[default]
    X86,
    /// Blocks of 64 columns.
    Arm,
}

impl Stock {
    /// Columns of a block.
    pub const fn block_cols(self) -> usize {
        match self {
            Stock::Q8_0 | Stock::Q4_0 | Stock::Q4_1 | Stock::Iq4Nl => GROUP,
            Stock::Tq1_0 | Stock::Tq2_0 => 256,
            Stock::I2S(I2sOrder::X86) => 128,
            Stock::I2S(I2sOrder::Arm) => 64,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Stock::Q8_0 => 34,
            Stock::Q4_0 | Stock::Iq4Nl => 18,
            Stock::Q4_1 => 20,
            Stock::Tq1_0 => 54,
            Stock::Tq2_0 => 66,
            Stock::I2S(order) => Stock::I2S(order).block_cols() / 4,
        }
    }

    /// Where a block has its f16 scale.
    const fn scale_offset(self) -> usize {
        match self {
            Stock::Tq1_0 => 52,
            Stock::Tq2_0 => 64,
            _ => 0,
        }
    }

    /// Bytes after the last block.
    pub const fn trailer_bytes(self) -> usize {
        match self {
            Stock::I2S(_) => 32,
            _ => 0,
        }
    }

    /// Whether its codes are -1, 0 and 1.
    pub const fn is_ternary(self) -> bool {
        matches!(self, Stock::Tq1_0 | Stock::Tq2_0 | Stock::I2S(_))
    }

    /// A matrix of this type.
    pub const fn matrix(self, rows: usize, cols: usize) -> Blocks {
        Blocks {
            stock: self,
            rows,
            cols,
            factor: None,
        }
    }
}

/// A matrix in blocks of a type, as a file holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blocks {
    /// The type.
    pub stock: Stock,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// What all weights are multiplied with: llama.cpp keeps the scale of a ternary matrix in a tensor of its own, beside
    /// blocks whose scales are 1. The product with a block's scale is rounded to f32, which such blocks do not need.
    pub factor: Option<f32>,
}

impl Blocks {
    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.cols / self.stock.block_cols() * self.stock.block_bytes()
    }

    /// Bytes of the matrix; `usize::MAX` where they cannot be addressed.
    pub fn bytes(&self) -> usize {
        let blocks = self.rows.saturating_mul(self.row_bytes());
        blocks.saturating_add(self.stock.trailer_bytes())
    }

    /// Its packed layout.
    ///
    /// # Errors
    /// [`FormatError::Blocks`] if a row is not made of whole blocks, and as [`Layout::new`].
    pub fn layout(&self) -> Result<Layout, FormatError> {
        let (codes, group) = match self.stock {
            Stock::Q8_0 => (Codes::Int8, ScaleGroup::Columns(GROUP)),
            Stock::Q4_0 => (Codes::Codebook4(tables::Q4_0), ScaleGroup::Columns(GROUP)),
            Stock::Q4_1 => (Codes::Codebook4(tables::Q4_1), ScaleGroup::Columns(GROUP)),
            Stock::Iq4Nl => (Codes::Codebook4(tables::IQ4_NL), ScaleGroup::Columns(GROUP)),
            Stock::Tq1_0 | Stock::Tq2_0 => (Codes::Codebook2(tables::TERNARY), ScaleGroup::Columns(256)),
            Stock::I2S(_) => (Codes::Codebook2(tables::TERNARY), ScaleGroup::Row),
        };
        let block = self.stock.block_cols();
        if block > GROUP && !self.cols.is_multiple_of(block) {
            return Err(FormatError::Blocks { cols: self.cols, block });
        }
        let layout = Layout::new(self.rows, self.cols, codes, group, self.stock == Stock::Q4_1)?;
        Ok(if self.has_f32_scales() {
            layout.with_f32_scales()
        } else {
            layout
        })
    }

    fn has_f32_scales(&self) -> bool {
        self.factor.is_some() || matches!(self.stock, Stock::I2S(_))
    }

    /// Packs row tiles `tiles`.
    ///
    /// `blocks` is the whole matrix as the file holds it. `codes`, `scales` and `minima` are the parts of the packed
    /// matrix that belong to these tiles, so that threads can each fill their own; `minima` is empty where the type has
    /// none. Missing rows of the last tile become zero.
    ///
    /// # Errors
    /// [`FormatError::Length`] if a buffer does not fit, and as [`layout`](Self::layout).
    pub fn pack_tiles(
        &self,
        blocks: &[u8],
        tiles: core::ops::Range<usize>,
        codes: &mut [u8],
        scales: &mut [u8],
        minima: &mut [u8],
    ) -> Result<(), FormatError> {
        let layout = self.layout()?;
        expect("blocks", self.bytes(), blocks.len())?;
        if tiles.start > tiles.end || tiles.end > self.rows.div_ceil(TILE_ROWS) {
            return Err(FormatError::OutOfRange {
                index: tiles.end,
                len: self.rows.div_ceil(TILE_ROWS),
            });
        }
        let (tile_codes, tile_scales) = (layout.unit_bytes(), layout.tile_scale_bytes());
        expect("codes", tiles.len() * tile_codes, codes.len())?;
        expect("scales", tiles.len() * tile_scales, scales.len())?;
        let minima_len = layout.minima_offset().map_or(0, |_| scales.len());
        expect("minima", minima_len, minima.len())?;

        let row_bytes = self.row_bytes();
        let (blocks, trailer) = blocks.split_at(self.rows * row_bytes);
        for (i, tile) in tiles.enumerate() {
            let codes = &mut codes[i * tile_codes..][..tile_codes];
            let scales = &mut scales[i * tile_scales..][..tile_scales];
            let mut minima = minima.get_mut(i * tile_scales..(i + 1) * tile_scales);
            let rows = TILE_ROWS.min(self.rows - tile * TILE_ROWS);
            if rows < TILE_ROWS {
                codes.fill(0);
                scales.fill(0);
                minima.iter_mut().for_each(|minima| minima.fill(0));
            }
            for lane in 0..rows {
                let row = &blocks[(tile * TILE_ROWS + lane) * row_bytes..][..row_bytes];
                self.pack_codes(lane, row, codes);
                if self.stock.trailer_bytes() > 0 {
                    self.pack_scale(lane, trailer, scales);
                } else {
                    self.pack_halves(lane, row, self.stock.scale_offset(), scales);
                }
                if let Some(minima) = &mut minima {
                    self.pack_halves(lane, row, 2, minima);
                }
            }
        }
        Ok(())
    }

    fn pack_codes(&self, lane: usize, row: &[u8], codes: &mut [u8]) {
        let (header, words) = match self.stock {
            Stock::Q8_0 => (2, 8),
            Stock::Q4_0 | Stock::Iq4Nl => (2, 4),
            Stock::Q4_1 => (4, 4),
            Stock::Tq1_0 => return self.pack_trits(lane, row, ternary::tq1_0, codes),
            Stock::Tq2_0 => return self.pack_trits(lane, row, ternary::tq2_0, codes),
            Stock::I2S(I2sOrder::X86) => return self.pack_trits(lane, row, ternary::i2_s_x86, codes),
            Stock::I2S(I2sOrder::Arm) => return self.pack_trits(lane, row, ternary::i2_s_arm, codes),
        };
        let blocks = row.chunks_exact(self.stock.block_bytes());
        for (block, codes) in blocks.zip(codes.chunks_exact_mut(words * 64)) {
            for (word, out) in block[header..].chunks_exact(4).zip(codes.chunks_exact_mut(64)) {
                out[lane * 4..lane * 4 + 4].copy_from_slice(word);
            }
        }
    }

    fn pack_trits(&self, lane: usize, row: &[u8], quad: impl Fn(&[u8], usize) -> u32, codes: &mut [u8]) {
        let blocks = row.chunks_exact(self.stock.block_bytes());
        ternary::pack_lane(lane, blocks, self.stock.block_cols(), quad, codes);
    }

    /// Moves the halves at an offset of each block, multiplied if need be, into a lane of the scales or minima.
    fn pack_halves(&self, lane: usize, row: &[u8], offset: usize, out: &mut [u8]) {
        for (group, block) in row.chunks_exact(self.stock.block_bytes()).enumerate() {
            let half = [block[offset], block[offset + 1]];
            let at = group * TILE_ROWS + lane;
            match self.factor {
                None => out[at * 2..at * 2 + 2].copy_from_slice(&half),
                Some(factor) => {
                    let product = f16::from_le_bytes(half).to_f32() * factor;
                    out[at * 4..at * 4 + 4].copy_from_slice(&product.to_le_bytes());
                }
            }
        }
    }

    /// The scale of the whole tensor as that of a row.
    fn pack_scale(&self, lane: usize, trailer: &[u8], scales: &mut [u8]) {
        let scale = trailer.first_chunk().map_or(0.0, |&scale| f32::from_le_bytes(scale));
        let product = scale * self.factor.unwrap_or(1.0);
        scales[lane * 4..lane * 4 + 4].copy_from_slice(&product.to_le_bytes());
    }
}

pub(super) fn expect(what: &'static str, expected: usize, found: usize) -> Result<(), FormatError> {
    if expected == found {
        Ok(())
    } else {
        Err(FormatError::Length { what, expected, found })
    }
}
