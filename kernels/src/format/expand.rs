//! Dense ternary codes in two bits each: a fifth more bytes, and less work where no instruction looks trits up.

use super::codes::trits;
use super::stock::expect;
use super::{Codes, FormatError, Layout, Packed, ScaleGroup, TILE_ROWS, tables};

impl Layout {
    /// The layout of the same weights in two bits each, if these are dense ternary.
    pub fn expanded(&self) -> Option<Layout> {
        if self.codes() != Codes::Trits {
            return None;
        }
        let codes = Codes::Codebook2(tables::TERNARY);
        let layout = Layout::new(self.rows(), self.cols(), codes, ScaleGroup::Row, false).ok()?;
        Some(if self.has_f32_scales() {
            layout.with_f32_scales()
        } else {
            layout
        })
    }
}

impl Packed<'_> {
    /// Writes row tiles `tiles` of dense ternary weights as [`Layout::expanded`] has them. `codes` and `scales` are the
    /// parts of the new matrix that belong to these tiles, so that threads can each fill their own.
    ///
    /// The weights are the same to the bit. Products are the same but for the rounding of their sums, which are cut every
    /// 480 columns of trits and every 512 of 2-bit codes.
    ///
    /// # Errors
    /// [`FormatError::Length`] if a buffer does not fit, [`FormatError::OutOfRange`] for tiles past the end, and
    /// [`FormatError::Header`] for other codes.
    pub fn expand_tiles(
        &self,
        tiles: core::ops::Range<usize>,
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<(), FormatError> {
        let (from, to) = (self.layout(), self.layout().expanded());
        let to = to.ok_or(FormatError::Header { field: "code width" })?;
        let count = self.rows().div_ceil(TILE_ROWS);
        if tiles.start > tiles.end || tiles.end > count {
            return Err(FormatError::OutOfRange {
                index: tiles.end,
                len: count,
            });
        }
        expect("codes", tiles.len() * to.unit_bytes(), codes.len())?;
        expect("scales", tiles.len() * to.tile_scale_bytes(), scales.len())?;

        let scales_at = from.scales_offset() + tiles.start * from.tile_scale_bytes();
        scales.copy_from_slice(&self.data()[scales_at..][..scales.len()]);
        let dense = &self.data()[tiles.start * from.unit_bytes()..tiles.end * from.unit_bytes()];
        let tiles = dense.chunks_exact(from.unit_bytes());
        for (dense, codes) in tiles.zip(codes.chunks_exact_mut(to.unit_bytes())) {
            let blocks = dense.as_chunks::<{ trits::BYTES }>().0.iter();
            for (block, codes) in blocks.zip(codes.chunks_mut(trits::COLS / 16 * 64)) {
                trits::expand(block, codes);
            }
        }
        Ok(())
    }
}
