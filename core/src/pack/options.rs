//! How a model is packed.

use std::str::FromStr;

use super::{Calibration, Exponents, Format, Method, PackError, Scales};

/// How a model is packed.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format of all matrices that `keep` does not name.
    pub format: Format,
    /// The format of the embedding and the output matrix, which `keep` may name too.
    pub head: Format,
    /// Which weights share a scale in matrices of `format`; `None`: as the format has it, and as matrices of other
    /// formats have it always. Where the columns are no multiple of a group, smaller ones are taken.
    pub scales: Option<Scales>,
    /// How scales are chosen in matrices of `format`.
    pub method: Method,
    /// The exponents of the ladder in matrices of `format`, which is `phi4` or `phi5`; `None`: as the format has them.
    pub exponents: Option<Exponents>,
    /// So many neighbours of a row share an exponent in matrices of `format`, which is `phi4` or `phi5`: 1, 2, 4, 8, 16 or
    /// 32. They keep their signs.
    pub cluster: usize,
    /// Formats for some tensors; the first that matches counts.
    pub keep: Vec<Keep>,
    /// Rounds with error feedback, by what the layers make of a text.
    pub calibration: Option<Calibration>,
    /// Threads that quantize.
    pub threads: usize,
    /// Whether to take what [`PackError::Loss`] refuses.
    pub allow_loss: bool,
    /// Whether to refuse what changes any weight: for weights that training has left as the file is to store them.
    pub must_be_exact: bool,
    /// Whether to gather a [`Survey`](super::Survey) of each matrix.
    pub survey: bool,
}

impl Options {
    /// Everything in one format, the embedding and the output matrix in one that suits it.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            head: format.head(),
            scales: None,
            method: Method::default(),
            exponents: None,
            cluster: 1,
            keep: Vec::new(),
            calibration: None,
            threads: std::thread::available_parallelism().map_or(1, |threads| threads.get()),
            allow_loss: false,
            must_be_exact: false,
            survey: false,
        }
    }

    /// The format for a matrix.
    pub(super) fn format_of(&self, name: &str) -> Format {
        let keep = self.keep.iter().find(|keep| matches(&keep.pattern, name));
        match (keep, name) {
            (Some(keep), _) => keep.format,
            (None, "token_embd.weight" | "output.weight") => self.head,
            (None, _) => self.format,
        }
    }

    /// Which weights of a matrix share a scale, if that was asked for: it counts for the format that was asked for.
    pub(super) fn scales_of(&self, format: Format) -> Option<Scales> {
        self.scales.filter(|_| format == self.format)
    }

    /// Whether matrices of a format have other levels than it has by itself.
    pub(super) fn has_own_ladder(&self, format: Format) -> bool {
        format == self.format && (self.exponents.is_some() || self.cluster != 1)
    }

    /// How the scales of a matrix are chosen.
    pub(super) fn method_of(&self, format: Format) -> Method {
        if format == self.format {
            self.method
        } else {
            Method::default()
        }
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

/// Whether `name` is what `pattern` describes, where `*` stands for any characters.
pub fn matches(pattern: &str, name: &str) -> bool {
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
        assert_eq!(options.format_of("token_embd.weight"), Format::Q8);
    }
}
