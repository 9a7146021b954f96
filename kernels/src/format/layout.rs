//! Codes in tiles of 16 rows: one layout that every machine reads in place.
//!
//! A matrix is cut into units, runs of blocks along all columns ([`codes`](super::codes) says what a block is). A unit
//! has 16 rows, or 32 where codes belong to pairs of rows; units follow each other, the last one's missing rows are
//! zero. One 32-bit lane belongs to one row, so sums stay in their lane: no horizontal additions.
//!
//! Scales (and minima) are f16 or f32, `[row tile][scale group][16 rows]`. A weight is
//! `scale * value(code) + minimum`. Native complex weights have two scales a complex row, `[unit][real, imaginary][16]`.

use super::codes::Codes;
use super::{FormatError, GROUP, TILE_ROWS};

/// Which columns share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleGroup {
    /// All of a row.
    Row,
    /// This many neighbours: 32 times a power of two.
    Columns(usize),
}

/// Where the parts of a packed matrix lie, counted in bytes from the start of its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    rows: usize,
    cols: usize,
    codes: Codes,
    scale_shift: u32,
    has_minima: bool,
    has_f32_scales: bool,
    codes_bytes: usize,
    /// Scales, and as many minima if there are any.
    scale_count: usize,
}

impl Layout {
    /// The layout of a matrix of this shape, with f16 scales.
    ///
    /// # Errors
    /// [`FormatError::Shape`], [`FormatError::Columns`], [`FormatError::Complex`], [`FormatError::ScaleGroup`], or
    /// [`FormatError::Header`] for a table that the kernels cannot take or minima that the codes cannot have.
    pub fn new(
        rows: usize,
        cols: usize,
        codes: Codes,
        scales: ScaleGroup,
        has_minima: bool,
    ) -> Result<Self, FormatError> {
        let shape = FormatError::Shape { rows, cols };
        if rows == 0 || cols == 0 || rows > u32::MAX as usize / 2 || cols > u32::MAX as usize / 2 {
            return Err(shape);
        }
        if !cols.is_multiple_of(GROUP) {
            return Err(FormatError::Columns { cols });
        }
        if codes == Codes::PhaseComplex && !(rows.is_multiple_of(2) && cols.is_multiple_of(2 * GROUP)) {
            return Err(FormatError::Complex { rows, cols });
        }
        codes.check()?;
        if has_minima && !codes.is_plain() {
            return Err(FormatError::Header { field: "flags" });
        }
        let scale_shift = match scales {
            ScaleGroup::Row => ROW_SHIFT,
            ScaleGroup::Columns(group) => {
                let steps = group / GROUP;
                let fits = group.is_multiple_of(GROUP) && steps.is_power_of_two() && cols.is_multiple_of(group);
                if !fits || matches!(codes, Codes::Trits | Codes::PhaseComplex) {
                    return Err(FormatError::ScaleGroup { group, cols });
                }
                steps.trailing_zeros()
            }
        };
        let mut layout = Layout {
            rows,
            cols,
            codes,
            scale_shift,
            has_minima,
            has_f32_scales: false,
            codes_bytes: 0,
            scale_count: 0,
        };
        let codes_bytes = layout.units().checked_mul(layout.unit_bytes());
        layout.codes_bytes = codes_bytes.filter(|&n| n < isize::MAX as usize / 4).ok_or(shape)?;
        // Never more bytes than the codes have, so this cannot overflow.
        layout.scale_count = layout.scale_tiles() * layout.scale_groups() * TILE_ROWS;
        Ok(layout)
    }

    /// The same with f32 scales: where f16 would lose bits of a scale that a file has.
    pub fn with_f32_scales(mut self) -> Self {
        self.has_f32_scales = true;
        self
    }

    /// Whether scales and minima are f32, not f16.
    pub fn has_f32_scales(&self) -> bool {
        self.has_f32_scales
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How a code becomes a value.
    pub fn codes(&self) -> Codes {
        self.codes
    }

    /// Which columns share a scale.
    pub fn scale_group(&self) -> ScaleGroup {
        if self.scale_shift == ROW_SHIFT {
            ScaleGroup::Row
        } else {
            ScaleGroup::Columns(GROUP << self.scale_shift)
        }
    }

    /// Runs of rows that are stored, and worked on, together.
    pub(crate) fn units(&self) -> usize {
        let rows = if self.codes == Codes::PhaseComplex {
            self.rows / 2
        } else {
            self.rows
        };
        rows.div_ceil(self.codes.block().rows)
    }

    /// Rows of a unit. (The real parts' of native complex weights; the imaginary parts' follow half the rows later.)
    pub fn unit_rows(&self) -> usize {
        self.codes.block().rows
    }

    /// Bytes of a unit's codes.
    pub fn unit_bytes(&self) -> usize {
        let cols = if self.codes == Codes::PhaseComplex {
            self.cols / 2
        } else {
            self.cols
        };
        cols.div_ceil(self.codes.block().cols) * self.codes.block().bytes
    }

    /// Bytes of the scales of one tile of 16 rows (its minima take as many).
    pub fn tile_scale_bytes(&self) -> usize {
        self.scale_groups() * TILE_ROWS * self.scale_bytes()
    }

    /// How many groups, as a shift, share a scale.
    pub(super) fn scale_shift(&self) -> u32 {
        self.scale_shift
    }

    /// Groups of 32 columns that share a scale.
    pub(crate) fn groups_per_scale(&self) -> usize {
        1 << self.scale_shift
    }

    /// Tiles that have scales.
    fn scale_tiles(&self) -> usize {
        self.units() * self.codes.block().rows / TILE_ROWS
    }

    /// Bytes of one scale.
    pub fn scale_bytes(&self) -> usize {
        if self.has_f32_scales { 4 } else { 2 }
    }

    /// Bytes of the codes, which come first.
    pub fn codes_bytes(&self) -> usize {
        self.codes_bytes
    }

    /// Where the scales begin, in bytes. They take [`scales_bytes`](Self::scales_bytes).
    pub fn scales_offset(&self) -> usize {
        self.codes_bytes
    }

    /// Bytes of the scales.
    pub fn scales_bytes(&self) -> usize {
        self.scale_count * self.scale_bytes()
    }

    /// Where the minima begin, in bytes, if there are any. They take as many bytes as the scales.
    pub fn minima_offset(&self) -> Option<usize> {
        self.has_minima.then_some(self.codes_bytes + self.scales_bytes())
    }

    /// Bytes of everything.
    pub fn bytes(&self) -> usize {
        self.codes_bytes + self.scales_bytes() * (1 + usize::from(self.has_minima))
    }

    /// Scales of one row; of native complex weights two, of the real and of the imaginary codes.
    pub fn scale_groups(&self) -> usize {
        if self.codes == Codes::PhaseComplex {
            2
        } else if self.scale_shift == ROW_SHIFT {
            1
        } else {
            (self.cols / GROUP) >> self.scale_shift
        }
    }

    /// Where the code lies that decides about a weight: its block's offset, and the row and column within the block.
    pub(super) fn place(&self, row: usize, col: usize) -> (usize, usize, usize) {
        let block = self.codes.block();
        let (row, col) = if self.codes == Codes::PhaseComplex {
            (row % (self.rows / 2), col % (self.cols / 2))
        } else {
            (row, col)
        };
        let at = row / block.rows * self.unit_bytes() + col / block.cols * block.bytes;
        (at, row % block.rows, col % block.cols)
    }

    /// The byte offset, within the scales, of a weight's scale (its minimum is at the same place in the minima). A
    /// native complex weight's is that of real codes in rows and columns that are both of real or both of imaginary
    /// parts.
    pub fn scale_position(&self, row: usize, col: usize) -> usize {
        let (row, group) = if self.codes == Codes::PhaseComplex {
            let (rows, cols) = (self.rows / 2, self.cols / 2);
            (row % rows, usize::from((row < rows) != (col < cols)))
        } else {
            (row, (col / GROUP) >> self.scale_shift)
        };
        let tile = row / TILE_ROWS * self.scale_groups() + group;
        (tile * TILE_ROWS + row % TILE_ROWS) * self.scale_bytes()
    }

    /// Writes the code that decides about a weight. `codes` is the first part of the matrix's bytes and starts out
    /// zero; higher bits than the codes have are ignored.
    ///
    /// Several weights share a code where [`Codes`] says so: writing it for one writes it for all.
    ///
    /// # Errors
    /// [`FormatError::OutOfRange`] if the weight is not inside the matrix or the buffer.
    pub fn write_code(&self, codes: &mut [u8], row: usize, col: usize, code: u16) -> Result<(), FormatError> {
        if row >= self.rows || col >= self.cols {
            return Err(FormatError::OutOfRange {
                index: row.max(col),
                len: self.rows.max(self.cols),
            });
        }
        let (at, row, col) = self.place(row, col);
        let len = codes.len();
        let block = codes
            .get_mut(at..at + self.codes.block().bytes)
            .ok_or(FormatError::OutOfRange { index: at, len })?;
        self.codes.put(block, row, col, code);
        Ok(())
    }

    /// The header that stands before the codes in a file: [`HEADER_BYTES`] bytes, little-endian.
    ///
    /// | bytes | meaning |
    /// |---|---|
    /// | 0..4 | `HPIP` |
    /// | 4..6 | layout version, 1 |
    /// | 6 | what the codes are: 2, 4, 5, 6 or 8 bits; 3 trits; 16, 17 phase pairs of one or two stages; 18, 19 one axis with or without magnitudes; 20 native complex |
    /// | 7 | bit 0: there are minima; bit 1: scales are f32 |
    /// | 8..12, 12..16 | rows, columns |
    /// | 16..20 | columns per scale, 0 for one scale a row |
    /// | 32..64 | the table of a 2-, 4- or 5-bit format, from the front |
    /// | the rest | zero |
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let group = if self.scale_shift == ROW_SHIFT {
            0
        } else {
            GROUP << self.scale_shift
        };
        header[..4].copy_from_slice(MAGIC);
        header[4..6].copy_from_slice(&VERSION.to_le_bytes());
        header[6] = kind(&self.codes);
        header[7] = u8::from(self.has_minima) | u8::from(self.has_f32_scales) << 1;
        header[8..12].copy_from_slice(&(self.rows as u32).to_le_bytes());
        header[12..16].copy_from_slice(&(self.cols as u32).to_le_bytes());
        header[16..20].copy_from_slice(&(group as u32).to_le_bytes());
        let mut write = |table: &[i8]| {
            for (byte, &entry) in header[32..].iter_mut().zip(table) {
                *byte = entry as u8;
            }
        };
        match &self.codes {
            Codes::Codebook2(table) => write(table),
            Codes::Codebook4(table) => write(table),
            Codes::Codebook5(table) => write(table),
            _ => {}
        }
        header
    }

    /// Reads what [`header`](Self::header) writes.
    ///
    /// # Errors
    /// A [`FormatError`] that names the first thing that is wrong.
    pub fn from_header(bytes: &[u8]) -> Result<Self, FormatError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(FormatError::Length {
                what: "packed header",
                expected: HEADER_BYTES,
                found: bytes.len(),
            });
        };
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if &header[..4] != MAGIC {
            return Err(FormatError::Magic);
        }
        let found = u16::from_le_bytes([header[4], header[5]]);
        if found != VERSION {
            return Err(FormatError::Version { found });
        }
        let (codes, table_len) = match header[6] {
            2 => (Codes::Codebook2(core::array::from_fn(|i| header[32 + i] as i8)), 4),
            3 => (Codes::Trits, 0),
            4 => (Codes::Codebook4(core::array::from_fn(|i| header[32 + i] as i8)), 16),
            5 => (Codes::Codebook5(core::array::from_fn(|i| header[32 + i] as i8)), 32),
            6 => (Codes::Int6, 0),
            8 => (Codes::Int8, 0),
            16 => (Codes::PhasePair { stages: 1 }, 0),
            17 => (Codes::PhasePair { stages: 2 }, 0),
            18 => (Codes::PhaseAxis { magnitudes: true }, 0),
            19 => (Codes::PhaseAxis { magnitudes: false }, 0),
            20 => (Codes::PhaseComplex, 0),
            _ => return Err(FormatError::Header { field: "code width" }),
        };
        if header[7] > 3 {
            return Err(FormatError::Header { field: "flags" });
        }
        let reserved = header[20..32].iter().chain(&header[32 + table_len..]);
        if reserved.into_iter().any(|&byte| byte != 0) {
            return Err(FormatError::Header {
                field: "reserved bytes",
            });
        }
        let scales = match u32_at(16) {
            0 => ScaleGroup::Row,
            group => ScaleGroup::Columns(group as usize),
        };
        let has_minima = header[7] & 1 == 1;
        let layout = Layout::new(u32_at(8) as usize, u32_at(12) as usize, codes, scales, has_minima)?;
        Ok(if header[7] & 2 == 2 {
            layout.with_f32_scales()
        } else {
            layout
        })
    }
}

/// What a header calls codes.
fn kind(codes: &Codes) -> u8 {
    match codes {
        Codes::Codebook2(_) => 2,
        Codes::Trits => 3,
        Codes::Codebook4(_) => 4,
        Codes::Codebook5(_) => 5,
        Codes::Int6 => 6,
        Codes::Int8 => 8,
        Codes::PhasePair { stages } => 15 + stages,
        Codes::PhaseAxis { magnitudes: true } => 18,
        Codes::PhaseAxis { magnitudes: false } => 19,
        Codes::PhaseComplex => 20,
    }
}

/// Bytes of the header before a packed matrix in a file.
pub const HEADER_BYTES: usize = 128;
const MAGIC: &[u8; 4] = b"HPIP";
const VERSION: u16 = 1;
/// Shifts every group index to 0: one scale for the row.
const ROW_SHIFT: u32 = 31;
