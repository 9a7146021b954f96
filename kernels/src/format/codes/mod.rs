//! How codes become int8 values: one file a family.
//!
//! Codes lie in blocks, each for a few rows and columns of the matrix. A block's steps are 64 bytes: 16 rows (or pairs
//! of rows) by 4 bytes, so that a 512-bit register takes a step whole, a 256-bit one half and a NEON register a
//! quarter, and each 32-bit lane meets four activations that are broadcast to all lanes.
//!
//! Every block decodes to the form of 8-bit codes, a *group* of 16 rows by 32 columns in 512 bytes: byte `4 * row + j`
//! of step `s` is the value of column `4 * s + j`. The functions named `decode` say so plainly; they are what the
//! backends' kernels must equal.

mod bounds;
pub(crate) mod phase;
pub(crate) mod planes;
pub(crate) mod trits;

pub(crate) use bounds::{Bounds, Table};

use super::{FormatError, GROUP, TILE_ROWS};

/// 16 rows by 32 columns of int8 values, as 8-bit codes lie.
pub(crate) type Values = [u8; TILE_ROWS * GROUP];

/// Where a value of a group lies.
const fn value_at(row: usize, col: usize) -> usize {
    col / 4 * 64 + row * 4 + col % 4
}

/// How a code becomes an int8 value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// 8 bits: the value itself.
    Int8,
    /// 6 bits: the code minus 32.
    Int6,
    /// 5 bits: an index into the table.
    Codebook5([i8; 32]),
    /// 4 bits: an index into the table.
    Codebook4([i8; 16]),
    /// 2 bits: an index into the table, whose entries rise by the same step (1 or 2).
    Codebook2([i8; 4]),
    /// Ternary values, three in five bits. Codes 0, 1, 2 stand for -1, 0, 1.
    Trits,
    /// A real matrix as a widely linear complex one, `y = U x + W conj(x)` (Fairy2i, arXiv:2512.02901, section 3), with
    /// U and W powers of i, in one stage or the sum of twice a first and a second one.
    ///
    /// Rows `r` and `r + 16` of 32 and columns `k` and `k + 16` of 32 form a block of four weights. Its code has, for
    /// each stage from the low bits up, two bits `u` and two bits `w`, and the weights are, for one stage,
    /// `[[Re iᵘ + Re iʷ, Im iʷ - Im iᵘ], [Im iᵘ + Im iʷ, Re iᵘ - Re iʷ]]`.
    PhasePair {
        /// 1 or 2: bits a weight.
        stages: u8,
    },
    /// Columns `k` and `k + 16` of 32 are the parts of a complex number `m * i^c`: one of them is 0.
    ///
    /// With magnitudes, a code is a signed byte and, above it, the bit that says which part it is (9 bits for two
    /// weights). Without, a code is `c`, two bits for two weights.
    PhaseAxis {
        /// Whether each number has a magnitude of its own, or all have 1.
        magnitudes: bool,
    },
    /// Complex weights `i^c` times complex activations, `y = W conj(x)` (iFairy, arXiv:2508.05571, section 3), 2 bits a
    /// complex weight.
    ///
    /// From outside it is the real matrix that takes `[re x, im x]` to `[re y, im y]`. Codes with a real value have one
    /// scale, those with an imaginary one another.
    PhaseComplex,
}

/// What a block covers. `PhaseComplex` counts complex rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub rows: usize,
    pub cols: usize,
    pub bytes: usize,
}

impl Codes {
    /// Refuses tables whose entries the kernels cannot take.
    pub(super) fn check(&self) -> Result<(), FormatError> {
        let fine = match self {
            // -128 has no opposite in a byte.
            Codes::Codebook4(table) => !table.contains(&i8::MIN),
            Codes::Codebook5(table) => !table.contains(&i8::MIN),
            Codes::Codebook2(table) => {
                let step = i16::from(table[1]) - i16::from(table[0]);
                (1..=2).contains(&step)
                    && table[0] > i8::MIN
                    && table
                        .windows(2)
                        .all(|pair| i16::from(pair[1]) - i16::from(pair[0]) == step)
            }
            Codes::PhasePair { stages } => (1..=2).contains(stages),
            Codes::Int8 | Codes::Int6 | Codes::Trits | Codes::PhaseAxis { .. } | Codes::PhaseComplex => true,
        };
        if fine {
            Ok(())
        } else {
            Err(FormatError::Header { field: "table" })
        }
    }

    /// Bits that the codes take for each real weight, without scales and padding; for `PhaseComplex` those of a complex
    /// weight.
    pub fn bits_per_weight(&self) -> f32 {
        let block = self.block();
        (block.bytes * 8) as f32 / (block.rows * block.cols) as f32
    }

    /// How many codes there are: they are all the numbers below it.
    pub fn count(&self) -> u32 {
        match self {
            Codes::Int8 => 256,
            Codes::Int6 => 64,
            Codes::Codebook5(_) => 32,
            Codes::Codebook4(_) => 16,
            Codes::Codebook2(_) | Codes::PhaseComplex => 4,
            Codes::Trits => 3,
            Codes::PhasePair { stages } => 16u32.pow(u32::from(*stages)),
            Codes::PhaseAxis { magnitudes } => {
                if *magnitudes {
                    512
                } else {
                    4
                }
            }
        }
    }

    pub(crate) const fn block(&self) -> Block {
        let (rows, cols, bytes) = match self {
            Codes::Int8 => (16, 32, 512),
            Codes::Int6 => (16, 32, planes::INT6_BYTES),
            Codes::Codebook5(_) => (16, 32, planes::CODEBOOK5_BYTES),
            Codes::Codebook4(_) => (16, 32, planes::CODEBOOK4_BYTES),
            Codes::Codebook2(_) => (16, 32, planes::CODEBOOK2_BYTES),
            Codes::Trits => (16, trits::COLS, trits::BYTES),
            Codes::PhasePair { stages } => (32, 32, 128 * *stages as usize),
            Codes::PhaseAxis { magnitudes: true } => (16, 32, phase::AXIS_BYTES),
            Codes::PhaseAxis { magnitudes: false } => (16, 32, phase::PHASE_BYTES),
            Codes::PhaseComplex => (16, 32, planes::CODEBOOK2_BYTES),
        };
        Block { rows, cols, bytes }
    }

    /// Whether each weight has a code of its own and a scale may belong to a group of columns, with a minimum.
    pub(super) fn is_plain(&self) -> bool {
        matches!(
            self,
            Codes::Int8 | Codes::Int6 | Codes::Codebook5(_) | Codes::Codebook4(_) | Codes::Codebook2(_)
        )
    }

    /// The code that decides about a weight of a block.
    pub(super) fn get(&self, block: &[u8], row: usize, col: usize) -> u16 {
        match self {
            Codes::Int8 => u16::from(block[value_at(row, col)]),
            Codes::Int6 => planes::get4(block, row, col) | planes::get2(&block[256..], row, col) << 4,
            Codes::Codebook5(_) => planes::get4(block, row, col) | planes::get1(&block[256..], row, col) << 4,
            Codes::Codebook4(_) => planes::get4(block, row, col),
            Codes::Codebook2(_) | Codes::PhaseComplex => planes::get2(block, row, col),
            Codes::Trits => trits::get(block, row, col),
            Codes::PhasePair { stages } => phase::get_pair(block, *stages, row % 16, col % 16),
            Codes::PhaseAxis { magnitudes } => phase::get_axis(block, *magnitudes, row, col % 16),
        }
    }

    /// Replaces the code that decides about a weight of a block.
    pub(super) fn put(&self, block: &mut [u8], row: usize, col: usize, code: u16) {
        match self {
            Codes::Int8 => block[value_at(row, col)] = code as u8,
            Codes::Int6 => {
                planes::put4(block, row, col, code);
                planes::put2(&mut block[256..], row, col, code >> 4);
            }
            Codes::Codebook5(_) => {
                planes::put4(block, row, col, code);
                planes::put1(&mut block[256..], row, col, code >> 4);
            }
            Codes::Codebook4(_) => planes::put4(block, row, col, code),
            Codes::Codebook2(_) | Codes::PhaseComplex => planes::put2(block, row, col, code),
            Codes::Trits => trits::put(block, row, col, code),
            Codes::PhasePair { stages } => phase::put_pair(block, *stages, row % 16, col % 16, code),
            Codes::PhaseAxis { magnitudes } => phase::put_axis(block, *magnitudes, row, col % 16, code),
        }
    }

    /// The int8 value that a code gives the weight at `row`, `col` of a block. `PhaseComplex` gives the real part.
    pub(super) fn value(&self, code: u16, row: usize, col: usize) -> i8 {
        match self {
            Codes::Int8 => code as u8 as i8,
            Codes::Int6 => (code & 63) as i8 - 32,
            Codes::Codebook5(table) => table[usize::from(code & 31)],
            Codes::Codebook4(table) => table[usize::from(code & 15)],
            Codes::Codebook2(table) => table[usize::from(code & 3)],
            Codes::Trits => (code % 3) as i8 - 1,
            Codes::PhasePair { stages } => phase::pair_value(code, *stages, row / 16, col / 16),
            Codes::PhaseAxis { magnitudes } => phase::axis_value(code, *magnitudes, col / 16),
            Codes::PhaseComplex => phase::re(code),
        }
    }
}
