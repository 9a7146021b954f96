//! Arrays in the metadata, iterated where they lie.

use std::fmt;

use super::cursor::Cursor;
use super::{Value, ValueType};

/// An array in the metadata, left in the file and decoded as it is iterated. Never an array of arrays.
#[derive(Clone, Copy, PartialEq)]
pub struct ArrayView<'a> {
    element_type: ValueType,
    len: usize,
    /// The elements as they stand in the file, already checked: `len` values, strings with their lengths.
    bytes: &'a [u8],
}

impl<'a> ArrayView<'a> {
    /// `bytes` must hold exactly `len` elements.
    pub(super) fn new(element_type: ValueType, len: usize, bytes: &'a [u8]) -> Self {
        Self {
            element_type,
            len,
            bytes,
        }
    }

    /// Appends the array as it stands in a file: the type of its elements, their count, the elements.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.element_type.id().to_le_bytes());
        out.extend((self.len as u64).to_le_bytes());
        out.extend(self.bytes);
    }

    /// The type of every element.
    pub fn element_type(&self) -> ValueType {
        self.element_type
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements in order.
    pub fn iter(&self) -> ArrayIter<'a> {
        ArrayIter {
            element_type: self.element_type,
            left: self.len,
            cursor: Cursor::new(self.bytes),
        }
    }

    /// The elements, if they are strings.
    pub fn strings(&self) -> Option<StringArray<'a>> {
        (self.element_type == ValueType::Str).then_some(StringArray(*self))
    }

    /// The elements, if they are integers of any type and all fit in an `i32`.
    pub fn i32s(&self) -> Option<impl ExactSizeIterator<Item = i32> + Clone + use<'a>> {
        let fits = self.iter().all(|v| v.as_i32().is_some());
        fits.then(|| self.iter().map(|v| v.as_i32().unwrap_or_default()))
    }

    /// The elements as `f32`, if they are floating-point numbers.
    pub fn f32s(&self) -> Option<impl ExactSizeIterator<Item = f32> + Clone + use<'a>> {
        let floats = matches!(self.element_type, ValueType::F32 | ValueType::F64);
        floats.then(|| self.iter().map(|v| v.as_f32().unwrap_or_default()))
    }
}

impl<'a> IntoIterator for &ArrayView<'a> {
    type Item = Value<'a>;
    type IntoIter = ArrayIter<'a>;
    fn into_iter(self) -> ArrayIter<'a> {
        self.iter()
    }
}

/// A vocabulary has 100,000 elements: only say how many there are.
impl fmt::Debug for ArrayView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} x {}]", self.len, self.element_type)
    }
}

/// The elements of an [`ArrayView`].
#[derive(Debug, Clone)]
pub struct ArrayIter<'a> {
    element_type: ValueType,
    left: usize,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for ArrayIter<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        // Checked when the file was read, so an error here means that somebody has written into the mapped file since.
        Value::read(self.element_type, &mut self.cursor, "").ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ArrayIter<'_> {}

/// An array of strings: a vocabulary, the merges of a tokenizer.
#[derive(Debug, Clone, Copy)]
pub struct StringArray<'a>(ArrayView<'a>);

impl<'a> StringArray<'a> {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The strings in order.
    pub fn iter(&self) -> StringIter<'a> {
        StringIter(self.0.iter())
    }
}

impl<'a> IntoIterator for StringArray<'a> {
    type Item = &'a str;
    type IntoIter = StringIter<'a>;
    fn into_iter(self) -> StringIter<'a> {
        self.iter()
    }
}

/// The strings of a [`StringArray`].
#[derive(Debug, Clone)]
pub struct StringIter<'a>(ArrayIter<'a>);

impl<'a> Iterator for StringIter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0.next()?.as_str()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for StringIter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn array_of(values: &[Value<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| value.encode(&mut bytes));
        bytes
    }

    #[test]
    fn array_elements_come_in_order() {
        let bytes = array_of(&[Value::I32(1), Value::I32(-2)]);
        let array = ArrayView::new(ValueType::I32, 2, &bytes);
        assert_eq!(array.i32s().unwrap().collect::<Vec<_>>(), [1, -2]);
        assert!(array.strings().is_none() && array.f32s().is_none());

        let bytes = array_of(&[Value::Str("a"), Value::Str(""), Value::Str("é")]);
        let strings = ArrayView::new(ValueType::Str, 3, &bytes).strings().unwrap();
        assert_eq!(strings.iter().len(), 3);
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["a", "", "é"]);
    }

    #[test]
    fn an_array_with_one_number_too_large_is_no_i32_array() {
        let bytes = array_of(&[Value::U32(1), Value::U32(u32::MAX)]);
        assert!(ArrayView::new(ValueType::U32, 2, &bytes).i32s().is_none());
    }

    /// As when somebody writes into the file while it is mapped.
    #[test]
    fn iteration_ends_at_bytes_that_changed_after_the_check() {
        let mut bytes = array_of(&[Value::Str("a"), Value::Str("b")]);
        bytes[9..17].copy_from_slice(&u64::MAX.to_le_bytes());
        let array = ArrayView::new(ValueType::Str, 2, &bytes);
        assert_eq!(array.strings().unwrap().iter().collect::<Vec<_>>(), ["a"]);
    }
}
