//! Writes files, header first and then the tensors one after the other, so that no tensor need be in memory whole.

use std::collections::HashSet;
use std::io::Write;

use super::reader::tensor_bytes;
use super::value::encode_str;
use super::{ALIGNMENT_KEY, GgmlType, Gguf, GgufError, MAGIC, Value, ValueType};
use crate::Error;

/// The version that is written.
const VERSION: u32 = 3;
/// Every kernel's widest load is aligned at this, in a file mapped at a page boundary.
const ALIGNMENT: u64 = 64;

/// A file to be written: its metadata and the list of its tensors.
///
/// ```
/// use halfpi::gguf::{GgmlType, Gguf, Writer};
///
/// let mut writer = Writer::new();
/// writer.set("general.architecture", "llama")?;
/// writer.set("llama.block_count", 30u32)?;
/// writer.set_strings("tokenizer.ggml.tokens", ["a", "b"])?;
/// writer.declare("output_norm.weight", &[4], GgmlType::F32)?;
///
/// let mut tensors = writer.write_header(Vec::new())?;
/// for value in [1.0f32, 2.0, 3.0, 4.0] {
///     tensors.write("output_norm.weight", &value.to_le_bytes())?;
/// }
/// let file = tensors.finish()?;
/// assert_eq!(Gguf::parse(&file)?.u32("llama.block_count")?, 30);
/// # Ok::<(), halfpi::Error>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    keys: HashSet<String>,
    /// The metadata as it will stand in the file.
    metadata: Vec<u8>,
    names: HashSet<String>,
    tensors: Vec<Declared>,
    /// Where the data of the next tensor will start in the data section.
    next_offset: u64,
}

#[derive(Debug)]
struct Declared {
    name: String,
    dims: Vec<u64>,
    ty: GgmlType,
    offset: u64,
    bytes: u64,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty file whose tensors will be aligned to 64 bytes.
    pub fn new() -> Self {
        let mut metadata = Vec::new();
        encode_str(ALIGNMENT_KEY, &mut metadata);
        metadata.extend(ValueType::U32.id().to_le_bytes());
        metadata.extend((ALIGNMENT as u32).to_le_bytes());
        Self {
            keys: HashSet::from([ALIGNMENT_KEY.to_owned()]),
            metadata,
            names: HashSet::new(),
            tensors: Vec::new(),
            next_offset: 0,
        }
    }

    /// Adds a metadata value. Arrays come from another file; for new ones see [`Self::set_strings`] and the like.
    ///
    /// # Errors
    /// [`GgufError::DuplicateKey`] if the key is set already. `general.alignment` always is.
    pub fn set<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) -> Result<&mut Self, GgufError> {
        let value = value.into();
        self.push_key(key, value.value_type())?;
        value.encode(&mut self.metadata);
        Ok(self)
    }

    /// Adds an array of strings.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_strings<S: AsRef<str>>(
        &mut self,
        key: &str,
        values: impl IntoIterator<Item = S, IntoIter: ExactSizeIterator>,
    ) -> Result<&mut Self, GgufError> {
        self.set_array(key, ValueType::Str, values.into_iter(), |text, out| {
            encode_str(text.as_ref(), out)
        })
    }

    /// Adds an array of `i32`.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_i32s(
        &mut self,
        key: &str,
        values: impl IntoIterator<Item = i32, IntoIter: ExactSizeIterator>,
    ) -> Result<&mut Self, GgufError> {
        self.set_array(key, ValueType::I32, values.into_iter(), |value, out| {
            out.extend(value.to_le_bytes())
        })
    }

    /// Adds an array of `f32`.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_f32s(
        &mut self,
        key: &str,
        values: impl IntoIterator<Item = f32, IntoIter: ExactSizeIterator>,
    ) -> Result<&mut Self, GgufError> {
        self.set_array(key, ValueType::F32, values.into_iter(), |value, out| {
            out.extend(value.to_le_bytes())
        })
    }

    /// Copies the metadata of another file, but for the keys that `keep` refuses and for its alignment.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn copy_metadata(&mut self, from: &Gguf<'_>, keep: impl Fn(&str) -> bool) -> Result<&mut Self, GgufError> {
        for (key, value) in from.metadata().filter(|(key, _)| *key != ALIGNMENT_KEY && keep(key)) {
            self.set(key, *value)?;
        }
        Ok(self)
    }

    /// Announces a tensor. The first of its 1 to 4 dimensions is the length of a row.
    ///
    /// # Errors
    /// If the name is taken, or the shape impossible for the type.
    pub fn declare(&mut self, name: &str, dims: &[u64], ty: GgmlType) -> Result<&mut Self, GgufError> {
        let bytes = tensor_bytes(name, dims, ty)?;
        let overflow = || GgufError::ShapeOverflow {
            name: name.to_owned(),
            dims: dims.to_owned(),
        };
        let end = self.next_offset.checked_add(bytes).ok_or_else(overflow)?;
        let next_offset = end.checked_next_multiple_of(ALIGNMENT).ok_or_else(overflow)?;
        if !self.names.insert(name.to_owned()) {
            return Err(GgufError::DuplicateTensor { name: name.to_owned() });
        }
        self.tensors.push(Declared {
            name: name.to_owned(),
            dims: dims.to_owned(),
            ty,
            offset: self.next_offset,
            bytes,
        });
        self.next_offset = next_offset;
        Ok(self)
    }

    /// The length that the file will have, in bytes, if nothing more is added.
    pub fn file_bytes(&self) -> u64 {
        // Magic, version and the two counts; a tensor's name, dimensions, type and offset.
        let entry = |tensor: &Declared| (8 + tensor.name.len() + 4 + 8 * tensor.dims.len() + 4 + 8) as u64;
        let header = 24 + self.metadata.len() as u64 + self.tensors.iter().map(entry).sum::<u64>();
        header.next_multiple_of(ALIGNMENT).saturating_add(self.next_offset)
    }

    /// Writes everything that comes before the data of the first tensor.
    ///
    /// # Errors
    /// [`Error::Write`] if `out` fails.
    pub fn write_header<W: Write>(self, mut out: W) -> Result<TensorWriter<W>, Error> {
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.keys.len() as u64).to_le_bytes());
        header.extend(self.metadata);
        for tensor in &self.tensors {
            encode_str(&tensor.name, &mut header);
            header.extend((tensor.dims.len() as u32).to_le_bytes());
            header.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            header.extend(tensor.ty.id().to_le_bytes());
            header.extend(tensor.offset.to_le_bytes());
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
        out.write_all(&header).map_err(Error::Write)?;
        let mut due = self.tensors.into_iter();
        let current = due.next();
        Ok(TensorWriter {
            out,
            current,
            due,
            written: 0,
        })
    }

    fn set_array<T>(
        &mut self,
        key: &str,
        element_type: ValueType,
        values: impl ExactSizeIterator<Item = T>,
        encode: impl Fn(T, &mut Vec<u8>),
    ) -> Result<&mut Self, GgufError> {
        self.push_key(key, ValueType::Array)?;
        self.metadata.extend(element_type.id().to_le_bytes());
        self.metadata.extend((values.len() as u64).to_le_bytes());
        values.for_each(|value| encode(value, &mut self.metadata));
        Ok(self)
    }

    fn push_key(&mut self, key: &str, ty: ValueType) -> Result<(), GgufError> {
        if !self.keys.insert(key.to_owned()) {
            return Err(GgufError::DuplicateKey { key: key.to_owned() });
        }
        encode_str(key, &mut self.metadata);
        self.metadata.extend(ty.id().to_le_bytes());
        Ok(())
    }
}

/// Writes the data of the tensors a [`Writer`] has announced, in the same order.
#[derive(Debug)]
pub struct TensorWriter<W> {
    out: W,
    /// The tensor whose data is due.
    current: Option<Declared>,
    /// The tensors after it.
    due: std::vec::IntoIter<Declared>,
    /// How many bytes of `current` are written.
    written: u64,
}

impl<W: Write> TensorWriter<W> {
    /// Writes the next bytes of tensor `name`: all of them, or a piece at a time.
    ///
    /// # Errors
    /// [`GgufError::OutOfOrder`] or [`GgufError::TooMuchData`] if they are not what was announced, [`Error::Write`] if
    /// the output fails.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let Some(tensor) = self.current.as_ref().filter(|tensor| tensor.name == name) else {
            let due = self.current.as_ref().map(|tensor| tensor.name.clone());
            return Err(GgufError::OutOfOrder {
                given: name.to_owned(),
                due,
            }
            .into());
        };
        if bytes.len() as u64 > tensor.bytes - self.written {
            return Err(GgufError::TooMuchData {
                name: name.to_owned(),
                bytes: tensor.bytes,
            }
            .into());
        }
        self.out.write_all(bytes).map_err(Error::Write)?;
        self.written += bytes.len() as u64;
        if self.written == tensor.bytes {
            // The last tensor is padded too: ggml's reader wants whole units.
            let padding = tensor.bytes.next_multiple_of(ALIGNMENT) - tensor.bytes;
            self.out
                .write_all(&[0; ALIGNMENT as usize][..padding as usize])
                .map_err(Error::Write)?;
            self.current = self.due.next();
            self.written = 0;
        }
        Ok(())
    }

    /// Ends the file and gives the output back.
    ///
    /// # Errors
    /// [`GgufError::Unfinished`] if data is missing, [`Error::Write`] if the output fails.
    pub fn finish(mut self) -> Result<W, Error> {
        if let Some(tensor) = self.current {
            return Err(GgufError::Unfinished {
                missing: tensor.bytes - self.written,
                name: tensor.name,
            }
            .into());
        }
        self.out.flush().map_err(Error::Write)?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> GgufError {
        match result {
            Err(Error::Gguf(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    fn two_tensors() -> Writer {
        let mut writer = Writer::new();
        writer.declare("a", &[32, 3], GgmlType::Q8_0).unwrap();
        writer.declare("b", &[2], GgmlType::F32).unwrap();
        writer
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = two_tensors();
        writer
            .set("u8", 1u8)
            .unwrap()
            .set("i64", -2i64)
            .unwrap()
            .set("f", 0.5f32)
            .unwrap()
            .set("b", true)
            .unwrap();
        writer
            .set("s", "text")
            .unwrap()
            .set_strings("strings", ["x", ""])
            .unwrap();
        writer
            .set_i32s("i32s", [3, -4])
            .unwrap()
            .set_f32s("f32s", [0.25])
            .unwrap();
        let mut tensors = writer.write_header(Vec::new()).unwrap();
        let a: Vec<u8> = (0..102).collect();
        tensors.write("a", &a[..34]).unwrap();
        tensors.write("a", &a[34..]).unwrap();
        tensors.write("b", &[9; 8]).unwrap();
        let bytes = tensors.finish().unwrap();

        let read = Gguf::parse(&bytes).unwrap();
        assert_eq!((read.version(), read.alignment(), bytes.len() % 64), (3, 64, 0));
        let text: Vec<String> = read.metadata().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            text.join(" "),
            "general.alignment=64 u8=1 i64=-2 f=0.5 b=true s=text strings=[2 x string] i32s=[2 x i32] f32s=[1 x f32]"
        );
        assert_eq!(read.strings("strings").unwrap().iter().collect::<Vec<_>>(), ["x", ""]);
        assert_eq!(read.i32s("i32s").unwrap().collect::<Vec<_>>(), [3, -4]);
        assert_eq!(read.f32s("f32s").unwrap().collect::<Vec<_>>(), [0.25]);
        let [first, second] = read.tensors() else {
            panic!("{:?}", read.tensors())
        };
        assert_eq!(
            (first.dims(), first.rows(), first.elements(), first.ty),
            (&[32, 3][..], 3, 96, GgmlType::Q8_0)
        );
        assert_eq!((read.data(first), read.data(second)), (&a[..], &[9; 8][..]));

        let mut copy = Writer::new();
        copy.copy_metadata(&read, |key| key != "s").unwrap();
        let copied = copy.write_header(Vec::new()).unwrap().finish().unwrap();
        let copied = Gguf::parse(&copied).unwrap();
        let kept: Vec<_> = read.metadata().filter(|(key, _)| *key != "s").collect();
        assert_eq!(copied.metadata().collect::<Vec<_>>(), kept);
    }

    #[test]
    fn data_must_match_what_was_declared() {
        let mut tensors = two_tensors().write_header(Vec::new()).unwrap();
        let due = Some("a".to_owned());
        assert_eq!(
            refusal(tensors.write("b", &[0; 8])),
            GgufError::OutOfOrder { given: "b".into(), due }
        );
        assert_eq!(
            refusal(tensors.write("a", &[0; 103])),
            GgufError::TooMuchData {
                name: "a".into(),
                bytes: 102
            }
        );
        tensors.write("a", &[0; 102]).unwrap();
        tensors.write("b", &[0; 5]).unwrap();
        assert_eq!(
            refusal(tensors.finish()),
            GgufError::Unfinished {
                name: "b".into(),
                missing: 3
            }
        );
        let mut none = Writer::new().write_header(Vec::new()).unwrap();
        assert_eq!(
            refusal(none.write("a", &[])),
            GgufError::OutOfOrder {
                given: "a".into(),
                due: None
            }
        );
    }

    #[test]
    fn names_are_unique_and_shapes_possible() {
        let mut writer = two_tensors();
        let taken = |key: &str| GgufError::DuplicateKey { key: key.into() };
        writer.set("k", 1u32).unwrap();
        assert_eq!(writer.set("k", 2u32).unwrap_err(), taken("k"));
        assert_eq!(writer.set_i32s("k", []).unwrap_err(), taken("k"));
        assert_eq!(writer.set(ALIGNMENT_KEY, 32u32).unwrap_err(), taken(ALIGNMENT_KEY));
        let mut declare = |name: &str, dims: &[u64]| writer.declare(name, dims, GgmlType::Q8_0).map(drop).unwrap_err();
        assert_eq!(declare("a", &[32]), GgufError::DuplicateTensor { name: "a".into() });
        assert_eq!(
            declare("c", &[33]),
            GgufError::PartialBlock {
                name: "c".into(),
                ty: GgmlType::Q8_0,
                columns: 33
            }
        );
        assert_eq!(
            declare("c", &[]),
            GgufError::BadDimensionCount {
                name: "c".into(),
                n_dims: 0
            }
        );
        let dims = vec![32, u64::MAX];
        assert_eq!(declare("c", &dims), GgufError::ShapeOverflow { name: "c".into(), dims });
    }
}
