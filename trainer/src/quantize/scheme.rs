//! Which matrix is quantized how.

use std::fmt;
use std::str::FromStr;

use halfpi::pack::matches;
use serde::{Deserialize, Serialize};

use super::Method;
use crate::{Result, TrainError};

/// Which matrix is quantized how. Norms, biases and what training adds to a tensor never are.
///
/// As text: methods, separated by commas, each behind `=` and the pattern of tensor names it is for, in which `*` stands
/// for any characters; the first pattern that matches counts. `head` instead of a pattern means the embedding and the
/// output matrix, which are `f32` if nothing is said; a method alone is for all other matrices. For example
/// `ternary, head=q6, blk.*.attn_v.weight=phi4`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scheme {
    /// Patterns of names; the first that matches counts.
    pub patterns: Vec<(String, Method)>,
    /// The embedding and the output matrix.
    pub head: Method,
    /// All other matrices.
    pub layers: Method,
}

/// What the embedding and the output matrix are called.
const HEAD: [&str; 2] = ["token_embd.weight", "output.weight"];

impl Scheme {
    /// All layers so, the embedding and the output matrix in floats.
    pub fn new(layers: Method) -> Self {
        Self {
            patterns: Vec::new(),
            head: Method::FLOATS,
            layers,
        }
    }

    /// Everything in floats.
    pub fn floats() -> Self {
        Self::new(Method::FLOATS)
    }

    /// Refuses patterns that no tensor of a model has.
    ///
    /// # Errors
    /// [`TrainError::Scheme`].
    pub fn check<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
        for (pattern, _) in &self.patterns {
            if !names.clone().any(|name| matches(pattern, name)) {
                return Err(TrainError::Scheme {
                    text: pattern.clone(),
                    reason: "the model has no tensor of this name".into(),
                });
            }
        }
        Ok(())
    }

    /// How a tensor of this name and shape is quantized, if it is.
    pub fn method(&self, name: &str, [rows, _]: [usize; 2]) -> Option<&Method> {
        if rows == 1 || !name.ends_with(".weight") || name.ends_with("norm.weight") {
            return None;
        }
        let pattern = self.patterns.iter().find(|(pattern, _)| matches(pattern, name));
        let method = match pattern {
            Some((_, method)) => method,
            None if HEAD.contains(&name) => &self.head,
            None => &self.layers,
        };
        Some(method).filter(|method| !method.is_float())
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, head={}", self.layers, self.head)?;
        self.patterns
            .iter()
            .try_for_each(|(pattern, method)| write!(f, ", {pattern}={method}"))
    }
}

impl FromStr for Scheme {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self> {
        let mut scheme = Self::floats();
        let mut layers = None;
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            // Options of methods have `=` too, but their method stands before it, with a colon.
            let pattern = entry.split_once('=').filter(|(pattern, _)| !pattern.contains(':'));
            match pattern.map(|(pattern, method)| (pattern.trim(), method)) {
                Some(("head", method)) => scheme.head = method.parse()?,
                Some((pattern, method)) => scheme.patterns.push((pattern.to_owned(), method.parse()?)),
                None if layers.is_some() => {
                    return Err(TrainError::Scheme {
                        text: text.to_owned(),
                        reason: "only one method is for all layers; write PATTERN=METHOD for others".into(),
                    });
                }
                None => layers = Some(entry.parse()?),
            }
        }
        scheme.layers = layers.unwrap_or(scheme.layers);
        Ok(scheme)
    }
}

impl TryFrom<String> for Scheme {
    type Error = TrainError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Scheme> for String {
    fn from(scheme: Scheme) -> Self {
        scheme.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use halfpi::pack::Format;

    #[test]
    fn the_first_pattern_counts() {
        let scheme: Scheme = "ternary, head=q6, blk.*.attn_*.weight=phi4:scales=64, blk.0.*=f32, blk.1.*=q8"
            .parse()
            .unwrap();
        let format = |name: &str| scheme.method(name, [4, 32]).map(|method| method.format);
        assert_eq!(format("blk.0.attn_q.weight"), Some(Format::Phi4));
        assert_eq!(format("blk.0.ffn_up.weight"), None);
        assert_eq!(format("blk.1.ffn_up.weight"), Some(Format::Q8));
        assert_eq!(format("blk.2.ffn_up.weight"), Some(Format::Ternary));
        assert_eq!(format("token_embd.weight"), Some(Format::Q6));
        for name in ["output_norm.weight", "blk.2.attn_q.bias", "blk.2.ffn_up.weight.scale"] {
            assert_eq!(format(name), None, "{name}");
        }
        assert_eq!(scheme.method("blk.2.ffn_up.weight", [1, 32]), None);
    }

    #[test]
    fn a_scheme_is_a_string_in_json() {
        let scheme: Scheme = "halfpi2:learned, head=phi4, blk.0.*=ternary:threshold=0.7"
            .parse()
            .unwrap();
        let json = serde_json::to_string(&scheme).unwrap();
        assert_eq!(serde_json::from_str::<Scheme>(&json).unwrap(), scheme, "{json}");
        assert_eq!("".parse::<Scheme>().unwrap(), Scheme::floats());
        let error = serde_json::from_str::<Scheme>("\"head=phi9\"").unwrap_err();
        assert!(error.to_string().contains("phi9"), "{error}");
        assert!("blk.0.*=".parse::<Scheme>().is_err());
    }
}
