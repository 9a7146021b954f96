//! Pre-tokenizers: cut text into the words that byte-pair merges stay within.
//!
//! Each model family cuts with a regular expression of its own, given here above the function that does the same by
//! hand. The functions read every character at most twice and never backtrack, whatever the text, and they need no
//! regex engine. Every piece of text goes into exactly one word, in order.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::error::TokenizerError;

/// A way of cutting text into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PreTokenizer {
    /// GPT-2's expression.
    Gpt2,
    /// GPT-2's, after every digit was set apart (SmolLM, StarCoder).
    DigitsGpt2,
    /// What llama.cpp does where a file names nothing.
    Default,
    /// cl100k and its relatives.
    Cl100k {
        /// How many digits a word may have.
        max_digits: usize,
        /// Whether combining marks count as letters.
        marks_are_letters: bool,
    },
}

const LLAMA3: PreTokenizer = PreTokenizer::Cl100k {
    max_digits: 3,
    marks_are_letters: false,
};
const QWEN2: PreTokenizer = PreTokenizer::Cl100k {
    max_digits: 1,
    marks_are_letters: false,
};
const QWEN35: PreTokenizer = PreTokenizer::Cl100k {
    max_digits: 1,
    marks_are_letters: true,
};

/// The values of `tokenizer.ggml.pre`, grouped by what they do.
const NAMES: &[(&[&str], PreTokenizer)] = &[
    (
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        PreTokenizer::DigitsGpt2,
    ),
    (
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
        ],
        PreTokenizer::Gpt2,
    ),
    (
        &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "dbrx",
            "smaug-bpe",
            "glm4",
            "chatglm-bpe",
        ],
        LLAMA3,
    ),
    (
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        QWEN2,
    ),
    (&["qwen35"], QWEN35),
    (&["default"], PreTokenizer::Default),
];

/// The values of `tokenizer.ggml.pre` whose tokenizers take a word that is a token whole, merges or not
/// (`ignore_merges` in tokenizer.json).
const IGNORE_MERGES: &[&str] = &[
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
];

impl PreTokenizer {
    /// The pre-tokenizer that a file asks for.
    pub(super) fn from_name(name: Option<&str>) -> Result<Self, TokenizerError> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(PreTokenizer::Default);
        };
        let found = NAMES.iter().find(|(names, _)| names.contains(&name));
        found
            .map(|&(_, pre)| pre)
            .ok_or_else(|| TokenizerError::UnknownPreTokenizer {
                pre: super::error::excerpt(name),
            })
    }

    /// All supported names, for an error message.
    pub(super) fn names() -> String {
        let names: Vec<&str> = NAMES.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        names.join(", ")
    }

    /// Whether a word that is a token is taken whole.
    pub(super) fn ignores_merges(name: Option<&str>) -> bool {
        name.is_some_and(|name| IGNORE_MERGES.contains(&name))
    }

    /// Calls `word` with each word of `text` in order.
    pub(super) fn split(self, text: &str, mut word: impl FnMut(&str)) {
        match self {
            PreTokenizer::Gpt2 => gpt2(text, &mut word),
            PreTokenizer::DigitsGpt2 => isolate(text, is_number, true, |part, is_digit| {
                if is_digit { word(part) } else { gpt2(part, &mut word) }
            }),
            PreTokenizer::Default => default(text, &mut word),
            PreTokenizer::Cl100k {
                max_digits,
                marks_are_letters,
            } => cl100k(text, max_digits, marks_are_letters, &mut word),
        }
    }
}

/// What the expressions tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// `\p{L}`
    Letter,
    /// `\p{M}`
    Mark,
    /// `\p{N}`
    Number,
    /// `\r` or `\n`
    Newline,
    /// `\s` without those two
    Space,
    /// Anything else: `[^\s\p{L}\p{N}]`, with [`Class::Mark`]
    Other,
}

impl Class {
    fn of(c: char) -> Self {
        match c {
            'a'..='z' | 'A'..='Z' => Class::Letter,
            '0'..='9' => Class::Number,
            '\r' | '\n' => Class::Newline,
            ' ' | '\t' | '\x0b' | '\x0c' => Class::Space,
            '\0'..='\x7f' => Class::Other,
            c => match c.general_category_group() {
                GeneralCategoryGroup::Letter => Class::Letter,
                GeneralCategoryGroup::Mark => Class::Mark,
                GeneralCategoryGroup::Number => Class::Number,
                _ if c.is_whitespace() => Class::Space,
                _ => Class::Other,
            },
        }
    }

    fn is_whitespace(self) -> bool {
        matches!(self, Class::Space | Class::Newline)
    }
}

fn is_number(c: char) -> bool {
    Class::of(c) == Class::Number
}

/// Text with a position before which everything has been given to a word.
struct Scanner<'t> {
    text: &'t str,
    marks_are_letters: bool,
}

impl Scanner<'_> {
    /// The class of the character at `at` and where the next one starts.
    #[inline]
    fn class(&self, at: usize) -> Option<(Class, usize)> {
        let c = self.text[at..].chars().next()?;
        let class = match Class::of(c) {
            Class::Mark if self.marks_are_letters => Class::Letter,
            Class::Mark => Class::Other,
            class => class,
        };
        Some((class, at + c.len_utf8()))
    }

    /// The end of the longest run of `class` from `at`, of at most `limit` characters.
    #[inline]
    fn run(&self, mut at: usize, class: Class, limit: usize) -> usize {
        for _ in 0..limit {
            match self.class(at) {
                Some((found, next)) if found == class => at = next,
                _ => break,
            }
        }
        at
    }

    /// `\s+(?!\S)|\s+` at whitespace: a run gives its last character to the word that follows.
    fn whitespace(&self, start: usize) -> usize {
        let (mut last, mut end) = (start, start);
        while let Some((class, next)) = self.class(end)
            && class.is_whitespace()
        {
            (last, end) = (end, next);
        }
        if end == self.text.len() || last == start {
            end
        } else {
            last
        }
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
fn gpt2(text: &str, word: &mut impl FnMut(&str)) {
    let scanner = Scanner {
        text,
        marks_are_letters: false,
    };
    let mut start = 0;
    while start < text.len() {
        let rest = &text[start..];
        let end = if let Some(length) = contraction(rest) {
            start + length
        } else {
            let body = start + usize::from(rest.starts_with(' '));
            match scanner.class(body) {
                Some((class, next)) if !class.is_whitespace() => scanner.run(next, class, usize::MAX),
                _ => scanner.whitespace(start),
            }
        };
        word(&text[start..end]);
        start = end;
    }
}

/// The length of `'s|'t|'re|'ve|'m|'ll|'d` at the start of `rest`.
fn contraction(rest: &str) -> Option<usize> {
    match rest.as_bytes() {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => Some(2),
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => Some(3),
        _ => None,
    }
}

/// The length of `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at the start of `rest`. Case folding makes the long s an s.
fn contraction_any_case(rest: &str) -> Option<usize> {
    if rest.starts_with("'ſ") {
        return Some("'ſ".len());
    }
    match rest.as_bytes() {
        [b'\'', letters @ ..] => {
            let lower = |at: usize| letters.get(at).map_or(0, u8::to_ascii_lowercase);
            match (lower(0), lower(1)) {
                (b's' | b't' | b'm' | b'd', _) => Some(2),
                (b'r' | b'v', b'e') | (b'l', b'l') => Some(3),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,max_digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
///
/// With `marks_are_letters`, `[\p{L}\p{M}]` stands for the second `\p{L}` and for the third.
fn cl100k(text: &str, max_digits: usize, marks_are_letters: bool, word: &mut impl FnMut(&str)) {
    let scanner = Scanner {
        text,
        marks_are_letters,
    };
    let mut start = 0;
    while let Some((first, next)) = scanner.class(start) {
        let end = contraction_any_case(&text[start..]).map_or_else(
            || match (first, scanner.class(next)) {
                (Class::Letter, _) | (Class::Space | Class::Other, Some((Class::Letter, _))) => {
                    scanner.run(next, Class::Letter, usize::MAX)
                }
                (Class::Number, _) => scanner.run(next, Class::Number, max_digits - 1),
                (Class::Other, _) => punctuation(&scanner, next),
                (_, Some((Class::Other, after))) if text[start..].starts_with(' ') => punctuation(&scanner, after),
                _ => lines(&scanner, start),
            },
            |length| start + length,
        );
        word(&text[start..end]);
        start = end;
    }
}

/// The rest of `[^\s\p{L}\p{N}]+[\r\n]*`
fn punctuation(scanner: &Scanner<'_>, at: usize) -> usize {
    let end = scanner.run(at, Class::Other, usize::MAX);
    scanner.run(end, Class::Newline, usize::MAX)
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+` at whitespace
fn lines(scanner: &Scanner<'_>, start: usize) -> usize {
    let (mut end, mut last_newline) = (start, None);
    while let Some((class, next)) = scanner.class(end)
        && class.is_whitespace()
    {
        end = next;
        if class == Class::Newline {
            last_newline = Some(next);
        }
    }
    last_newline.unwrap_or_else(|| scanner.whitespace(start))
}

/// Four expressions in turn, each cutting what the one before left:
/// `[\p{P}\$\+<=>\^~\|]+`, then GPT-2's, then `\p{N}+`, then `[0-9][0-9][0-9]`.
fn default(text: &str, word: &mut impl FnMut(&str)) {
    let is_punctuation = |c: char| match c {
        '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|' => true,
        c => c.general_category_group() == GeneralCategoryGroup::Punctuation,
    };
    let mut numbers = |part: &str| {
        isolate(part, is_number, false, |part, is_number| {
            if is_number { triples(part, word) } else { word(part) }
        })
    };
    isolate(text, is_punctuation, false, |part, _| gpt2(part, &mut numbers));
}

/// `[0-9][0-9][0-9]`
fn triples(text: &str, word: &mut impl FnMut(&str)) {
    let (mut start, mut at) = (0, 0);
    while let Some(three) = text.as_bytes().get(at..at + 3) {
        if !three.iter().all(u8::is_ascii_digit) {
            at += 1;
            continue;
        }
        if start < at {
            word(&text[start..at]);
        }
        word(&text[at..at + 3]);
        at += 3;
        start = at;
    }
    if start < text.len() {
        word(&text[start..]);
    }
}

/// Cuts text into runs of characters that do or do not match, the matching ones `alone` or together.
fn isolate(text: &str, matches: impl Fn(char) -> bool, alone: bool, mut part: impl FnMut(&str, bool)) {
    let mut start = 0;
    let mut chars = text.char_indices().map(|(at, c)| (at, matches(c))).peekable();
    while let Some((_, matched)) = chars.next() {
        let next = chars.peek();
        let goes_on = next.is_some_and(|&(_, next)| next == matched) && !(matched && alone);
        if !goes_on {
            let end = next.map_or(text.len(), |&(at, _)| at);
            part(&text[start..end], matched);
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// What Hugging Face `tokenizers` does, from `tests/reference/tokenizer_goldens.py`.
    fn golden(name: &str) -> Value {
        let path = format!("{}/../tests/golden/tokenizer/{name}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(&path).expect(&path)).expect(&path)
    }

    #[test]
    fn words_are_those_of_the_regular_expressions() {
        let golden = golden("splits.json");
        let all = [&self::golden("texts.json")["texts"], &golden["more_texts"]];
        let texts: Vec<&str> = all
            .iter()
            .flat_map(|texts| texts.as_array().unwrap())
            .map(|text| text.as_str().unwrap())
            .collect();
        let by_name = golden["lengths"].as_object().unwrap();
        assert!(texts.len() > 400 && by_name.len() == 6);
        for (name, lengths) in by_name {
            let pre = PreTokenizer::from_name(Some(name)).unwrap();
            for (text, lengths) in texts.iter().zip(lengths.as_array().unwrap()) {
                let mut words = Vec::new();
                pre.split(text, |word| words.push(word.to_owned()));
                let found: Vec<usize> = words.iter().map(String::len).collect();
                let expected: Vec<usize> = lengths
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|n| n.as_u64().unwrap() as usize)
                    .collect();
                assert_eq!(found, expected, "{name} cuts {text:?} into {words:?}");
                assert_eq!(words.concat(), *text);
            }
        }
    }

    #[test]
    fn characters_are_classed_as_by_the_regular_expressions() {
        let golden = golden("classes.json");
        let is = |name: &str, c: char| {
            let ranges = golden[name].as_array().unwrap();
            let upto = ranges.partition_point(|range| range[0].as_u64().unwrap() <= c as u64);
            upto > 0 && ranges[upto - 1][1].as_u64().unwrap() >= c as u64
        };
        let mut newer = 0;
        for c in '\0'..=char::MAX {
            // Characters that Unicode got after the oracle was built.
            if is("unassigned", c) && c.general_category_group() != GeneralCategoryGroup::Other {
                newer += 1;
                continue;
            }
            let expected = match c {
                '\r' | '\n' => Class::Newline,
                c if is("whitespace", c) => Class::Space,
                c if is("letter", c) => Class::Letter,
                c if is("mark", c) => Class::Mark,
                c if is("number", c) => Class::Number,
                _ => Class::Other,
            };
            assert_eq!(Class::of(c), expected, "U+{:04X}", c as u32);
            assert_eq!(
                c.general_category_group() == GeneralCategoryGroup::Punctuation,
                is("punctuation", c),
                "U+{:04X}",
                c as u32
            );
        }
        println!("{newer} characters are newer than the oracle's Unicode");
        assert!(newer < 20_000);
    }

    #[test]
    fn unknown_names_are_refused() {
        let error = PreTokenizer::from_name(Some("tekken")).unwrap_err();
        assert!(
            error.to_string().contains("tekken") && error.to_string().contains("smollm"),
            "{error}"
        );
        assert_eq!(PreTokenizer::from_name(None), Ok(PreTokenizer::Default));
        assert_eq!(PreTokenizer::from_name(Some("")), Ok(PreTokenizer::Default));
    }
}
