//! Codes in tiles of 16 rows: one layout that every machine reads in place.
//!
//! A tile step is 64 bytes: 16 rows by 4 bytes, so that a 512-bit register takes it whole, a 256-bit one half and a
//! NEON register a quarter, and each 32-bit lane meets four activations that are broadcast to all lanes. Sums then
//! stay in their row's lane: no horizontal additions.
//!
//! Within a group of 32 columns, byte `4 * row + j` of step `s` holds
//! - 8-bit codes (8 steps, 512 bytes): column `4 * s + j`;
//! - 4-bit codes (4 steps, 256 bytes): column `4 * s + j` in the low nibble, `16 + 4 * s + j` in the high one.
//!
//! Groups follow each other along a row tile, row tiles follow each other. The last tile's missing rows are zero.
//! Scales (and minima) are f16, `[row tile][scale group][16 rows]`. A weight is `scale * value(code) + minimum`, where
//! the value of an 8-bit code is the code itself and that of a 4-bit code is its entry in the table.

use super::{FormatError, GROUP, TILE_ROWS};
use half::f16;

/// Tables of the 4-bit formats.
pub mod tables {
    /// `code - 8`: Q4_0.
    pub const Q4_0: [i8; 16] = [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7];
    /// `code`: Q4_1, which adds a minimum.
    pub const Q4_1: [i8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    /// The non-linear levels of llama.cpp's IQ4_NL.
    pub const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
    /// The φ ladder: Fibonacci numbers F4..F11, within 2.2% of a geometric ladder of ratio φ. Bit 3 is the sign.
    pub const PHI: [i8; 16] = [3, 5, 8, 13, 21, 34, 55, 89, -3, -5, -8, -13, -21, -34, -55, -89];
    /// The additive φ table: each magnitude is a power of φ, or the sum or difference of two, the nearest such to the
    /// 16 Lloyd-Max levels of a Gaussian. Bit 3 is the sign.
    ///
    /// The magnitudes are φ⁻⁵+φ⁻⁷, φ⁻², φ⁻¹+φ⁻⁷, 1-φ⁻⁶, 1+φ⁻³, φ, φ+φ⁻², φ²+φ⁻⁵ (0.125, 0.382, 0.652, 0.944, 1.236,
    /// 1.618, 2, 2.708), scaled so that the largest is the integer of 64..=127 that leaves the least squared rounding
    /// error.
    pub const PHI_ADDITIVE: [i8; 16] = [4, 13, 22, 32, 42, 55, 68, 92, -4, -13, -22, -32, -42, -55, -68, -92];
}

/// How a code becomes an int8 value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// 8 bits: the value itself.
    Int8,
    /// 4 bits: an index into the table. Entries lie in -127..=127.
    Codebook4([i8; 16]),
}

impl Codes {
    /// Bits of one code.
    pub const fn bits(&self) -> usize {
        match self {
            Codes::Int8 => 8,
            Codes::Codebook4(_) => 4,
        }
    }

    /// The bits of a byte that hold a code, once it is shifted down.
    const fn mask(&self) -> u8 {
        match self {
            Codes::Int8 => 0xff,
            Codes::Codebook4(_) => 0x0f,
        }
    }

    /// Bytes of one row tile's group of 32 columns.
    pub(crate) const fn group_bytes(&self) -> usize {
        TILE_ROWS * GROUP * self.bits() / 8
    }
}

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
    codes_bytes: usize,
    scales_bytes: usize,
}

impl Layout {
    /// The layout of a matrix of this shape.
    ///
    /// # Errors
    /// [`FormatError::Shape`], [`FormatError::Columns`], [`FormatError::ScaleGroup`], or [`FormatError::Header`] for a
    /// table entry of -128.
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
        if matches!(codes, Codes::Codebook4(table) if table.contains(&i8::MIN)) {
            return Err(FormatError::Header { field: "table" });
        }
        let (scale_shift, scale_groups) = match scales {
            ScaleGroup::Row => (ROW_SHIFT, 1),
            ScaleGroup::Columns(group) => {
                let steps = group / GROUP;
                if !group.is_multiple_of(GROUP) || !steps.is_power_of_two() || !cols.is_multiple_of(group) {
                    return Err(FormatError::ScaleGroup { group, cols });
                }
                (steps.trailing_zeros(), cols / group)
            }
        };
        let tiles = rows.div_ceil(TILE_ROWS);
        let codes_bytes = tiles
            .checked_mul(cols / GROUP)
            .and_then(|n| n.checked_mul(codes.group_bytes()));
        let codes_bytes = codes_bytes
            .filter(|&bytes| bytes < isize::MAX as usize / 4)
            .ok_or(shape)?;
        // One f16 a row and group: never more than the codes, so it cannot overflow.
        let scales_bytes = tiles * scale_groups * TILE_ROWS * 2;
        Ok(Layout {
            rows,
            cols,
            codes,
            scale_shift,
            has_minima,
            codes_bytes,
            scales_bytes,
        })
    }

    /// How a code becomes a value.
    pub fn codes(&self) -> Codes {
        self.codes
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
        self.scales_bytes
    }

    /// Where the minima begin, in bytes, if there are any. They take as many bytes as the scales.
    pub fn minima_offset(&self) -> Option<usize> {
        self.has_minima.then_some(self.codes_bytes + self.scales_bytes)
    }

    /// Bytes of everything.
    pub fn bytes(&self) -> usize {
        self.codes_bytes + self.scales_bytes * (1 + usize::from(self.has_minima))
    }

    /// Scales of one row.
    pub fn scale_groups(&self) -> usize {
        if self.scale_shift == ROW_SHIFT {
            1
        } else {
            (self.cols / GROUP) >> self.scale_shift
        }
    }

    /// Which code of which byte holds a weight: the byte's offset and the shift within it.
    pub fn code_position(&self, row: usize, col: usize) -> (usize, u32) {
        let (tile, lane) = (row / TILE_ROWS, row % TILE_ROWS);
        let (group, k) = (col / GROUP, col % GROUP);
        let base = (tile * (self.cols / GROUP) + group) * self.codes.group_bytes();
        match self.codes {
            Codes::Int8 => (base + k / 4 * 64 + lane * 4 + k % 4, 0),
            Codes::Codebook4(_) => (base + k % 16 / 4 * 64 + lane * 4 + k % 4, if k < 16 { 0 } else { 4 }),
        }
    }

    /// The byte offset, within the scales, of a weight's scale (its minimum is at the same place in the minima).
    pub fn scale_position(&self, row: usize, col: usize) -> usize {
        let (tile, lane) = (row / TILE_ROWS, row % TILE_ROWS);
        ((tile * self.scale_groups() + ((col / GROUP) >> self.scale_shift)) * TILE_ROWS + lane) * 2
    }

    /// Writes a code (its low bits) where the layout wants it. `codes` is the first part of the matrix's bytes and
    /// starts out zero.
    ///
    /// # Errors
    /// [`FormatError::OutOfRange`] if the weight is not inside the matrix or the buffer.
    pub fn write_code(&self, codes: &mut [u8], row: usize, col: usize, code: u8) -> Result<(), FormatError> {
        if row >= self.rows || col >= self.cols {
            return Err(FormatError::OutOfRange {
                index: row.max(col),
                len: self.rows.max(self.cols),
            });
        }
        let (byte, shift) = self.code_position(row, col);
        let len = codes.len();
        let slot = codes
            .get_mut(byte)
            .ok_or(FormatError::OutOfRange { index: byte, len })?;
        *slot |= (code & self.codes.mask()) << shift;
        Ok(())
    }

    /// The header that stands before the codes in a file: [`HEADER_BYTES`] bytes, little-endian.
    ///
    /// | bytes | meaning |
    /// |---|---|
    /// | 0..4 | `HPIP` |
    /// | 4..6 | layout version, 1 |
    /// | 6 | bits of a code: 4 or 8 |
    /// | 7 | bit 0: there are minima |
    /// | 8..12, 12..16 | rows, columns |
    /// | 16..20 | columns per scale, 0 for one scale a row |
    /// | 32..48 | the table of a 4-bit format |
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
        header[6] = self.codes.bits() as u8;
        header[7] = u8::from(self.has_minima);
        header[8..12].copy_from_slice(&(self.rows as u32).to_le_bytes());
        header[12..16].copy_from_slice(&(self.cols as u32).to_le_bytes());
        header[16..20].copy_from_slice(&(group as u32).to_le_bytes());
        if let Codes::Codebook4(table) = self.codes {
            header[32..48].copy_from_slice(&table.map(|entry| entry as u8));
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
        let codes = match header[6] {
            8 => Codes::Int8,
            4 => Codes::Codebook4(core::array::from_fn(|i| header[32 + i] as i8)),
            _ => return Err(FormatError::Header { field: "code width" }),
        };
        if header[7] > 1 {
            return Err(FormatError::Header { field: "flags" });
        }
        if header[20..32].iter().chain(&header[48..]).any(|&byte| byte != 0) {
            return Err(FormatError::Header {
                field: "reserved bytes",
            });
        }
        let scales = match u32_at(16) {
            0 => ScaleGroup::Row,
            group => ScaleGroup::Columns(group as usize),
        };
        Layout::new(u32_at(8) as usize, u32_at(12) as usize, codes, scales, header[7] == 1)
    }
}

/// Bytes of the header before a packed matrix in a file.
pub const HEADER_BYTES: usize = 128;
const MAGIC: &[u8; 4] = b"HPIP";
const VERSION: u16 = 1;
/// Shifts every group index to 0: one scale for the row.
const ROW_SHIFT: u32 = 31;

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
        self.layout.rows
    }

    /// Number of inputs.
    pub fn cols(&self) -> usize {
        self.layout.cols
    }

    /// How a code becomes a value.
    pub fn codes(&self) -> Codes {
        self.layout.codes
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    pub(crate) fn groups(&self) -> usize {
        self.layout.cols / GROUP
    }

    /// The codes of a row tile, from group `group` on.
    pub(crate) fn codes_ptr(&self, tile: usize, group: usize) -> *const u8 {
        self.data[(tile * self.groups() + group) * self.layout.codes.group_bytes()..].as_ptr()
    }

    /// The scales of a row tile, and how many groups (as a shift) share one.
    pub(crate) fn scales_ptr(&self, tile: usize) -> (*const u8, u32) {
        let offset = self.layout.scales_offset() + tile * self.layout.scale_groups() * TILE_ROWS * 2;
        (self.data[offset..].as_ptr(), self.layout.scale_shift)
    }

    /// The minima of a row tile, laid out as the scales are.
    pub(crate) fn minima_ptr(&self, tile: usize) -> Option<*const u8> {
        let offset = self.layout.minima_offset()? + tile * self.layout.scale_groups() * TILE_ROWS * 2;
        Some(self.data[offset..].as_ptr())
    }

    /// The code of one weight.
    ///
    /// # Errors
    /// [`FormatError::OutOfRange`] if it is not inside the matrix.
    pub fn code(&self, row: usize, col: usize) -> Result<u8, FormatError> {
        if row >= self.rows() || col >= self.cols() {
            return Err(FormatError::OutOfRange {
                index: row.max(col),
                len: self.rows().max(self.cols()),
            });
        }
        Ok(self.code_unchecked_bounds(row, col))
    }

    fn code_unchecked_bounds(&self, row: usize, col: usize) -> u8 {
        let (byte, shift) = self.layout.code_position(row, col);
        (self.data[byte] >> shift) & self.layout.codes.mask()
    }

    /// The int8 value of one weight's code.
    pub(crate) fn value(&self, row: usize, col: usize) -> i8 {
        let code = self.code_unchecked_bounds(row, col);
        match self.layout.codes {
            Codes::Int8 => code as i8,
            Codes::Codebook4(table) => table[usize::from(code)],
        }
    }

    pub(crate) fn f16_at(&self, offset: usize) -> f32 {
        f16::from_le_bytes([self.data[offset], self.data[offset + 1]]).to_f32()
    }

    /// The scale and the minimum of one weight.
    pub(crate) fn scale(&self, row: usize, col: usize) -> (f32, f32) {
        let at = self.layout.scale_position(row, col);
        let minimum = self
            .layout
            .minima_offset()
            .map_or(0.0, |minima| self.f16_at(minima + at));
        (self.f16_at(self.layout.scales_offset() + at), minimum)
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

#[cfg(test)]
mod tests {
    use super::tables::{PHI, PHI_ADDITIVE};

    fn phi(power: i32) -> f64 {
        libm::pow((1.0 + libm::sqrt(5.0)) / 2.0, f64::from(power))
    }

    #[test]
    fn phi_is_a_run_of_fibonacci_numbers_close_to_powers_of_phi() {
        for i in 2..8 {
            assert_eq!(PHI[i], PHI[i - 1] + PHI[i - 2]);
        }
        for i in 0..8 {
            assert_eq!(PHI[i + 8], -PHI[i]);
            // Binet's formula: the n-th Fibonacci number is φⁿ/√5, nearly.
            let ratio = f64::from(PHI[i]) / (phi(i as i32 + 4) / libm::sqrt(5.0));
            assert!((ratio - 1.0).abs() < 0.022, "{ratio}");
        }
    }

    #[test]
    fn phi_additive_is_the_best_integer_table_of_its_magnitudes() {
        let magnitudes = [
            phi(-5) + phi(-7),
            phi(-2),
            phi(-1) + phi(-7),
            1.0 - phi(-6),
            1.0 + phi(-3),
            phi(1),
            phi(1) + phi(-2),
            phi(2) + phi(-5),
        ];
        let round = |largest: i32| {
            let scale = f64::from(largest) / magnitudes[7];
            let table = magnitudes.map(|magnitude| libm::round(magnitude * scale));
            let error: f64 = (0..8)
                .map(|i| (table[i] / scale - magnitudes[i]) * (table[i] / scale - magnitudes[i]))
                .sum();
            (error, table.map(|entry| entry as i8))
        };
        let best = (64..=127).map(round).min_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(
            best.map(|(_, table)| table),
            Some(core::array::from_fn(|i| PHI_ADDITIVE[i]))
        );
        for i in 0..8 {
            assert_eq!(PHI_ADDITIVE[i + 8], -PHI_ADDITIVE[i]);
        }
    }
}
