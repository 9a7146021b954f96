use core::fmt;

/// Why bytes are not a weight matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// A buffer has another length than its shape needs.
    Length {
        /// Which buffer.
        what: &'static str,
        /// Elements or bytes that the shape needs.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// A matrix without rows or columns, or too large to address.
    Shape {
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
    },
    /// Packed matrices are a multiple of 32 columns wide.
    Columns {
        /// Inputs.
        cols: usize,
    },
    /// A row of a block type is made of whole blocks.
    Blocks {
        /// Inputs.
        cols: usize,
        /// Columns of a block.
        block: usize,
    },
    /// The scale group is not a power-of-two multiple of 32 that divides the columns.
    ScaleGroup {
        /// Columns per scale.
        group: usize,
        /// Inputs.
        cols: usize,
    },
    /// The real form of complex weights has an even number of rows and a multiple of 64 columns.
    Complex {
        /// Outputs.
        rows: usize,
        /// Inputs.
        cols: usize,
    },
    /// A row index past the end.
    OutOfRange {
        /// What was asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The packed header does not start with its magic number.
    Magic,
    /// The packed header has a version that this build does not know.
    Version {
        /// The version found.
        found: u16,
    },
    /// A field of the packed header has a value without a meaning.
    Header {
        /// Which field.
        field: &'static str,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FormatError::Length { what, expected, found } => write!(f, "{what} needs {expected} elements, has {found}"),
            FormatError::Shape { rows, cols } => write!(f, "no matrix has {rows} rows and {cols} columns"),
            FormatError::Columns { cols } => write!(f, "{cols} columns are not a multiple of {}", super::GROUP),
            FormatError::Blocks { cols, block } => {
                write!(f, "{cols} columns are not a multiple of its blocks of {block}")
            }
            FormatError::ScaleGroup { group, cols } => {
                write!(
                    f,
                    "scales for groups of {group} do not fit {cols} columns (32 times a power of two, or a row)"
                )
            }
            FormatError::Complex { rows, cols } => {
                write!(
                    f,
                    "complex weights need an even number of rows and 64 n columns, not {rows} and {cols}"
                )
            }
            FormatError::OutOfRange { index, len } => write!(f, "row {index} of a matrix with {len} rows"),
            FormatError::Magic => f.write_str("not a packed matrix: its first four bytes are not HPIP"),
            FormatError::Version { found } => {
                write!(
                    f,
                    "packed layout version {found}; this build reads version 1: update halfpi or pack again"
                )
            }
            FormatError::Header { field } => write!(f, "the packed header's {field} has an unknown value"),
        }
    }
}

impl core::error::Error for FormatError {}
