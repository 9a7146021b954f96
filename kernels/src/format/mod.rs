//! What the bytes of a weight matrix mean.
//!
//! A matrix has `rows` outputs and `cols` inputs: `y = W x`. It is either [`Dense`] (floats, row by row) or
//! [`Packed`] (small codes in tiles of 16 rows, with scales). `stock` turns llama.cpp's and bitnet.cpp's block types into
//! packed ones.

pub(crate) mod codes;
mod dense;
mod error;
mod expand;
mod layout;
mod packed;
mod scales;
pub mod stock;
pub mod tables;

pub use codes::Codes;
pub use dense::{Dense, Float};
pub use error::FormatError;
pub use layout::{HEADER_BYTES, Layout, ScaleGroup};
pub use packed::Packed;

/// Columns that share one activation scale, and the step in which every packed matrix is wide.
pub const GROUP: usize = 32;

/// Rows of a tile: one 512-bit register of int32 sums, two 256-bit ones, or four 128-bit ones.
pub const TILE_ROWS: usize = 16;

/// A weight matrix in either form.
#[derive(Clone, Copy, Debug)]
pub enum Matrix<'a> {
    /// Floats, row by row.
    Dense(Dense<'a>),
    /// Codes in tiles, with scales.
    Packed(Packed<'a>),
}

impl Matrix<'_> {
    /// Number of outputs.
    pub fn rows(&self) -> usize {
        match self {
            Matrix::Dense(m) => m.rows(),
            Matrix::Packed(m) => m.rows(),
        }
    }

    /// Number of inputs.
    pub fn cols(&self) -> usize {
        match self {
            Matrix::Dense(m) => m.cols(),
            Matrix::Packed(m) => m.cols(),
        }
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        match self {
            Matrix::Dense(m) => m.bytes(),
            Matrix::Packed(m) => m.bytes(),
        }
    }

    /// Writes row `row` as floats: the embedding look-up.
    ///
    /// # Errors
    /// [`FormatError::OutOfRange`] if there is no such row, [`FormatError::Length`] if `out` is not `cols` long.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<(), FormatError> {
        if row >= self.rows() {
            return Err(FormatError::OutOfRange {
                index: row,
                len: self.rows(),
            });
        }
        if out.len() != self.cols() {
            return Err(FormatError::Length {
                what: "row",
                expected: self.cols(),
                found: out.len(),
            });
        }
        match self {
            Matrix::Dense(m) => m.read_row(row, out),
            Matrix::Packed(m) => m.dequantize_row(row, out),
        }
        Ok(())
    }
}
