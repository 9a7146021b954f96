//! Ids back to text, one at a time.

use super::Tokenizer;

/// Turns ids into text as they come and gives out whole characters only.
///
/// A token may end inside a character: its bytes wait here for the rest. The detokenizer belongs to one stream of ids
/// and does not borrow the tokenizer, so that a session can own both. It allocates nothing itself; the caller's string
/// may grow.
#[derive(Clone, Debug, Default)]
pub struct Detokenizer {
    /// The beginning of a character, `held[..count]`.
    held: [u8; 4],
    count: usize,
    show_special: bool,
    /// The space that the encoder put before the text must go.
    strip_space: bool,
}

impl Detokenizer {
    pub(super) fn new(strip_space: bool) -> Self {
        Self {
            strip_space,
            ..Self::default()
        }
    }

    /// Whether control tokens appear in the text. They do not unless this is called with `true`.
    #[must_use]
    pub fn show_special(mut self, show: bool) -> Self {
        self.show_special = show;
        self
    }

    /// Appends to `out` what `id` completes. Bytes that are not UTF-8 become U+FFFD, as in
    /// [`String::from_utf8_lossy`]. An id outside the vocabulary adds nothing.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32, out: &mut String) {
        let mut bytes = tokenizer.token_bytes(id, self.show_special);
        if self.strip_space && !bytes.is_empty() {
            self.strip_space = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        // First the character begun before, byte by byte.
        while self.count > 0
            && let Some((&byte, rest)) = bytes.split_first()
        {
            self.held[self.count] = byte;
            self.count += 1;
            bytes = rest;
            self.give_out_held(out);
        }
        if self.count == 0 {
            let begun = give_out(bytes, out);
            self.hold(begun);
        }
    }

    /// The stream is over: what is held is no character and becomes U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        if self.count > 0 {
            out.push(char::REPLACEMENT_CHARACTER);
            self.count = 0;
        }
    }

    fn give_out_held(&mut self, out: &mut String) {
        let held = self.held;
        let begun = give_out(&held[..self.count], out);
        self.hold(begun);
    }

    fn hold(&mut self, begun: &[u8]) {
        self.held[..begun.len()].copy_from_slice(begun);
        self.count = begun.len();
    }
}

/// Appends the characters in `bytes` and returns the beginning of one more at their end: three bytes at most.
fn give_out<'b>(bytes: &'b [u8], out: &mut String) -> &'b [u8] {
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        out.push_str(chunk.valid());
        let invalid = chunk.invalid();
        let begun = |bytes| str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none());
        if chunks.peek().is_none() && begun(invalid) {
            return invalid;
        }
        if !invalid.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
    &[]
}
