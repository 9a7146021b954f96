//! llama.cpp's block types, turned into packed matrices without loss.
//!
//! Source: ggml's `ggml-common.h`. A block holds 32 neighbours of one row: an f16 scale (Q4_1: and an f16 minimum), then
//! the codes. 4-bit blocks keep columns 0..16 in the low nibbles and 16..32 in the high ones, as our tiles do, so
//! packing only moves 4-byte words.

use super::{Codes, FormatError, GROUP, Layout, ScaleGroup, TILE_ROWS, tables};

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
}

impl Stock {
    /// Bytes of a block of 32 weights.
    pub const fn block_bytes(self) -> usize {
        match self {
            Stock::Q8_0 => 34,
            Stock::Q4_0 | Stock::Iq4Nl => 18,
            Stock::Q4_1 => 20,
        }
    }

    /// The packed layout of a matrix of this type.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn layout(self, rows: usize, cols: usize) -> Result<Layout, FormatError> {
        let codes = match self {
            Stock::Q8_0 => Codes::Int8,
            Stock::Q4_0 => Codes::Codebook4(tables::Q4_0),
            Stock::Q4_1 => Codes::Codebook4(tables::Q4_1),
            Stock::Iq4Nl => Codes::Codebook4(tables::IQ4_NL),
        };
        Layout::new(rows, cols, codes, ScaleGroup::Columns(GROUP), self == Stock::Q4_1)
    }

    /// Packs row tiles `tiles` of a matrix of `rows` x `cols` weights.
    ///
    /// `blocks` is the whole matrix as the file holds it. `codes`, `scales` and `minima` are the parts of the packed
    /// matrix that belong to these tiles, so that threads can each fill their own; `minima` is empty where the type has
    /// none. Missing rows of the last tile become zero.
    ///
    /// # Errors
    /// [`FormatError::Length`] if a buffer does not fit, and as [`Layout::new`].
    pub fn pack_tiles(
        self,
        (rows, cols): (usize, usize),
        blocks: &[u8],
        tiles: core::ops::Range<usize>,
        codes: &mut [u8],
        scales: &mut [u8],
        minima: &mut [u8],
    ) -> Result<(), FormatError> {
        let layout = self.layout(rows, cols)?;
        let row_bytes = cols / GROUP * self.block_bytes();
        expect("blocks", rows.saturating_mul(row_bytes), blocks.len())?;
        if tiles.start > tiles.end || tiles.end > rows.div_ceil(TILE_ROWS) {
            return Err(FormatError::OutOfRange {
                index: tiles.end,
                len: rows.div_ceil(TILE_ROWS),
            });
        }
        let (tile_codes, tile_scales) = (layout.unit_bytes(), layout.tile_scale_bytes());
        expect("codes", tiles.len() * tile_codes, codes.len())?;
        expect("scales", tiles.len() * tile_scales, scales.len())?;
        let minima_len = if self == Stock::Q4_1 { scales.len() } else { 0 };
        expect("minima", minima_len, minima.len())?;

        for (i, tile) in tiles.enumerate() {
            let first = tile * TILE_ROWS;
            for lane in 0..TILE_ROWS {
                let row = (first + lane < rows).then(|| &blocks[(first + lane) * row_bytes..][..row_bytes]);
                let codes = &mut codes[i * tile_codes..][..tile_codes];
                let scales = &mut scales[i * tile_scales..][..tile_scales];
                let minima = if minima_len == 0 {
                    &mut [][..]
                } else {
                    &mut minima[i * tile_scales..][..tile_scales]
                };
                self.pack_row(lane, row, codes, scales, minima);
            }
        }
        Ok(())
    }

    fn pack_row(self, lane: usize, row: Option<&[u8]>, codes: &mut [u8], scales: &mut [u8], minima: &mut [u8]) {
        let (header, words) = match self {
            Stock::Q8_0 => (2, 8),
            Stock::Q4_0 | Stock::Iq4Nl => (2, 4),
            Stock::Q4_1 => (4, 4),
        };
        let group_codes = codes.chunks_exact_mut(words * 64);
        for (group, group_codes) in group_codes.enumerate() {
            let block = row.map(|row| &row[group * self.block_bytes()..][..self.block_bytes()]);
            let scale_at = (group * TILE_ROWS + lane) * 2;
            scales[scale_at..scale_at + 2].copy_from_slice(block.map_or(&[0, 0], |b| &b[..2]));
            if !minima.is_empty() {
                minima[scale_at..scale_at + 2].copy_from_slice(block.map_or(&[0, 0], |b| &b[2..4]));
            }
            for (step, out) in group_codes.chunks_exact_mut(64).enumerate() {
                let word = block.map_or(&[0; 4][..], |b| &b[header + step * 4..][..4]);
                out[lane * 4..lane * 4 + 4].copy_from_slice(word);
            }
        }
    }
}

fn expect(what: &'static str, expected: usize, found: usize) -> Result<(), FormatError> {
    if expected == found {
        Ok(())
    } else {
        Err(FormatError::Length { what, expected, found })
    }
}
