//! A packed matrix where it lies.

use super::codes::{Codes, phase};
use super::{FormatError, GROUP, HEADER_BYTES, Layout};
use half::f16;

/// A view of a packed matrix. Its parts are as long as its shape says: the kernels rely on that.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    layout: Layout,
    data: &'a [u8],
}

impl<'a> Packed<'a> {
    /// A view of `data`: codes, scales, minima.
    ///
    /// # Errors
    /// [`FormatError::Length`] if `data` is not exactly as long as the layout.
    pub fn new(layout: Layout, data: &'a [u8]) -> Result<Self, FormatError> {
        if data.len() != layout.bytes() {
            return Err(FormatError::Length {
                what: "packed matrix",
                expected: layout.bytes(),
                found: data.len(),
            });
        }
        Ok(Packed { layout, data })
    }

    /// A view of what a file holds: the header, then codes, scales and minima, then nothing.
    ///
    /// # Errors
    /// A [`FormatError`] that names the first thing that is wrong.
    pub fn from_file_bytes(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Packed::new(Layout::from_header(bytes)?, &bytes[HEADER_BYTES..])
    }

    /// Shape and codes.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.layout.rows()
    }

    /// Number of inputs.
    pub fn cols(&self) -> usize {
        self.layout.cols()
    }

    /// How a code becomes a value.
    pub fn codes(&self) -> Codes {
        self.layout.codes()
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Codes, scales, minima.
    pub(super) fn data(&self) -> &'a [u8] {
        self.data
    }

    pub(crate) fn groups(&self) -> usize {
        self.layout.cols() / GROUP
    }

    /// The codes of a unit, from block `block` on.
    pub(crate) fn codes_ptr(&self, unit: usize, block: usize) -> *const u8 {
        let at = unit * self.layout.unit_bytes() + block * self.layout.codes().block().bytes;
        self.data[at..].as_ptr()
    }

    /// The scales of a row tile, and how many groups (as a shift) share one.
    pub(crate) fn scales_ptr(&self, tile: usize) -> (*const u8, u32) {
        let offset = self.layout.scales_offset() + tile * self.layout.tile_scale_bytes();
        (self.data[offset..].as_ptr(), self.layout.scale_shift())
    }

    /// The minima of a row tile, laid out as the scales are.
    pub(crate) fn minima_ptr(&self, tile: usize) -> Option<*const u8> {
        let offset = self.layout.minima_offset()? + tile * self.layout.tile_scale_bytes();
        Some(self.data[offset..].as_ptr())
    }

    /// The code that decides about a weight.
    ///
    /// # Errors
    /// [`FormatError::OutOfRange`] if it is not inside the matrix.
    pub fn code(&self, row: usize, col: usize) -> Result<u16, FormatError> {
        if row >= self.rows() || col >= self.cols() {
            return Err(FormatError::OutOfRange {
                index: row.max(col),
                len: self.rows().max(self.cols()),
            });
        }
        let (at, row, col) = self.layout.place(row, col);
        Ok(self.layout.codes().get(&self.data[at..], row, col))
    }

    /// A weight in its parts: its level, its scale and its minimum. It is level * scale + minimum.
    ///
    /// # Errors
    /// [`FormatError::OutOfRange`] if it is not inside the matrix.
    pub fn parts(&self, row: usize, col: usize) -> Result<(i8, f32, f32), FormatError> {
        self.code(row, col)?;
        let (scale, minimum) = self.scale(row, col);
        Ok((self.value(row, col), scale, minimum))
    }

    /// The int8 value of one weight.
    pub(crate) fn value(&self, row: usize, col: usize) -> i8 {
        let codes = self.layout.codes();
        let (at, block_row, block_col) = self.layout.place(row, col);
        let code = codes.get(&self.data[at..], block_row, block_col);
        if codes != Codes::PhaseComplex {
            return codes.value(code, block_row, block_col);
        }
        // y = W conj(x), as a real matrix: [[re W, im W], [im W, -re W]].
        match (row < self.rows() / 2, col < self.cols() / 2) {
            (true, true) => phase::re(code),
            (false, false) => -phase::re(code),
            _ => phase::im(code),
        }
    }

    fn scale_at(&self, offset: usize) -> f32 {
        let bytes = &self.data[offset..];
        if self.layout.has_f32_scales() {
            f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        } else {
            f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
        }
    }

    /// The scale and the minimum of one weight.
    pub(crate) fn scale(&self, row: usize, col: usize) -> (f32, f32) {
        let at = self.layout.scale_position(row, col);
        let minima = self.layout.minima_offset();
        let minimum = minima.map_or(0.0, |minima| self.scale_at(minima + at));
        (self.scale_at(self.layout.scales_offset() + at), minimum)
    }

    pub(crate) fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        for (group, out) in out.chunks_exact_mut(GROUP).enumerate() {
            let (scale, minimum) = self.scale(row, group * GROUP);
            for (k, out) in out.iter_mut().enumerate() {
                *out = scale * f32::from(self.value(row, group * GROUP + k)) + minimum;
            }
        }
    }
}
