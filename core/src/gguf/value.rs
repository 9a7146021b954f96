//! Metadata values, borrowed from the file.

use std::fmt;

use super::cursor::Cursor;
use super::error::shown;
use super::{ArrayView, GgufError};

/// The type of a metadata value or of the elements of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are GGUF's own")]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Str,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    /// In the order of GGUF's numbers.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Str,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with GGUF's number `id`.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// GGUF's number for this type.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// Bytes of one value; `None` for strings and arrays, whose lengths vary.
    pub fn size(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Str | Self::Array => None,
        }
    }

    /// The name used in messages: `u32`, `string`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::Str => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value. Strings and arrays point into the file.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the names are GGUF's own")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(&'a str),
    Array(ArrayView<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl<'a> Value<'a> {
    /// The type of this value.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::Str(_) => ValueType::Str,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// An integer of any type, in one that holds them all.
    fn as_integer(&self) -> Option<i128> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::I8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::I16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::I32(v) => Some(v.into()),
            Self::U64(v) => Some(v.into()),
            Self::I64(v) => Some(v.into()),
            _ => None,
        }
    }

    /// An integer of any type whose value is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_integer()?.try_into().ok()
    }

    /// An integer of any type whose value fits in 32 bits without a sign.
    pub fn as_u32(&self) -> Option<u32> {
        self.as_integer()?.try_into().ok()
    }

    /// An integer of any type whose value fits in 32 bits with a sign.
    pub fn as_i32(&self) -> Option<i32> {
        self.as_integer()?.try_into().ok()
    }

    /// A floating-point value, rounded to `f32`.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// A truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Self::Str(v) => Some(v),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<ArrayView<'a>> {
        match *self {
            Self::Array(v) => Some(v),
            _ => None,
        }
    }

    /// What a message says about a value of the wrong kind: `string`, `u32 (7)`, `array of 3 x i32`.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Str(_) => "a string".into(),
            Self::Array(array) => format!("an array of {} x {}", array.len(), array.element_type()),
            number => format!("{} ({number})", number.value_type()),
        }
    }

    /// Reads a value of type `ty` that is no array. `key` is for messages.
    pub(super) fn read(ty: ValueType, cursor: &mut Cursor<'a>, key: &str) -> Result<Self, GgufError> {
        let place = || format!("the value of key `{}`", shown(key));
        Ok(match ty {
            ValueType::U8 => Self::U8(u8::from_le_bytes(cursor.take_array(place)?)),
            ValueType::I8 => Self::I8(i8::from_le_bytes(cursor.take_array(place)?)),
            ValueType::U16 => Self::U16(u16::from_le_bytes(cursor.take_array(place)?)),
            ValueType::I16 => Self::I16(i16::from_le_bytes(cursor.take_array(place)?)),
            ValueType::U32 => Self::U32(u32::from_le_bytes(cursor.take_array(place)?)),
            ValueType::I32 => Self::I32(i32::from_le_bytes(cursor.take_array(place)?)),
            ValueType::F32 => Self::F32(f32::from_le_bytes(cursor.take_array(place)?)),
            ValueType::U64 => Self::U64(u64::from_le_bytes(cursor.take_array(place)?)),
            ValueType::I64 => Self::I64(i64::from_le_bytes(cursor.take_array(place)?)),
            ValueType::F64 => Self::F64(f64::from_le_bytes(cursor.take_array(place)?)),
            ValueType::Str => Self::Str(cursor.string(place)?),
            ValueType::Bool => {
                let offset = cursor.offset();
                match cursor.take_array(place)? {
                    [value @ (0 | 1)] => Self::Bool(value == 1),
                    [value] => {
                        return Err(GgufError::BadBool {
                            key: key.to_owned(),
                            value,
                            offset,
                        });
                    }
                }
            }
            ValueType::Array => {
                return Err(GgufError::NestedArray {
                    key: key.to_owned(),
                    offset: cursor.offset(),
                });
            }
        })
    }

    /// Appends the value, without its type number, as it stands in a file.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::U8(v) => out.push(v),
            Self::I8(v) => out.extend(v.to_le_bytes()),
            Self::U16(v) => out.extend(v.to_le_bytes()),
            Self::I16(v) => out.extend(v.to_le_bytes()),
            Self::U32(v) => out.extend(v.to_le_bytes()),
            Self::I32(v) => out.extend(v.to_le_bytes()),
            Self::F32(v) => out.extend(v.to_le_bytes()),
            Self::Bool(v) => out.push(v.into()),
            Self::U64(v) => out.extend(v.to_le_bytes()),
            Self::I64(v) => out.extend(v.to_le_bytes()),
            Self::F64(v) => out.extend(v.to_le_bytes()),
            Self::Str(v) => encode_str(v, out),
            Self::Array(v) => v.encode(out),
        }
    }
}

/// Appends a string as it stands in a file: its length in bytes, then the bytes.
pub(super) fn encode_str(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Numbers and strings in full, arrays as `[3 x i32]`.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(v) => v.fmt(f),
            Self::I8(v) => v.fmt(f),
            Self::U16(v) => v.fmt(f),
            Self::I16(v) => v.fmt(f),
            Self::U32(v) => v.fmt(f),
            Self::I32(v) => v.fmt(f),
            Self::F32(v) => v.fmt(f),
            Self::Bool(v) => v.fmt(f),
            Self::Str(v) => v.fmt(f),
            Self::Array(v) => write!(f, "{v:?}"),
            Self::U64(v) => v.fmt(f),
            Self::I64(v) => v.fmt(f),
            Self::F64(v) => v.fmt(f),
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl<'a> From<$from> for Value<'a> {
            fn from(value: $from) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}
value_from! {
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64, f32 => F32, f64 => F64,
    bool => Bool, &'a str => Str, ArrayView<'a> => Array,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_convert_when_they_fit() {
        assert_eq!(Value::U8(200).as_i32(), Some(200));
        assert_eq!(Value::I64(-1).as_u64(), None);
        assert_eq!(Value::I64(7).as_u32(), Some(7));
        assert_eq!(Value::U64(1 << 32).as_u32(), None);
        assert_eq!(Value::U64(u64::MAX).as_u64(), Some(u64::MAX));
        assert_eq!(Value::F32(1.0).as_u32(), None);
        assert_eq!(Value::U32(1).as_bool(), None);
        assert_eq!(Value::F64(0.5).as_f32(), Some(0.5));
    }

    #[test]
    fn values_read_as_they_were_encoded() {
        let values: [Value<'_>; 12] = [
            Value::U8(u8::MAX),
            Value::I8(i8::MIN),
            Value::U16(u16::MAX),
            Value::I16(i16::MIN),
            Value::U32(u32::MAX),
            Value::I32(i32::MIN),
            Value::U64(u64::MAX),
            Value::I64(i64::MIN),
            Value::F32(f32::MIN_POSITIVE),
            Value::F64(f64::MAX),
            Value::Bool(true),
            Value::Str("π/2"),
        ];
        for value in values {
            let mut bytes = Vec::new();
            value.encode(&mut bytes);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(Value::read(value.value_type(), &mut cursor, "k"), Ok(value));
            assert_eq!(cursor.remaining(), 0);
        }
    }
}
