use super::FormatError;
use half::{bf16, f16};

/// A float type that weights are stored in, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
}

impl Float {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Float::F32 => 4,
            Float::F16 | Float::Bf16 => 2,
        }
    }

    /// All elements of `data`; an incomplete last one is left out.
    pub fn iter(self, data: &[u8]) -> impl ExactSizeIterator<Item = f32> + '_ {
        (0..data.len() / self.bytes()).map(move |index| self.read(data, index))
    }

    /// Reads element `index`.
    ///
    /// Returns 0 past the end, so that no caller has to prove the bound twice.
    pub(crate) fn read(self, data: &[u8], index: usize) -> f32 {
        let bytes = data.get(index * self.bytes()..).unwrap_or_default();
        match (self, bytes) {
            (Float::F32, &[a, b, c, d, ..]) => f32::from_le_bytes([a, b, c, d]),
            (Float::F16, &[a, b, ..]) => f16::from_le_bytes([a, b]).to_f32(),
            (Float::Bf16, &[a, b, ..]) => bf16::from_le_bytes([a, b]).to_f32(),
            _ => 0.0,
        }
    }
}

/// Floats, row by row, as GGUF stores F32, F16 and BF16 tensors.
#[derive(Clone, Copy, Debug)]
pub struct Dense<'a> {
    rows: usize,
    cols: usize,
    float: Float,
    data: &'a [u8],
}

impl<'a> Dense<'a> {
    /// A view of `rows * cols` floats.
    ///
    /// # Errors
    /// [`FormatError::Shape`] and [`FormatError::Length`] if `data` is not exactly this matrix.
    pub fn new(rows: usize, cols: usize, float: Float, data: &'a [u8]) -> Result<Self, FormatError> {
        let bytes = rows.checked_mul(cols).and_then(|n| n.checked_mul(float.bytes()));
        match bytes {
            None | Some(0) => Err(FormatError::Shape { rows, cols }),
            Some(expected) if expected != data.len() => Err(FormatError::Length {
                what: "dense matrix",
                expected,
                found: data.len(),
            }),
            Some(_) => Ok(Dense {
                rows,
                cols,
                float,
                data,
            }),
        }
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The element type.
    pub fn float(&self) -> Float {
        self.float
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    pub(crate) fn row_ptr(&self, row: usize) -> *const u8 {
        self.data[row * self.cols * self.float.bytes()..].as_ptr()
    }

    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        for (col, out) in out.iter_mut().enumerate() {
            *out = self.float.read(self.data, row * self.cols + col);
        }
    }
}
