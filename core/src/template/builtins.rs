//! Everything a template can call: filters, tests, functions, and the guards that [`super::instrument`] puts in front
//! of operators. All of it is metered; what is not listed here does not exist for a template.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Tuple, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, Output, State, escape_formatter, filters, functions, tests};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::meter::{ELEMENT_BYTES, Meter, Stop, is_namespace};
use super::{slice, strftime, tojson};

// Names that no template can write, except ONE, which has to pass through the parser; shadowing it harms nothing.
pub const GUARD_ADD: &str = "\0add";
pub const GUARD_MUL: &str = "\0mul";
pub const GUARD_BOTH: &str = "\0both";
pub const GUARD_GLANCE: &str = "\0glance";
pub const GUARD_ITER: &str = "\0iter";
pub const SETTLE: &str = "\0settle";
pub const SLICE: &str = "\0slice";
pub const CHECK_STORED: &str = "\0stored";
pub const ONE: &str = " __one__ ";

/// Longest `range()`; templates count messages with it.
const MAX_RANGE: usize = 10_000;
/// Longest list that `*` may make.
const MAX_REPEATED_ITEMS: u64 = 10_000;
/// Widest indentation, in `indent` and `tojson`.
pub const MAX_INDENT: usize = 64;
/// Most characters in the argument of `strip` and its kin, which compare each with each.
const MAX_STRIP_SET: usize = 64;

/// A Rust function as a template value, given its arguments as they stand on the stack.
struct Native<F>(F);

impl<F> fmt::Debug for Native<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<function>")
    }
}

impl<F> Object for Native<F>
where
    F: Fn(&mut State<'_, '_>, &[Value]) -> Result<Value, Error> + Send + Sync + 'static,
{
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        (self.0)(state, args)
    }
}

fn native<F>(f: F) -> Value
where
    F: Fn(&mut State<'_, '_>, &[Value]) -> Result<Value, Error> + Send + Sync + 'static,
{
    Value::from_object(Native(f))
}

/// The world of one render.
pub fn environment<'a>(meter: &Meter, now: i64) -> Environment<'a> {
    let mut env = Environment::empty();
    add_guards(&mut env, meter);
    add_functions(&mut env, meter, now);
    add_filters(&mut env, meter);
    add_tests(&mut env, meter);

    let m = meter.clone();
    env.set_formatter(move |out: &mut Output, state: &mut State, value: &Value| {
        m.weigh(value)?;
        escape_formatter(out, state, value)
    });
    let m = meter.clone();
    env.set_unknown_method_callback(move |state, value, method, args| {
        guard_call(&m, method, value, args)?;
        m.settle(unknown_method_callback(state, value, method, args)?)
    });
    env
}

fn add_guards(env: &mut Environment<'_>, meter: &Meter) {
    let mut guard = |name: &'static str, check: fn(&Meter, &[Value]) -> Result<(), Error>| {
        let m = meter.clone();
        let function = native(move |_, args| {
            let mut operands: Vec<Value> = args[0].try_iter()?.collect();
            check(&m, &operands)?;
            operands.reverse();
            Ok(Value::from(Tuple::from(operands)))
        });
        env.add_global(name, function);
    };
    guard(GUARD_BOTH, |m, operands| {
        operands.iter().try_for_each(|operand| m.weigh(operand))
    });
    guard(GUARD_ADD, |m, operands| {
        operands.iter().try_for_each(|operand| m.walk(operand))
    });
    guard(GUARD_GLANCE, |m, operands| m.glance(&operands[0]));
    guard(GUARD_MUL, |m, operands| guard_mul(m, &operands[0], &operands[1]));

    let m = meter.clone();
    env.add_global(
        GUARD_ITER,
        native(move |_, args| m.glance(&args[0]).map(|()| args[0].clone())),
    );
    let m = meter.clone();
    env.add_global(SETTLE, native(move |_, args| m.settle(args[0].clone())));
    let m = meter.clone();
    let stored = native(move |_, args| match is_namespace(&args[0]) {
        true => Err(Stop::Unsupported("a namespace inside a namespace".into()).into()),
        false => m.settle(args[0].clone()),
    });
    env.add_global(CHECK_STORED, stored);
    let m = meter.clone();
    let slice = native(move |_, args| match args {
        [value, start, stop, step] => {
            // Strings go through a vector of characters.
            m.charge(value.as_str().map_or(0, |text| 4 * text.len() as u64))?;
            m.settle(slice::slice(value, start, stop, step)?)
        }
        _ => Err(Error::from(ErrorKind::MissingArgument)),
    });
    env.add_global(SLICE, slice);
    env.add_global(ONE.trim(), 1);
}

fn guard_mul(meter: &Meter, left: &Value, right: &Value) -> Result<(), Error> {
    for (value, times) in [(left, right), (right, left)] {
        let Some(times) = times.as_usize() else { continue };
        if let Some(text) = value.as_str() {
            meter.charge((text.len() as u64).saturating_mul(times as u64))?;
        } else if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            let items = (value.len().unwrap_or(usize::MAX) as u64).saturating_mul(times as u64);
            if items > MAX_REPEATED_ITEMS {
                return Err(Stop::TooLarge.into());
            }
            meter.walk(value)?;
        }
    }
    Ok(())
}

fn add_functions(env: &mut Environment<'_>, meter: &Meter, now: i64) {
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Stop::Refused(message).into())
    });
    env.add_function("strftime_now", move |format: String| strftime::format(&format, now));
    env.add_function("range", range);
    for (name, function) in [
        ("dict", Value::from_function(functions::dict)),
        ("namespace", Value::from_function(functions::namespace)),
    ] {
        env.add_global(name, metered(meter, name, function));
    }
}

/// minijinja's own counts with overflow; ours cannot.
fn range(start: i64, stop: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (start, stop) = stop.map_or((0, start), |stop| (start, stop));
    let (start, stop, step) = (i128::from(start), i128::from(stop), i128::from(step.unwrap_or(1)));
    if step == 0 {
        return Err(Error::new(ErrorKind::InvalidOperation, "range() step must not be zero"));
    }
    let count = ((stop - start) * step.signum() + step.abs() - 1).max(0) / step.abs();
    if count > MAX_RANGE as i128 {
        return Err(Stop::TooLarge.into());
    }
    Ok((0..count).map(|i| Value::from((start + i * step) as i64)).collect())
}

/// `function` with its arguments charged before and its result settled after.
fn metered(meter: &Meter, name: &'static str, function: Value) -> Value {
    let meter = meter.clone();
    native(move |state, args| {
        if let Some((subject, rest)) = args.split_first() {
            guard_call(&meter, name, subject, rest)?;
        }
        meter.settle(function.call(state, args)?)
    })
}

fn add_filters(env: &mut Environment<'_>, meter: &Meter) {
    let all = [
        ("abs", Value::from_function(filters::abs)),
        ("bool", Value::from_function(filters::bool)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("count", Value::from_function(filters::length)),
        ("d", Value::from_function(filters::default)),
        ("default", Value::from_function(filters::default)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("e", Value::from_function(filters::escape)),
        ("escape", Value::from_function(filters::escape)),
        ("first", Value::from_function(filters::first)),
        ("float", Value::from_function(filters::float)),
        ("format", Value::from_function(filters::format)),
        ("indent", Value::from_function(filters::indent)),
        ("int", Value::from_function(filters::int)),
        ("items", Value::from_function(filters::items)),
        ("join", Value::from_function(filters::join)),
        ("last", Value::from_function(filters::last)),
        ("length", Value::from_function(filters::length)),
        ("list", Value::from_function(filters::list)),
        ("lower", Value::from_function(filters::lower)),
        ("map", Value::from_function(filters::map)),
        ("max", Value::from_function(filters::max)),
        ("min", Value::from_function(filters::min)),
        ("reject", Value::from_function(filters::reject)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("replace", Value::from_function(filters::replace)),
        ("reverse", Value::from_function(filters::reverse)),
        ("safe", Value::from_function(filters::safe)),
        ("select", Value::from_function(filters::select)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("sort", Value::from_function(filters::sort)),
        ("string", Value::from_function(filters::string)),
        ("sum", Value::from_function(filters::sum)),
        ("title", Value::from_function(filters::title)),
        ("tojson", native(tojson::filter)),
        ("trim", Value::from_function(filters::trim)),
        ("unique", Value::from_function(filters::unique)),
        ("upper", Value::from_function(filters::upper)),
    ];
    for (name, filter) in all {
        let filter = metered(meter, name, filter);
        env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            filter.call(state, &args.into_values())
        });
    }
}

fn add_tests(env: &mut Environment<'_>, meter: &Meter) {
    let all = [
        ("boolean", Value::from_function(tests::is_boolean)),
        ("defined", Value::from_function(tests::is_defined)),
        ("divisibleby", Value::from_function(tests::is_divisibleby)),
        ("endingwith", Value::from_function(tests::is_endingwith)),
        ("even", Value::from_function(tests::is_even)),
        ("false", Value::from_function(tests::is_false)),
        ("float", Value::from_function(tests::is_float)),
        ("integer", Value::from_function(tests::is_integer)),
        ("iterable", Value::from_function(tests::is_iterable)),
        ("lower", Value::from_function(tests::is_lower)),
        ("mapping", Value::from_function(tests::is_mapping)),
        ("none", Value::from_function(tests::is_none)),
        ("number", Value::from_function(tests::is_number)),
        ("odd", Value::from_function(tests::is_odd)),
        ("sequence", Value::from_function(tests::is_sequence)),
        ("startingwith", Value::from_function(tests::is_startingwith)),
        ("string", Value::from_function(tests::is_string)),
        ("true", Value::from_function(tests::is_true)),
        ("undefined", Value::from_function(tests::is_undefined)),
        ("upper", Value::from_function(tests::is_upper)),
        ("in", Value::from_function(tests::is_in)),
    ];
    let comparisons = [
        (["eq", "equalto", "=="], Value::from_function(tests::is_eq)),
        (["ne", "ne", "!="], Value::from_function(tests::is_ne)),
        (["lt", "lessthan", "<"], Value::from_function(tests::is_lt)),
        (["le", "le", "<="], Value::from_function(tests::is_le)),
        (["gt", "greaterthan", ">"], Value::from_function(tests::is_gt)),
        (["ge", "ge", ">="], Value::from_function(tests::is_ge)),
    ];
    let comparisons = comparisons
        .into_iter()
        .flat_map(|(names, test)| names.map(|name| (name, test.clone())));
    for (name, test) in all.into_iter().chain(comparisons) {
        let test = metered(meter, name, test);
        env.add_test(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
            test.call(state, &args.into_values()).map(|value| value.is_true())
        });
    }
}

/// Charges for a filter, test, function or method before it runs: what it reads, and what it can make where that is
/// more than a constant times what it reads.
fn guard_call(meter: &Meter, name: &str, subject: &Value, rest: &[Value]) -> Result<(), Error> {
    let text_len = |value: Option<&Value>| value.and_then(Value::as_str).map_or(0, |text| text.len() as u64);
    match name {
        // These touch the outermost layer only, and stand in loops over all messages.
        "length" | "count" | "default" | "d" | "first" | "last" | "defined" | "undefined" | "none" | "string"
        | "mapping" | "sequence" | "iterable" | "get"
            if !matches!(name, "string" | "count") || rest.is_empty() && subject.as_str().is_some() =>
        {
            return meter.glance(subject);
        }
        _ => {}
    }
    // These move elements about and look at nothing in them.
    let moves = matches!(
        name,
        "list" | "map" | "select" | "selectattr" | "reject" | "rejectattr" | "reverse" | "items" | "keys" | "values"
    );
    for value in std::iter::once(subject).chain(rest) {
        if moves { meter.walk(value)? } else { meter.weigh(value)? }
    }
    match name {
        "replace" => {
            let (Some(text), Some(old)) = (subject.as_str(), rest.first().and_then(Value::as_str)) else {
                return Ok(());
            };
            let made = (text.matches(old).count() as u64).saturating_mul(text_len(rest.get(1)));
            meter.charge(made)
        }
        "join" => {
            // As a filter the list is the subject, as a method of a string it is the argument.
            let (list, separator) = match subject.as_str() {
                Some(_) if !rest.is_empty() && text_len(rest.first()) == 0 => (&rest[0], Some(subject)),
                _ => (subject, rest.first()),
            };
            meter.charge((list.len().unwrap_or(0) as u64).saturating_mul(1 + text_len(separator)))
        }
        "split" => {
            let parts = match (subject.as_str(), rest.first().and_then(Value::as_str)) {
                (Some(text), Some(separator)) => text.matches(separator).count(),
                (Some(text), None) => text.len() / 2,
                (None, _) => 0,
            };
            meter.charge(ELEMENT_BYTES * (parts as u64 + 1))
        }
        "list" | "reverse" | "map" | "select" | "reject" | "sort" | "unique" | "splitlines" => {
            meter.charge(ELEMENT_BYTES * text_len(Some(subject)))
        }
        "strip" | "lstrip" | "rstrip" | "trim" if text_len(rest.first()) > MAX_STRIP_SET as u64 => {
            Err(Stop::TooLarge.into())
        }
        "indent" => guard_indent(meter, subject, rest),
        "format" => guard_format(subject),
        _ => Ok(()),
    }
}

/// Keyword arguments stand behind the positional ones as one value.
pub fn split_kwargs(args: &[Value]) -> Result<(&[Value], Kwargs), Error> {
    match args.split_last() {
        Some((last, positional)) if last.is_kwargs() => Ok((positional, Kwargs::try_from(last.clone())?)),
        _ => Ok((args, Kwargs::try_from(Value::UNDEFINED)?)),
    }
}

fn guard_indent(meter: &Meter, subject: &Value, rest: &[Value]) -> Result<(), Error> {
    let (positional, kwargs) = split_kwargs(rest)?;
    let named: Option<Value> = kwargs.get("width").ok();
    for width in positional.first().into_iter().chain(&named) {
        if width.as_usize().is_some_and(|width| width > MAX_INDENT) {
            return Err(Stop::TooLarge.into());
        }
    }
    let lines = subject.as_str().map_or(0, |text| text.matches('\n').count() as u64 + 1);
    meter.charge(lines * MAX_INDENT as u64)
}

/// Widths in a format string ask for as much padding as they say: at most three digits, and none from arguments.
fn guard_format(subject: &Value) -> Result<(), Error> {
    let Some(text) = subject.as_str() else { return Ok(()) };
    let long_number = text
        .as_bytes()
        .windows(4)
        .any(|window| window.iter().all(u8::is_ascii_digit));
    let nested = text.split('{').any(|field| field.contains(':') && !field.contains('}'));
    match long_number || nested || text.contains('*') {
        true => Err(Stop::Unsupported("a format string with a computed or a large width".into()).into()),
        false => Ok(()),
    }
}
