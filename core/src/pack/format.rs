//! What weights can be packed into.

use std::fmt;
use std::str::FromStr;

use halfpi_kernels::format::ScaleGroup;

use super::PackError;

/// A format that `halfpi pack` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 8-bit integers, the largest weight of a group at 127.
    Q8,
    /// The φ ladder: a sign and eight Fibonacci numbers; the scale minimises the squared error.
    Phi4,
    /// The additive φ table: a sign and eight sums of two powers of φ; the scale minimises the squared error.
    Phi4Additive,
    /// Complex weights as powers of i, with a scale each for real and for imaginary ones.
    PhaseComplex,
    /// llama.cpp's Q8_0, Q4_0, Q4_1 and IQ4_NL in tiles, ready to use in place; floats as they are.
    Lossless,
    /// IEEE binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
    /// IEEE binary32.
    F32,
}

const NAMED: [(&str, Format); 8] = [
    ("q8", Format::Q8),
    ("phi4", Format::Phi4),
    ("phi4-additive", Format::Phi4Additive),
    ("phase-complex", Format::PhaseComplex),
    ("lossless", Format::Lossless),
    ("f16", Format::F16),
    ("bf16", Format::Bf16),
    ("f32", Format::F32),
];

impl Format {
    /// The names of all formats.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|&(name, _)| name)
    }

    /// The name that `--format` takes.
    pub fn name(self) -> &'static str {
        NAMED
            .iter()
            .find(|(_, format)| *format == self)
            .map_or("", |(name, _)| name)
    }

    /// llama.cpp's number for files mostly of this format, `general.file_type`. There is none for packed codes, and
    /// readers that miss the key look at the tensors instead, while a wrong number would be shown as the truth.
    pub(super) fn file_type(self) -> Option<u32> {
        match self {
            Format::F32 => Some(0),
            Format::F16 => Some(1),
            Format::Bf16 => Some(32),
            _ => None,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = PackError;

    fn from_str(name: &str) -> Result<Self, PackError> {
        let found = NAMED.iter().find(|(known, _)| *known == name);
        found
            .map(|&(_, format)| format)
            .ok_or_else(|| PackError::UnknownFormat {
                name: name.to_owned(),
                known: Format::names().collect::<Vec<_>>().join(", "),
            })
    }
}

/// How a model is packed.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format of all matrices that `keep` does not name.
    pub format: Format,
    /// Which weights of a row share a scale. Where the columns are no multiple of it, smaller groups are taken.
    pub group: ScaleGroup,
    /// Formats for some tensors; the first that matches counts.
    pub keep: Vec<Keep>,
    /// Threads that quantize.
    pub threads: usize,
    /// Whether to take what [`PackError::Loss`] refuses.
    pub allow_loss: bool,
    /// Whether to gather a [`Survey`](super::Survey) of each matrix.
    pub survey: bool,
}

impl Options {
    /// Everything in one format, in groups of 32.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            group: ScaleGroup::Columns(32),
            keep: Vec::new(),
            threads: std::thread::available_parallelism().map_or(1, |threads| threads.get()),
            allow_loss: false,
            survey: false,
        }
    }

    /// The format for a matrix.
    pub(super) fn format_of(&self, name: &str) -> Format {
        let keep = self.keep.iter().find(|keep| matches(&keep.pattern, name));
        keep.map_or(self.format, |keep| keep.format)
    }
}

/// Another format for the matrices whose names match: `--keep PATTERN=FORMAT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// A tensor's name, in which `*` stands for any characters.
    pub pattern: String,
    /// Their format.
    pub format: Format,
}

impl FromStr for Keep {
    type Err = PackError;

    fn from_str(text: &str) -> Result<Self, PackError> {
        match text.split_once('=') {
            Some((pattern, format)) if !pattern.is_empty() => Ok(Self {
                pattern: pattern.to_owned(),
                format: format.parse()?,
            }),
            _ => Err(PackError::BadKeep { text: text.to_owned() }),
        }
    }
}

/// Reads `--group`: a number of columns, or `row`.
///
/// # Errors
/// [`PackError::BadGroup`].
pub fn parse_group(text: &str) -> Result<ScaleGroup, PackError> {
    match text {
        "32" => Ok(ScaleGroup::Columns(32)),
        "64" => Ok(ScaleGroup::Columns(64)),
        "128" => Ok(ScaleGroup::Columns(128)),
        "row" => Ok(ScaleGroup::Row),
        _ => Err(PackError::BadGroup { text: text.to_owned() }),
    }
}

/// Whether `name` is what `pattern` describes, where `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    // Taking each middle part where it comes first leaves the most for the ones after it.
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("output.weight", "output.weight", true),
            ("output.weight", "output.weight2", false),
            ("output", "output.weight", false),
            ("*", "", true),
            ("*.attn_?.weight", "blk.0.attn_q.weight", false),
            ("blk.*.attn_*.weight", "blk.12.attn_q.weight", true),
            ("blk.*.attn_*.weight", "blk.12.ffn_up.weight", false),
            ("*a*a", "a", false),
            ("*a*a", "aa", true),
            ("a*", "ba", false),
            ("**norm**", "blk.0.attn_norm.weight", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn keeps_are_read_and_the_first_counts() {
        let keep = |text: &str| text.parse::<Keep>();
        assert_eq!(keep("blk.*=q8").unwrap().format, Format::Q8);
        assert!(matches!(keep("blk"), Err(PackError::BadKeep { .. })));
        assert!(matches!(keep("=q8"), Err(PackError::BadKeep { .. })));
        assert!(matches!(keep("blk=q9"), Err(PackError::UnknownFormat { .. })));
        let options = Options {
            keep: vec![keep("*.attn_q.*=f16").unwrap(), keep("blk.0.*=q8").unwrap()],
            ..Options::new(Format::Phi4)
        };
        assert_eq!(options.format_of("blk.0.attn_q.weight"), Format::F16);
        assert_eq!(options.format_of("blk.0.attn_k.weight"), Format::Q8);
        assert_eq!(options.format_of("blk.1.attn_k.weight"), Format::Phi4);
    }

    #[test]
    fn names_lead_back_to_their_formats() {
        for name in Format::names() {
            assert_eq!(name.parse::<Format>().unwrap().name(), name);
        }
        assert_eq!(parse_group("row").unwrap(), ScaleGroup::Row);
        assert!(matches!(parse_group("48"), Err(PackError::BadGroup { .. })));
    }
}
