//! How scales are chosen.

use std::fmt;
use std::str::FromStr;

use super::{Format, PackError};

/// How scales are chosen: `--quantizer`.
///
/// Weights that training has left ternary (or, for `halfpi2`, on one of its two grids of four levels) keep their own
/// scales to the bit with the default method.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Method {
    /// The least squared error; for 8-bit integers the largest weight at 127.
    #[default]
    LeastSquares,
    /// The largest weight at the largest integer. For integers.
    Largest,
    /// The mean magnitude, of a whole matrix unless scales are asked for (BitNet b1.58, arXiv:2402.17764, section 2): for
    /// master weights that were trained so. For ternary formats.
    AbsMean,
    /// This share of the weights, the smallest, becomes 0. For ternary formats.
    Sparsity(f32),
}

impl Method {
    /// Whether it exists for a format.
    pub(super) fn suits(self, format: Format) -> bool {
        let is_ternary = matches!(format, Format::Ternary | Format::TernaryDense);
        match self {
            Method::LeastSquares => true,
            Method::AbsMean | Method::Sparsity(_) => is_ternary,
            Method::Largest => matches!(
                format,
                Format::Q8 | Format::Q6 | Format::Halfpi8 | Format::Halfpi4 | Format::Halfpi2
            ),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::LeastSquares => f.write_str("least-squares"),
            Method::Largest => f.write_str("largest"),
            Method::AbsMean => f.write_str("absmean"),
            Method::Sparsity(share) => write!(f, "sparsity={share}"),
        }
    }
}

impl FromStr for Method {
    type Err = PackError;

    fn from_str(text: &str) -> Result<Self, PackError> {
        let share = text.strip_prefix("sparsity=").map(str::parse::<f32>);
        match (text, share) {
            ("least-squares", _) => Ok(Method::LeastSquares),
            ("largest", _) => Ok(Method::Largest),
            ("absmean", _) => Ok(Method::AbsMean),
            (_, Some(Ok(share))) if (0.0..1.0).contains(&share) => Ok(Method::Sparsity(share)),
            _ => Err(PackError::BadMethod { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_methods() {
        for method in [
            Method::LeastSquares,
            Method::Largest,
            Method::AbsMean,
            Method::Sparsity(0.0),
            Method::Sparsity(0.37),
        ] {
            assert_eq!(method.to_string().parse::<Method>().unwrap(), method);
        }
        for text in [
            "",
            "mean",
            "sparsity",
            "sparsity=",
            "sparsity=1",
            "sparsity=-0.1",
            "sparsity=NaN",
        ] {
            assert!(
                matches!(text.parse::<Method>(), Err(PackError::BadMethod { .. })),
                "{text}"
            );
        }
    }
}
