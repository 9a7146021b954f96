//! What a file says about its tensors.

use std::fmt;

/// The most dimensions a tensor can have.
pub const MAX_DIMS: usize = 4;

macro_rules! ggml_types {
    ($($name:ident = $id:literal, $block:literal, $bytes:literal;)*) => {
        /// The type of a tensor's data, by ggml's names and numbers.
        ///
        /// Rows are stored as blocks of [`Self::block_size`] values in [`Self::block_bytes`] bytes. After the last row
        /// come [`Self::trailer_bytes`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, non_camel_case_types, reason = "the names are ggml's own")]
        #[non_exhaustive]
        pub enum GgmlType {
            $($name = $id,)*
        }

        impl GgmlType {
            /// Every known type.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The type with ggml's number `id`, if it is known.
            pub fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// How many values a block holds.
            pub fn block_size(self) -> u64 {
                match self {
                    $(Self::$name => $block,)*
                }
            }

            /// How many bytes a block takes.
            pub fn block_bytes(self) -> u64 {
                match self {
                    $(Self::$name => $bytes,)*
                }
            }

            /// ggml's name: `Q4_1`, `BF16`, …
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

// Number, values per block, bytes per block: the `block_*` structures of ggml-common.h. Numbers that are missing were
// given up by ggml (4, 5, 31-33, 36-38); bitnet.cpp has used 36 since.
ggml_types! {
    F32 = 0, 1, 4;
    F16 = 1, 1, 2;
    Q4_0 = 2, 32, 18;
    Q4_1 = 3, 32, 20;
    Q5_0 = 6, 32, 22;
    Q5_1 = 7, 32, 24;
    Q8_0 = 8, 32, 34;
    Q8_1 = 9, 32, 36;
    Q2_K = 10, 256, 84;
    Q3_K = 11, 256, 110;
    Q4_K = 12, 256, 144;
    Q5_K = 13, 256, 176;
    Q6_K = 14, 256, 210;
    Q8_K = 15, 256, 292;
    IQ2_XXS = 16, 256, 66;
    IQ2_XS = 17, 256, 74;
    IQ3_XXS = 18, 256, 98;
    IQ1_S = 19, 256, 50;
    IQ4_NL = 20, 32, 18;
    IQ3_S = 21, 256, 110;
    IQ2_S = 22, 256, 82;
    IQ4_XS = 23, 256, 136;
    I8 = 24, 1, 1;
    I16 = 25, 1, 2;
    I32 = 26, 1, 4;
    I64 = 27, 1, 8;
    F64 = 28, 1, 8;
    IQ1_M = 29, 256, 56;
    BF16 = 30, 1, 2;
    TQ1_0 = 34, 256, 54;
    TQ2_0 = 35, 256, 66;
    I2_S = 36, 64, 16;
    MXFP4 = 39, 32, 17;
    NVFP4 = 40, 64, 36;
    Q1_0 = 41, 128, 18;
}

impl GgmlType {
    /// ggml's number for this type.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// What a number that no type has now stood for, to end a sentence with.
    pub(super) fn former_name(id: u32) -> &'static str {
        match id {
            31..=33 => " (llama.cpp once kept Q4_0 rearranged for ARM so)",
            37 => " (I8_S of bitnet.cpp: activations, not weights)",
            38 => " (TL1 of bitnet.cpp: take the model's I2_S file)",
            _ => "",
        }
    }

    /// Bytes after a tensor's last row: bitnet.cpp's I2_S has its scale there. (Its blocks are of 64 or of 128 values, which
    /// the type does not say.)
    pub fn trailer_bytes(self) -> u64 {
        match self {
            Self::I2_S => 32,
            _ => 0,
        }
    }

    /// Bytes of a row of `columns` values; `None` if they do not divide into whole blocks, or overflow.
    pub fn row_bytes(self, columns: u64) -> Option<u64> {
        if !columns.is_multiple_of(self.block_size()) {
            return None;
        }
        (columns / self.block_size()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a tensor lies in the file and what it looks like. Its data: [`Gguf::data`](super::Gguf::data).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type of its data.
    pub ty: GgmlType,
    /// Where its data starts, in bytes from the start of the file.
    pub offset: u64,
    /// The length of its data in bytes.
    pub bytes: u64,
    pub(super) dims: [u64; MAX_DIMS],
    pub(super) n_dims: usize,
}

impl TensorInfo<'_> {
    /// The dimensions, 1 to [`MAX_DIMS`] of them, none zero. The first is the length of a row.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..self.n_dims]
    }

    /// How many dimensions there are.
    pub fn n_dims(&self) -> usize {
        self.n_dims
    }

    /// The length of a row, the input size of a linear layer.
    pub fn columns(&self) -> u64 {
        self.dims[0]
    }

    /// How many rows there are: the product of all dimensions but the first.
    pub fn rows(&self) -> u64 {
        self.dims().iter().skip(1).product()
    }

    /// How many values there are: the product of all dimensions.
    pub fn elements(&self) -> u64 {
        self.dims().iter().product()
    }
}

#[cfg(test)]
mod tests {
    use super::GgmlType::{self, *};

    #[test]
    fn numbers_and_names_lead_back_to_the_type() {
        for &ty in GgmlType::ALL {
            assert_eq!(GgmlType::from_id(ty.id()), Some(ty));
            assert_eq!(format!("{ty:?}"), ty.name());
        }
        for given_up in [4, 5, 31, 32, 33, 37, 38, 1000, u32::MAX] {
            assert_eq!(GgmlType::from_id(given_up), None);
        }
    }

    /// The figures llama.cpp publishes for its types.
    #[test]
    fn bits_per_weight() {
        let published = [
            (F32, 32.0),
            (F16, 16.0),
            (BF16, 16.0),
            (Q4_0, 4.5),
            (Q4_1, 5.0),
            (Q5_0, 5.5),
            (Q5_1, 6.0),
            (Q8_0, 8.5),
            (Q2_K, 2.625),
            (Q3_K, 3.4375),
            (Q4_K, 4.5),
            (Q5_K, 5.5),
            (Q6_K, 6.5625),
            (IQ1_S, 1.5625),
            (IQ1_M, 1.75),
            (IQ2_XXS, 2.0625),
            (IQ2_XS, 2.3125),
            (IQ2_S, 2.5625),
            (IQ3_XXS, 3.0625),
            (IQ3_S, 3.4375),
            (IQ4_XS, 4.25),
            (IQ4_NL, 4.5),
            (TQ1_0, 1.6875),
            (TQ2_0, 2.0625),
            (MXFP4, 4.25),
        ];
        for (ty, bits) in published {
            assert_eq!(ty.block_bytes() as f64 * 8.0 / ty.block_size() as f64, bits, "{ty}");
        }
    }

    #[test]
    fn row_bytes_counts_whole_blocks_only() {
        assert_eq!(Q4_1.row_bytes(576), Some(360));
        assert_eq!(Q4_1.row_bytes(577), None);
        assert_eq!(F32.row_bytes(u64::MAX / 4), Some(u64::MAX - 3));
        assert_eq!(F32.row_bytes(u64::MAX / 4 + 1), None);
    }
}
