//! What fuel does not see: the bytes that a single instruction touches.
//!
//! Doubling a string thirty times takes a few hundred instructions and a gigabyte. Every operation whose cost depends
//! on its operands is therefore charged here before it runs, and every value it makes is walked afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Bytes any render may touch, and how many more per byte of conversation.
const BASE_BYTES: u64 = 8 << 20;
const BYTES_PER_INPUT_BYTE: u64 = 64;
/// What one element of a list or map costs beside its content: a `Value` and its share of the container.
pub const ELEMENT_BYTES: u64 = 32;
/// What visiting one element costs.
const VISIT_BYTES: u64 = 4;
/// Containers inside containers. Printing, comparing and dropping recurse on the native stack.
const MAX_DEPTH: usize = 16;

/// Why a render was stopped; travels as the source of a [`minijinja::Error`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum Stop {
    #[error("{0}")]
    Refused(String),
    #[error("{0} is not offered to templates")]
    Unsupported(String),
    #[error("values are nested too deep")]
    TooDeep,
    #[error("too much text")]
    TooLarge,
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Error {
        Error::new(ErrorKind::InvalidOperation, stop.to_string()).with_source(stop)
    }
}

/// The byte budget of one render, shared by everything the template can call.
#[derive(Clone, Debug)]
pub struct Meter {
    left: Arc<AtomicU64>,
    limit: u64,
}

impl Meter {
    pub fn new(input_bytes: usize) -> Self {
        let limit = BASE_BYTES.saturating_add(BYTES_PER_INPUT_BYTE.saturating_mul(input_bytes as u64));
        Meter {
            left: Arc::new(AtomicU64::new(limit)),
            limit,
        }
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes `bytes` from the budget.
    pub fn charge(&self, bytes: u64) -> Result<(), Error> {
        // One thread renders; the atomic only satisfies minijinja's Send + Sync bounds.
        match self.left.load(Ordering::Relaxed).checked_sub(bytes) {
            Some(left) => {
                self.left.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => {
                self.left.store(0, Ordering::Relaxed);
                Err(Stop::TooLarge.into())
            }
        }
    }

    /// Charges for everything in `value`, the bytes of all its strings included, and refuses it if it is nested too
    /// deep: for operations that print or compare.
    pub fn weigh(&self, value: &Value) -> Result<(), Error> {
        self.visit(value, 0, true)
    }

    /// As [`weigh`](Self::weigh) without the strings inside of containers, which are shared and not copied: for
    /// operations that only move values about.
    pub fn walk(&self, value: &Value) -> Result<(), Error> {
        self.visit(value, 0, false)
    }

    fn visit(&self, value: &Value, depth: usize, inner_text: bool) -> Result<(), Error> {
        if let Some(text) = value.as_str() {
            let counted = if inner_text || depth == 0 { 1 + text.len() } else { 0 };
            return self.charge(counted as u64);
        }
        let kind = value.kind();
        if !matches!(kind, ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
            return self.charge(1);
        }
        if depth == MAX_DEPTH {
            return Err(Stop::TooDeep.into());
        }
        for item in value.try_iter()?.checked() {
            let item = item?;
            self.charge(VISIT_BYTES)?;
            self.visit(&item, depth + 1, inner_text)?;
            if kind == ValueKind::Map {
                self.visit(&value.get_item(&item)?, depth + 1, inner_text)?;
            }
        }
        Ok(())
    }

    /// Charges for `value` where only its outermost layer is touched.
    pub fn glance(&self, value: &Value) -> Result<(), Error> {
        self.charge(value.as_str().map_or(1, |text| 1 + text.len() as u64))
    }

    /// Admits a new value: walked, and turned into a plain list where minijinja made a lazy one, because lazy
    /// sequences wrap each other and would cost stack later.
    pub fn settle(&self, value: Value) -> Result<Value, Error> {
        self.walk(&value)?;
        refuse_inner_namespace(&value)?;
        if value.kind() != ValueKind::Iterable {
            return Ok(value);
        }
        let items: Result<Vec<Value>, Error> = value.try_iter()?.checked().collect();
        Ok(Value::from(items?))
    }
}

/// A namespace is the one value that changes after it was weighed: inside another value it could make a cycle or a
/// chain of any length.
pub fn is_namespace(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.type_name().ends_with("::Namespace"))
}

fn refuse_inner_namespace(value: &Value) -> Result<(), Error> {
    if is_namespace(value) || !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        return Ok(());
    }
    for item in value.try_iter()?.checked() {
        let item = item?;
        let inner = if value.kind() == ValueKind::Map {
            value.get_item(&item)?
        } else {
            item
        };
        // Deeper layers were looked at when they were made.
        if is_namespace(&inner) {
            return Err(Stop::Unsupported("a namespace inside another value".into()).into());
        }
    }
    Ok(())
}
