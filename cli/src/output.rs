//! What all commands print alike: errors, JSON, sizes, tables.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

/// What a command ends with. The error's text is for people: it names the place and says what to do.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// An error that names the file it is about, once.
pub fn about(path: &Path, error: halfpi::Error) -> Box<dyn Error> {
    let (path, message) = (path.display().to_string(), error.to_string());
    if message.contains(&path) {
        message.into()
    } else {
        format!("{path}: {message}").into()
    }
}

/// Whether the reader of our output has gone.
pub fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints `value` as JSON on standard output.
pub fn print_json(value: &impl Serialize) -> Outcome {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

/// Prints `text` as it is. Unlike `print!` it does not panic when the reader has gone.
pub fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// The text file at `path`.
pub fn read_text(path: &Path) -> Outcome<String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        format!(
            "{} is not UTF-8 from byte {valid} on; give a plain text file",
            path.display()
        )
    })?;
    Ok(text)
}

/// `97.3 MB`: decimal units, as disks and downloads have them.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.95 {
            let decimals = if unit == "B" { 0 } else { 1 };
            return format!("{value:.decimals$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// `134.5 M`: how many parameters or tokens.
pub fn count(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{:.1} k", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", count as f64 / 1e6),
        _ => format!("{:.2} G", count as f64 / 1e9),
    }
}

/// A hash in hexadecimal digits.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text from a file on one line, cut to `width` characters, with nothing in it that a terminal obeys.
pub fn one_line(text: &str, width: usize) -> String {
    let mut shown = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == width {
            shown.push('…');
            break;
        }
        if is_obeyed(c) {
            shown.extend(c.escape_debug())
        } else {
            shown.push(c)
        }
    }
    shown
}

/// Text from a model as a terminal may show it: lines and tabs stay, escape sequences are taken apart.
pub fn terminal_safe(text: &str) -> Cow<'_, str> {
    let bad = |c: char| is_obeyed(c) && !matches!(c, '\n' | '\t');
    if !text.contains(bad) {
        return text.into();
    }
    text.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

/// Controls, line separators and direction overrides; letters and marks of all scripts are none.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Rows in columns as wide as their widest cell, two spaces apart; the columns from `right` on are aligned right.
pub fn table(rows: &[Vec<String>], right: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column < right {
                true => write!(line, "  {cell:<width$}"),
                false => write!(line, "  {cell:>width$}"),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_four_digits_at_most() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(999_950), "1.0 MB");
        assert_eq!(bytes(97_300_000), "97.3 MB");
        assert_eq!(bytes(u64::MAX), "18446744.1 TB");
        assert_eq!(count(9_999), "9999");
        assert_eq!(count(134_515_008), "134.5 M");
    }

    #[test]
    fn hostile_text_stays_on_its_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m\u{202e}", 99), "a\\nb\\u{1b}[31m\\u{202e}");
        assert_eq!(one_line("żółw שלום", 6), "żółw ש…");
        assert_eq!(terminal_safe("a\n\tb\u{1b}]0;x\u{7}"), "a\n\tb\u{fffd}]0;x\u{fffd}");
    }

    #[test]
    fn tables_align() {
        let rows = [["a", "bb", "1"], ["ccc", "d", "22"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows, 2), "  a    bb   1\n  ccc  d   22\n");
    }
}
