//! What people wrote, inside a text that a template made.
//!
//! A template mixes its control tokens with the messages, and its result is one text. So that nobody forges a turn by
//! writing `<|im_end|>` in a message, control tokens in messages are marked on their way in, and those with a mark are
//! taken for text on the way out. Everything else is encoded as if there had been no marks.

use super::table::Kind;
use super::{Special, Tokenizer};

/// Stands behind the first character of a control token that is none, so that the two stay together where a template
/// cuts the text. A noncharacter, which has no place in a text that is passed on (The Unicode Standard, section 23.7).
const MARK: char = '\u{fdd0}';

impl Tokenizer {
    /// Marks the control tokens that are written in a message, for [`encode_marked`](Self::encode_marked).
    pub fn mark(&self, text: &str) -> String {
        let is_control = |id| matches!(self.tokens.kind(id), Some(Kind::Control | Kind::Unknown));
        let mut marked = String::with_capacity(text.len());
        for (at, char) in text.char_indices() {
            // Who writes a mark gets what stands for any character that cannot be shown.
            let is_mark = char == MARK;
            marked.push(if is_mark { char::REPLACEMENT_CHARACTER } else { char });
            if self.special.longest_at(&text.as_bytes()[at..], is_control).is_some() {
                marked.push(MARK);
            }
        }
        marked
    }

    /// The ids of a template's text, without BOS or EOS. Control tokens are parsed but for those with a mark.
    pub fn encode_marked(&self, text: &str) -> Vec<u32> {
        let mut plain = String::with_capacity(text.len());
        let mut marked = Vec::new();
        for part in text.split_inclusive(MARK) {
            let before_mark = part.strip_suffix(MARK);
            plain.push_str(before_mark.unwrap_or(part));
            if let (Some(_), Some((first, _))) = (before_mark, plain.char_indices().next_back()) {
                marked.push(first);
            }
        }
        let mut ids = Vec::with_capacity(plain.len() / 3);
        self.encode_into(&plain, &mut ids, |at, id| match marked.binary_search(&at) {
            Ok(_) => self.accepts(Special::AsText, id),
            Err(_) => true,
        });
        ids
    }
}
