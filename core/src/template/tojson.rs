//! The `tojson` filter as Hugging Face defines it: Python's `json.dumps` with `ensure_ascii=False`, without the HTML
//! escapes of Jinja's own filter, and with a space after `,` and `:`.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::builtins::{MAX_INDENT, split_kwargs};
use super::meter::Stop;

struct Style {
    indent: Option<usize>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
    ensure_ascii: bool,
}

/// `value | tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
///
/// The caller has weighed the arguments: nesting is bounded, and the output is at most 6 bytes for a byte of text
/// and [`MAX_INDENT`] times the depth for an element.
pub fn filter(_: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
    let (positional, kwargs) = split_kwargs(args)?;
    let [value, positional @ ..] = positional else {
        return Err(Error::from(ErrorKind::MissingArgument));
    };
    let argument = |position: usize, name: &str| -> Option<Value> {
        positional
            .get(position)
            .cloned()
            .or_else(|| kwargs.get(name).ok())
            .filter(|value| !value.is_none())
    };
    let ensure_ascii = argument(0, "ensure_ascii").is_some_and(|value| value.is_true());
    let indent = argument(1, "indent").and_then(|value| value.as_usize());
    let separators = argument(2, "separators");
    let sort_keys = argument(3, "sort_keys").is_some_and(|value| value.is_true());
    kwargs.assert_all_used()?;
    if indent.is_some_and(|indent| indent > MAX_INDENT) {
        return Err(Stop::TooLarge.into());
    }
    let separator = |index: usize, default: &str| -> String {
        let given = separators.as_ref().and_then(|pair| pair.get_item_by_index(index).ok());
        given.as_ref().and_then(Value::as_str).unwrap_or(default).to_string()
    };
    let style = Style {
        indent,
        item_separator: separator(0, if indent.is_some() { "," } else { ", " }),
        key_separator: separator(1, ": "),
        sort_keys,
        ensure_ascii,
    };
    if style.item_separator.len() + style.key_separator.len() > MAX_INDENT {
        return Err(Stop::TooLarge.into());
    }
    let mut out = String::new();
    write_value(&mut out, value, &style, 0)?;
    Ok(Value::from(out))
}

fn write_value(out: &mut String, value: &Value, style: &Style, depth: usize) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        write_string(out, text, style);
        return Ok(());
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write_number(out, value),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            write_container(out, style, depth, ['[', ']'], &items, |out, item| {
                write_value(out, item, style, depth + 1)
            })?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if style.sort_keys {
                keys.sort();
            }
            write_container(out, style, depth, ['{', '}'], &keys, |out, key| {
                match key.as_str() {
                    Some(text) => write_string(out, text, style),
                    None => {
                        out.push('"');
                        write_value(out, key, style, depth + 1)?;
                        out.push('"');
                    }
                }
                out.push_str(&style.key_separator);
                write_value(out, &value.get_item(key)?, style, depth + 1)
            })?;
        }
        kind => {
            let message = format!("a value of type {kind} is not JSON serializable");
            return Err(Error::new(ErrorKind::BadSerialization, message));
        }
    }
    Ok(())
}

fn write_container(
    out: &mut String,
    style: &Style,
    depth: usize,
    brackets: [char; 2],
    items: &[Value],
    mut write_item: impl FnMut(&mut String, &Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let break_line = |out: &mut String, depth: usize| {
        if let (Some(indent), false) = (style.indent, items.is_empty()) {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    };
    out.push(brackets[0]);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(&style.item_separator);
        }
        break_line(out, depth + 1);
        write_item(out, item)?;
    }
    break_line(out, depth);
    out.push(brackets[1]);
    Ok(())
}

fn write_number(out: &mut String, value: &Value) {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() && !number.is_finite() => {
            out.push_str(if number.is_nan() {
                "NaN"
            } else if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            });
        }
        _ => _ = write!(out, "{value}"),
    }
}

fn write_string(out: &mut String, text: &str, style: &Style) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => _ = write!(out, "\\u{:04x}", c as u32),
            c if style.ensure_ascii && c > '~' => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
