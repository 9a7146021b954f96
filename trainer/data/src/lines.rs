//! Lines of a file, one at a time and of bounded length.

use std::io::{self, BufRead, Read};

/// The byte order mark that some editors put before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads lines from something. What a line does not need is never in memory.
pub(super) struct Lines<R> {
    input: R,
    limit: usize,
    buffer: Vec<u8>,
    /// Bytes before the next line.
    byte: u64,
    /// Lines before the next one.
    line: u64,
}

/// What was found in the place of a line.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// Its bytes, without the end of the line.
    Bytes(&'a [u8]),
    /// Its end was not found within the limit; it was passed over.
    TooLong,
}

impl<R: BufRead> Lines<R> {
    /// `byte` and `line` say where `input` stands.
    pub fn new(input: R, limit: usize, byte: u64, line: u64) -> Self {
        Self {
            input,
            limit,
            buffer: Vec::new(),
            byte,
            line,
        }
    }

    /// The next line; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        // Two more, for the end of the line.
        let most = (self.limit as u64).saturating_add(2);
        let mut taken = (&mut self.input).take(most).read_until(b'\n', &mut self.buffer)? as u64;
        if taken == 0 {
            return Ok(None);
        }
        let is_cut = taken == most && !self.buffer.ends_with(b"\n");
        let passed = if is_cut { pass_over(&mut self.input)? } else { 0 };
        taken += passed;
        let is_first = self.byte == 0;
        self.byte += taken;
        self.line += 1;
        let mut bytes = self.buffer.as_slice();
        bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if is_first {
            bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        }
        Ok(Some(match passed > 0 || bytes.len() > self.limit {
            true => Line::TooLong,
            false => Line::Bytes(bytes),
        }))
    }

    /// Whether everything was read.
    pub fn at_end(&mut self) -> io::Result<bool> {
        Ok(self.input.fill_buf()?.is_empty())
    }

    /// Bytes before the next line.
    pub fn byte(&self) -> u64 {
        self.byte
    }

    /// Lines before the next one: the number of the last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }
}

/// Reads up to and with the end of the line; returns how many bytes that were.
fn pass_over(input: &mut impl BufRead) -> io::Result<u64> {
    let mut passed = 0;
    loop {
        let (used, is_over) = match input.fill_buf() {
            Ok([]) => return Ok(passed),
            Ok(bytes) => match bytes.iter().position(|&byte| byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (bytes.len(), false),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        input.consume(used);
        passed += used as u64;
        if is_over {
            return Ok(passed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use std::io::BufReader;

    fn all(bytes: &[u8], limit: usize, buffer: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, bytes), limit, 0, 0);
        let mut found = Vec::new();
        while !lines.at_end().unwrap() {
            found.push(match lines.next().unwrap().unwrap() {
                Line::Bytes(bytes) => Some(bytes.to_vec()),
                Line::TooLong => None,
            });
        }
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!((lines.byte(), lines.line()), (bytes.len() as u64, found.len() as u64));
        found
    }

    #[test]
    fn ends_of_lines_and_the_mark_at_the_start_are_no_text() {
        let text = "\u{feff}one\r\n\ntwo\n\u{feff}three";
        let expected = ["one", "", "two", "\u{feff}three"].map(|line| Some(line.as_bytes().to_vec()));
        assert_eq!(all(text.as_bytes(), 100, 7), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let (fits, long) = (vec![b'a'; 10], vec![b'b'; 10_000]);
        let text = [&fits[..], b"\r\n", &long, b"\n", &fits, b"c\n", &fits].concat();
        assert_eq!(all(&text, 10, 64), [Some(fits.clone()), None, None, Some(fits.clone())]);
    }

    /// Whatever the bytes: every one is in one line, and a line found again from its place is the same.
    #[test]
    fn any_bytes_are_read_and_found_again() {
        let mut random = Random::new(1);
        for _ in 0..300 {
            let length = random.below(60);
            let bytes: Vec<u8> = (0..length)
                .map(|_| b"\n\r\xef\xbb\xbfa\xff{"[random.below(8) as usize])
                .collect();
            let limit = random.below(9) as usize;
            all(&bytes, limit, 1 + random.below(7) as usize);

            let mut lines = Lines::new(&bytes[..], limit, 0, 0);
            loop {
                let (byte, line) = (lines.byte(), lines.line());
                let mut again = Lines::new(&bytes[byte as usize..], limit, byte, line);
                let found = lines.next().unwrap();
                assert_eq!(again.next().unwrap(), found);
                if found.is_none() {
                    break;
                }
            }
        }
    }
}
