//! `value[start:stop:step]` as in Python. minijinja's own panics on an empty sequence read backwards.

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// The indices that `start:stop:step` picks from `len` elements: the algorithm of Python's `slice.indices`.
fn indices(start: Option<i64>, stop: Option<i64>, step: i64, len: usize) -> impl Iterator<Item = usize> {
    let (len, step) = (len as i128, i128::from(step));
    let (lowest, highest) = if step < 0 { (-1, len - 1) } else { (0, len) };
    let bound = |given: Option<i64>, default: i128| {
        given.map_or(default, |index| {
            let index = i128::from(index);
            (if index < 0 { index + len } else { index }).clamp(lowest, highest)
        })
    };
    let (first, last) = if step < 0 { (highest, lowest) } else { (lowest, highest) };
    let (start, stop) = (bound(start, first), bound(stop, last));
    let count = ((stop - start) * step.signum() + step.abs() - 1).max(0) / step.abs();
    (0..count).map(move |i| (start + i * step) as usize)
}

/// A new string, list or tuple; nothing of an undefined value or none.
pub fn slice(value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let integer = |value: &Value| -> Result<Option<i64>, Error> {
        if value.is_none() || value.is_undefined() {
            Ok(None)
        } else {
            i64::try_from(value.clone()).map(Some)
        }
    };
    let (start, stop, step) = (integer(start)?, integer(stop)?, integer(step)?.unwrap_or(1));
    if step == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "slice step cannot be zero"));
    }
    if let Some(text) = value.as_str() {
        let chars: Vec<char> = text.chars().collect();
        return Ok(Value::from(
            indices(start, stop, step, chars.len())
                .map(|i| chars[i])
                .collect::<String>(),
        ));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(Value::from(Vec::<Value>::new())),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.checked().collect::<Result<Vec<Value>, Error>>()?;
            let picked: Vec<Value> = indices(start, stop, step, items.len())
                .map(|i| items[i].clone())
                .collect();
            Ok(if value.is_tuple() {
                Value::from(Tuple::from(picked))
            } else {
                Value::from(picked)
            })
        }
        kind => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("value of type {kind} cannot be sliced"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are Python's: `list(range(n))[start:stop:step]`.
    #[test]
    fn picks_what_python_picks() {
        type Bounds = (Option<i64>, Option<i64>, i64);
        let cases: [(usize, Bounds, &[usize]); 14] = [
            (5, (None, None, 1), &[0, 1, 2, 3, 4]),
            (5, (None, None, -1), &[4, 3, 2, 1, 0]),
            (0, (None, None, -1), &[]),
            (0, (Some(0), Some(9), 1), &[]),
            (5, (Some(1), Some(-1), 1), &[1, 2, 3]),
            (5, (Some(-2), None, 1), &[3, 4]),
            (5, (Some(-99), Some(99), 2), &[0, 2, 4]),
            (5, (None, Some(0), -1), &[4, 3, 2, 1]),
            (5, (Some(3), Some(-99), -2), &[3, 1]),
            (5, (Some(99), None, -3), &[4, 1]),
            (5, (Some(3), Some(1), 1), &[]),
            (5, (Some(1), Some(3), -1), &[]),
            (5, (Some(i64::MIN), Some(i64::MAX), i64::MAX), &[0]),
            (5, (Some(i64::MAX), Some(i64::MIN), i64::MIN), &[4]),
        ];
        for (len, (start, stop, step), expected) in cases {
            let picked: Vec<usize> = indices(start, stop, step, len).collect();
            assert_eq!(picked, expected, "{len} {start:?}:{stop:?}:{step}");
        }
    }
}
