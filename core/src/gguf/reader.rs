//! Reads the header of a file in place.

use super::cursor::Cursor;
use super::error::shown;
use super::{
    ALIGNMENT_KEY, ArrayView, DEFAULT_ALIGNMENT, ForeignFormat, GgmlType, GgufError, MAGIC, MAX_DIMS, StringArray,
    TensorInfo, Value, ValueType, is_sane_alignment,
};

type Result<T, E = GgufError> = std::result::Result<T, E>;

/// The smallest metadata entry: the length of an empty key, a type, one byte.
const MIN_METADATA_BYTES: u64 = 8 + 4 + 1;
/// The smallest tensor entry: the length of an empty name, a dimension count, one dimension, a type, an offset.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// The parsed header of a GGUF file.
///
/// Strings, arrays and tensor data stay in the bytes they were parsed from; nothing is copied.
#[derive(Debug, Clone)]
pub struct Gguf<'a> {
    bytes: &'a [u8],
    version: u32,
    alignment: u64,
    metadata: Vec<(&'a str, Value<'a>)>,
    /// Indices into `metadata`, in the order of the keys.
    metadata_by_key: Vec<usize>,
    tensors: Vec<TensorInfo<'a>>,
    /// Indices into `tensors`, in the order of the names.
    tensors_by_name: Vec<usize>,
}

impl<'a> Gguf<'a> {
    /// Reads and checks the whole header, and that the data of every tensor lies inside `bytes`, apart from all others.
    ///
    /// # Errors
    /// See [`GgufError`]: everything that is wrong in the file itself.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes);
        let version = read_version(&mut cursor, bytes)?;
        let tensor_count = read_count(&mut cursor, MIN_TENSOR_BYTES, || "tensors".into())?;
        let metadata_count = read_count(&mut cursor, MIN_METADATA_BYTES, || "metadata entries".into())?;

        // The vectors grow with what is really there: a count alone takes no memory.
        let mut metadata = Vec::new();
        for index in 0..metadata_count {
            let key = cursor.string(|| format!("metadata key {index}"))?;
            metadata.push((key, read_value(&mut cursor, key)?));
        }
        let metadata_by_key =
            sorted_index(&metadata, |(key, _)| key).map_err(|key| GgufError::DuplicateKey { key: key.to_owned() })?;

        let mut tensors = Vec::new();
        for index in 0..tensor_count {
            tensors.push(read_tensor(&mut cursor, index)?);
        }
        let tensors_by_name =
            sorted_index(&tensors, |t| t.name).map_err(|name| GgufError::DuplicateTensor { name: name.to_owned() })?;

        let mut gguf = Self {
            bytes,
            version,
            alignment: DEFAULT_ALIGNMENT,
            metadata,
            metadata_by_key,
            tensors,
            tensors_by_name,
        };
        if let Some(value) = gguf.opt_u64(ALIGNMENT_KEY)? {
            if !is_sane_alignment(value) {
                return Err(GgufError::BadAlignment { value });
            }
            gguf.alignment = value;
        }
        place_tensors(&mut gguf.tensors, cursor.offset(), gguf.alignment, bytes.len() as u64)?;
        Ok(gguf)
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Tensor data starts at multiples of this many bytes: a power of two from 8 to 65536.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// The metadata in the order of the file.
    pub fn metadata(&self) -> impl ExactSizeIterator<Item = (&'a str, &Value<'a>)> {
        self.metadata.iter().map(|(key, value)| (*key, value))
    }

    /// The value of `key`, if it is there.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let found = self
            .metadata_by_key
            .binary_search_by_key(&key, |&i| self.metadata[i].0)
            .ok()?;
        Some(&self.metadata[self.metadata_by_key[found]].1)
    }

    /// All tensors in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo<'a>] {
        &self.tensors
    }

    /// The tensor called `name`, if there is one.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo<'a>> {
        let found = self
            .tensors_by_name
            .binary_search_by_key(&name, |&i| self.tensors[i].name)
            .ok()?;
        Some(&self.tensors[self.tensors_by_name[found]])
    }

    /// The data of one of this file's tensors, [`TensorInfo::bytes`] long.
    ///
    /// A tensor of another file gets whatever lies there in this one, or nothing.
    pub fn data(&self, tensor: &TensorInfo<'_>) -> &'a [u8] {
        let range = || {
            let start = usize::try_from(tensor.offset).ok()?;
            let end = start.checked_add(usize::try_from(tensor.bytes).ok()?)?;
            self.bytes.get(start..end)
        };
        range().unwrap_or_default()
    }

    fn opt<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(GgufError::WrongType {
                key: key.to_owned(),
                expected,
                found: value.describe(),
            }),
        }
    }
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident, $opt:ident, $expected:literal, $value:ident => $convert:expr, $ty:ty;)*) => {
        /// Typed metadata. The plain getters fail with [`GgufError::MissingKey`] where the `opt_` ones return `None`;
        /// both fail with [`GgufError::WrongType`] if the value is of another type or does not fit.
        impl<'a> Gguf<'a> {$(
            $(#[$doc])*
            pub fn $name(&self, key: &str) -> Result<$ty> {
                self.$opt(key)?.ok_or_else(|| GgufError::MissingKey { key: key.to_owned() })
            }

            $(#[$doc])*
            ///
            /// `None` if the key is missing.
            pub fn $opt(&self, key: &str) -> Result<Option<$ty>> {
                self.opt(key, $expected, |$value| $convert)
            }
        )*}
    };
}

getters! {
    /// An integer of any type that fits in a `u32`.
    u32, opt_u32, "a u32", value => value.as_u32(), u32;
    /// An integer of any type that fits in a `u64`.
    u64, opt_u64, "a u64", value => value.as_u64(), u64;
    /// A floating-point number.
    f32, opt_f32, "an f32", value => value.as_f32(), f32;
    /// A truth value.
    bool, opt_bool, "a bool", value => value.as_bool(), bool;
    /// A string.
    str, opt_str, "a string", value => value.as_str(), &'a str;
    /// An array of strings.
    strings, opt_strings, "an array of strings", value => value.as_array()?.strings(), StringArray<'a>;
    /// An array of integers that all fit in an `i32`.
    i32s, opt_i32s, "an array of i32", value => value.as_array()?.i32s(),
        impl ExactSizeIterator<Item = i32> + Clone + use<'a>;
    /// An array of floating-point numbers.
    f32s, opt_f32s, "an array of f32", value => value.as_array()?.f32s(),
        impl ExactSizeIterator<Item = f32> + Clone + use<'a>;
}

/// Reads the magic and the version.
fn read_version(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Result<u32> {
    if bytes.is_empty() {
        return Err(GgufError::Empty);
    }
    if !bytes.starts_with(MAGIC) && !MAGIC.starts_with(bytes) {
        return Err(GgufError::NotGguf {
            looks_like: ForeignFormat::guess(bytes),
        });
    }
    cursor.take(MAGIC.len() as u64, || "the magic".into())?;
    match cursor.u32(|| "the version".into())? {
        version @ (2 | 3) => Ok(version),
        swapped if (1..=3).contains(&swapped.swap_bytes()) => Err(GgufError::BigEndian),
        version => Err(GgufError::UnsupportedVersion { version }),
    }
}

/// Reads a count of things that take at least `min_bytes` each.
fn read_count(cursor: &mut Cursor<'_>, min_bytes: u64, what: impl Fn() -> String) -> Result<u64> {
    let offset = cursor.offset();
    let count = cursor.u64(|| format!("the number of {}", what()))?;
    let available = cursor.remaining();
    if count > available / min_bytes {
        return Err(GgufError::CountTooLarge {
            what: what(),
            count,
            offset,
            available,
        });
    }
    Ok(count)
}

/// Reads the type and the value of `key`.
fn read_value<'a>(cursor: &mut Cursor<'a>, key: &str) -> Result<Value<'a>> {
    match read_value_type(cursor, key)? {
        ValueType::Array => read_array(cursor, key).map(Value::Array),
        ty => Value::read(ty, cursor, key),
    }
}

fn read_value_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType> {
    let offset = cursor.offset();
    let id = cursor.u32(|| format!("the type of key `{}`", shown(key)))?;
    ValueType::from_id(id).ok_or_else(|| GgufError::UnknownValueType {
        key: key.to_owned(),
        id,
        offset,
    })
}

/// Steps over an array, checking it on the way.
fn read_array<'a>(cursor: &mut Cursor<'a>, key: &str) -> Result<ArrayView<'a>> {
    let type_offset = cursor.offset();
    let element_type = read_value_type(cursor, key)?;
    if element_type == ValueType::Array {
        return Err(GgufError::NestedArray {
            key: key.to_owned(),
            offset: type_offset,
        });
    }
    // A string has at least its length.
    let min_bytes = element_type.size().unwrap_or(8);
    let len = read_count(cursor, min_bytes, || {
        format!("elements in the array of key `{}`", shown(key))
    })?;
    let start = cursor.offset();
    match element_type {
        ValueType::Str => {
            for index in 0..len {
                cursor.string(|| format!("string {index} in the array of key `{}`", shown(key)))?;
            }
        }
        ValueType::Bool => {
            for _ in 0..len {
                Value::read(element_type, cursor, key)?;
            }
        }
        // Any bytes are numbers. That so many are there, `read_count` has seen.
        _ => {
            cursor.take(len * min_bytes, || format!("the array of key `{}`", shown(key)))?;
        }
    }
    // `len` is at most the length of the file.
    Ok(ArrayView::new(element_type, len as usize, cursor.since(start)))
}

/// Reads the entry of one tensor. Its offset is still that of the file, from the start of the data section.
fn read_tensor<'a>(cursor: &mut Cursor<'a>, index: u64) -> Result<TensorInfo<'a>> {
    let name = cursor.string(|| format!("the name of tensor {index}"))?;
    let place = || format!("the entry of tensor `{}`", shown(name));
    let n_dims = cursor.u32(place)?;
    if !(1..=MAX_DIMS as u32).contains(&n_dims) {
        return Err(GgufError::BadDimensionCount {
            name: name.to_owned(),
            n_dims,
        });
    }
    let n_dims = n_dims as usize;
    let mut dims = [1; MAX_DIMS];
    for dim in &mut dims[..n_dims] {
        *dim = cursor.u64(place)?;
    }
    let id = cursor.u32(place)?;
    let offset = cursor.u64(place)?;
    let ty = GgmlType::from_id(id).ok_or_else(|| GgufError::UnknownType {
        name: name.to_owned(),
        id,
    })?;
    let bytes = tensor_bytes(name, &dims[..n_dims], ty)?;
    Ok(TensorInfo {
        name,
        ty,
        offset,
        bytes,
        dims,
        n_dims,
    })
}

/// The length in bytes of a tensor's data. Also makes sure that the number of its values fits in 64 bits.
pub(super) fn tensor_bytes(name: &str, dims: &[u64], ty: GgmlType) -> Result<u64> {
    let name = || name.to_owned();
    let columns = match dims {
        [columns, rest @ ..] if rest.len() < MAX_DIMS => *columns,
        _ => {
            return Err(GgufError::BadDimensionCount {
                name: name(),
                n_dims: dims.len() as u32,
            });
        }
    };
    if dims.contains(&0) {
        return Err(GgufError::EmptyTensor {
            name: name(),
            dims: dims.to_owned(),
        });
    }
    if !columns.is_multiple_of(ty.block_size()) {
        return Err(GgufError::PartialBlock {
            name: name(),
            ty,
            columns,
        });
    }
    let product = |first: u64| {
        dims[1..]
            .iter()
            .try_fold(first, |product, &dim| product.checked_mul(dim))
    };
    product(columns)
        .and(ty.row_bytes(columns).and_then(product))
        .and_then(|bytes| bytes.checked_add(ty.trailer_bytes()))
        .ok_or_else(|| GgufError::ShapeOverflow {
            name: name(),
            dims: dims.to_owned(),
        })
}

/// Turns the tensors' offsets into places in the file, and checks them.
fn place_tensors(tensors: &mut [TensorInfo<'_>], header_end: u64, alignment: u64, file_bytes: u64) -> Result<()> {
    // A slice is at most isize::MAX long, so this cannot overflow.
    let data_start = header_end.next_multiple_of(alignment);
    for tensor in &mut *tensors {
        let name = || tensor.name.to_owned();
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(GgufError::Misaligned {
                name: name(),
                offset: tensor.offset,
                alignment,
            });
        }
        let offset = data_start.checked_add(tensor.offset);
        let end = offset.and_then(|offset| offset.checked_add(tensor.bytes));
        if end.is_none_or(|end| end > file_bytes) {
            let offset = offset.unwrap_or(u64::MAX);
            return Err(GgufError::OutOfBounds {
                name: name(),
                offset,
                bytes: tensor.bytes,
                file_bytes,
            });
        }
        tensor.offset = offset.unwrap_or(u64::MAX);
    }

    let mut by_offset: Vec<&TensorInfo<'_>> = tensors.iter().collect();
    by_offset.sort_unstable_by_key(|t| t.offset);
    for pair in by_offset.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            return Err(GgufError::Overlap {
                first: pair[0].name.to_owned(),
                second: pair[1].name.to_owned(),
                offset: pair[1].offset,
            });
        }
    }
    Ok(())
}

/// The indices of `items` in the order of their names, or the name that two of them share.
fn sorted_index<'a, T>(items: &[T], name: impl Fn(&T) -> &'a str) -> Result<Vec<usize>, &'a str> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_unstable_by_key(|&i| name(&items[i]));
    match order
        .windows(2)
        .find(|pair| name(&items[pair[0]]) == name(&items[pair[1]]))
    {
        Some(pair) => Err(name(&items[pair[0]])),
        None => Ok(order),
    }
}
