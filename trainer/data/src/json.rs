//! JSON that is looked over in its place: a value takes memory when somebody asks for it.
//!
//! A tree of values takes up to a hundred times the bytes of its text, in every process that trains.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::LineProblem;

/// Bytes of what becomes a tree of values, because it is written anew: the arguments of a call, the schema of a tool.
const MAX_TREE_BYTES: usize = 1 << 20;

/// A text that is JSON, which is all that is found out about it.
pub(super) fn raw(text: &str) -> Result<&RawValue, LineProblem> {
    serde_json::from_str(text).map_err(not_json)
}

/// What an object has under `names`, the last of each; `None` if it is something else.
pub(super) fn fields<'a, const N: usize>(
    json: &'a RawValue,
    names: [&str; N],
) -> Result<Option<[Option<&'a RawValue>; N]>, LineProblem> {
    if !json.get().starts_with('{') {
        return Ok(None);
    }
    let found = serde_json::Deserializer::from_str(json.get()).deserialize_map(Fields(names));
    found.map(Some).map_err(not_json)
}

/// Hands the items of a list to `take`, until it refuses one; `None` if it is something else.
pub(super) fn each<'a>(
    json: &'a RawValue,
    take: impl FnMut(&'a RawValue) -> Result<(), LineProblem>,
) -> Option<Result<(), LineProblem>> {
    let list = json.get();
    list.starts_with('[').then(|| {
        let taken = serde_json::Deserializer::from_str(list).deserialize_seq(Each(take));
        taken.map_err(not_json)?
    })
}

/// A text; `None` if it is something else, or not there.
pub(super) fn text(json: Option<&RawValue>) -> Result<Option<String>, LineProblem> {
    let text = json.map(RawValue::get).filter(|json| json.starts_with('"'));
    text.map(serde_json::from_str).transpose().map_err(not_json)
}

/// The value that `field` has, in the one way to write it.
pub(super) fn normalized(json: &RawValue, field: &str) -> Result<String, LineProblem> {
    if json.get().len() > MAX_TREE_BYTES {
        return Err(LineProblem::Type {
            field: field.to_owned(),
            wanted: "JSON of at most 1 MiB",
        });
    }
    let value: Value = serde_json::from_str(json.get()).map_err(not_json)?;
    Ok(value.to_string())
}

pub(super) fn is_null(json: &RawValue) -> bool {
    json.get() == "null"
}

fn not_json(error: serde_json::Error) -> LineProblem {
    LineProblem::NotJson {
        message: error.to_string(),
    }
}

struct Fields<'a, const N: usize>([&'a str; N]);

impl<'de, const N: usize> Visitor<'de> for Fields<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some((key, value)) = map.next_entry::<Cow<'de, str>, &RawValue>()? {
            for (place, name) in found.iter_mut().zip(self.0) {
                if key == name {
                    *place = Some(value);
                }
            }
        }
        Ok(found)
    }
}

struct Each<F>(F);

impl<'de, F: FnMut(&'de RawValue) -> Result<(), LineProblem>> Visitor<'de> for Each<F> {
    type Value = Result<(), LineProblem>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut taken = Ok(());
        // To the end in any case: the parser takes nothing else.
        while let Some(item) = list.next_element()? {
            if taken.is_ok() {
                taken = (self.0)(item);
            }
        }
        Ok(taken)
    }
}
