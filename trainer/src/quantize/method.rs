//! How a matrix is quantized while it is trained.

use std::fmt;
use std::str::FromStr;

use halfpi::pack::{Format, Scales};
use halfpi_kernels::format::{Layout, tables};

use super::Activations;
use crate::{Result, TrainError};

/// How scales, and with them codes, are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// The mean magnitude; weights of at most so many times the mean become 0: BitNet b1.58 with a threshold of 0.5
    /// (arXiv:2402.17764, section 2), sparser ones above it. For ternary weights.
    AbsMean {
        /// In means.
        threshold: f32,
    },
    /// A scale a row that is trained with the weights (LSQ, arXiv:1902.08153; ParetoQ, arXiv:2502.02631). For ternary
    /// weights, and for `halfpi2`, which then has the levels ±1 and ±3 instead of -2 to 1.
    Learned,
    /// The least squared error, nearly.
    LeastSquares,
    /// The largest weight at the largest integer. For integers.
    Largest,
    /// As the largest, with the axis of each pair of weights as it was at the beginning. For `phase-magnitude`.
    FixedPhase,
}

/// How a matrix, and what it is multiplied with, are quantized while it is trained.
///
/// As text it is a format of `halfpi pack`, then what differs from its default, for example `ternary`,
/// `ternary:learned:activations=token`, `ternary:threshold=0.7:scales=row`, `phi4:scales=64:cluster=2:clip`; `f32` is not
/// quantized at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Method {
    /// What the weights are packed into.
    pub format: Format,
    /// How scales are chosen.
    pub rule: Rule,
    /// Which weights share one.
    pub scales: Scales,
    /// What the matrix is multiplied with.
    pub activations: Activations,
    /// So many neighbours of a row share a magnitude and keep their signs: 1, 2, 4, 8, 16 or 32. For the φ and √φ ladders.
    pub cluster: usize,
    /// Whether weights beyond the outermost levels have no gradient, so that they do not grow on. For what has a
    /// straight-through estimator and is neither ternary nor a phase.
    pub is_clipped: bool,
}

/// As BitNet b1.58 rounds: weights above half the mean are kept.
const HALF: f32 = 0.5;

impl Method {
    /// Weights as they are.
    pub const FLOATS: Self = Self {
        format: Format::F32,
        rule: Rule::LeastSquares,
        scales: Scales::Row,
        activations: Activations::Floats,
        cluster: 1,
        is_clipped: false,
    };

    /// A format as it is usually trained. `None` for what no method has: floats of 16 bits, and what depends on a source.
    pub fn new(format: Format) -> Option<Self> {
        let (rule, scales, activations) = match format {
            // BitLinear.
            Format::Ternary | Format::TernaryDense => {
                (Rule::AbsMean { threshold: HALF }, Scales::Tensor, Activations::Token)
            }
            Format::Halfpi8 | Format::Q8 | Format::Q6 => (Rule::Largest, format.scales(), Activations::Floats),
            Format::PhaseMagnitude => (Rule::FixedPhase, format.scales(), Activations::Floats),
            Format::PhaseComplex => (Rule::AbsMean { threshold: 0.0 }, Scales::Tensor, Activations::Parts),
            Format::F32 => return Some(Self::FLOATS),
            Format::Phi4 | Format::Phi4Additive | Format::Phi5 | Format::Phi5Additive => {
                (Rule::LeastSquares, format.scales(), Activations::Floats)
            }
            Format::Halfpi2 | Format::Halfpi4 | Format::PhaseT1 | Format::PhaseT2 => {
                (Rule::LeastSquares, format.scales(), Activations::Floats)
            }
            Format::PhaseAxis | Format::F16 | Format::Bf16 | Format::Lossless => return None,
        };
        Some(Self {
            format,
            rule,
            scales,
            activations,
            ..Self::FLOATS
        })
    }

    /// Whether the weights are floats.
    pub fn is_float(&self) -> bool {
        self.format == Format::F32
    }

    /// The name of what is trained or kept beside a matrix, if there is something: it is added to the matrix's name.
    pub fn added(&self) -> Option<&'static str> {
        match self.rule {
            Rule::Learned => Some("scale"),
            Rule::FixedPhase => Some("phase"),
            _ => None,
        }
    }

    /// The layout of scales for a matrix of this shape, which the format can have.
    ///
    /// # Errors
    /// [`TrainError::Format`] for a shape that cannot be packed, [`TrainError::Scheme`] for fields that do not fit each
    /// other.
    pub(super) fn check(&self, name: &str, [rows, cols]: [usize; 2]) -> Result<Scales> {
        if let Some(reason) = self.problem() {
            return Err(TrainError::Scheme {
                text: self.to_string(),
                reason: reason.to_owned(),
            });
        }
        let Some(codes) = self.format.codes() else {
            return Ok(Scales::Row);
        };
        let scales = self.scales.fitting(cols, codes);
        // A complex matrix is kept as the rows of its real parts, then those of its imaginary ones; packed it is twice as
        // wide.
        let cols = if self.format == Format::PhaseComplex {
            2 * cols
        } else {
            cols
        };
        let layout = Layout::new(rows, cols, codes, scales.group(), false);
        let format = |source| TrainError::Format {
            name: name.to_owned(),
            source,
        };
        layout.map_err(format)?;
        Ok(scales)
    }

    /// Why no matrix is quantized so, if none is.
    fn problem(&self) -> Option<&'static str> {
        let is_ternary = matches!(self.format, Format::Ternary | Format::TernaryDense);
        let is_ladder = matches!(self.format, Format::Phi4 | Format::Phi5 | Format::Phi5Additive);
        let integers = matches!(self.format, Format::Halfpi2 | Format::Halfpi4 | Format::Halfpi8);
        let is_phase = matches!(self.format, Format::PhaseT1 | Format::PhaseT2 | Format::PhaseComplex);
        let fits = match self.rule {
            Rule::AbsMean { threshold } => {
                if !(0.0..10.0).contains(&threshold) {
                    return Some("a threshold is from 0 to below 10 means");
                }
                is_ternary || self.format == Format::PhaseComplex && threshold == 0.0
            }
            Rule::Learned => is_ternary || self.format == Format::Halfpi2,
            Rule::LeastSquares => !matches!(
                self.format,
                Format::Halfpi8 | Format::Q8 | Format::Q6 | Format::PhaseMagnitude | Format::PhaseComplex
            ),
            Rule::Largest => integers || matches!(self.format, Format::Q8 | Format::Q6 | Format::PhaseMagnitude),
            Rule::FixedPhase => self.format == Format::PhaseMagnitude,
        };
        if !fits {
            return Some("the format has no such rule");
        }
        if self.rule == Rule::Learned && self.scales != Scales::Row {
            return Some("learned scales belong to rows");
        }
        if self.format == Format::PhaseComplex && self.scales != Scales::Tensor {
            return Some("native complex weights have one pair of scales");
        }
        if self.format == Format::TernaryDense && matches!(self.scales, Scales::Group(_)) {
            return Some("dense ternary weights have one scale a row");
        }
        if self.cluster != 1 && !is_ladder {
            return Some("only levels that all have an opposite can be shared by a cluster");
        }
        if !matches!(self.cluster, 1 | 2 | 4 | 8 | 16 | 32) {
            return Some("a cluster is 1, 2, 4, 8, 16 or 32 neighbours");
        }
        if self.is_clipped && (is_ternary || is_phase || self.rule == Rule::Learned || self.is_float()) {
            return Some("only grids with a straight-through estimator have gradients to clip");
        }
        None
    }

    /// The levels of a format that has a table, ascending.
    pub(super) fn levels(&self) -> Option<Vec<f32>> {
        let table: &[i8] = match self.format {
            Format::Ternary | Format::TernaryDense => &tables::TERNARY[..3],
            Format::Halfpi2 => &tables::INT2,
            Format::Halfpi4 => &tables::Q4_0,
            Format::Phi4 => &tables::PHI,
            Format::Phi4Additive => &tables::PHI_ADDITIVE,
            Format::Phi5 => &tables::PHI5,
            Format::Phi5Additive => &tables::PHI5_ADDITIVE,
            _ => return None,
        };
        let mut levels: Vec<f32> = table.iter().copied().map(f32::from).collect();
        levels.sort_by(f32::total_cmp);
        Some(levels)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.format)?;
        let Some(usual) = Method::new(self.format).filter(|usual| usual != self) else {
            return Ok(());
        };
        if self.rule != usual.rule {
            match self.rule {
                Rule::AbsMean { threshold: HALF } => f.write_str(":absmean")?,
                Rule::AbsMean { threshold } => write!(f, ":threshold={threshold}")?,
                Rule::Learned => f.write_str(":learned")?,
                Rule::LeastSquares => f.write_str(":least-squares")?,
                Rule::Largest => f.write_str(":largest")?,
                Rule::FixedPhase => f.write_str(":fixed-phase")?,
            }
        }
        // What a rule brings with it is said too: it does no harm.
        if self.scales != usual.scales {
            write!(f, ":scales={}", self.scales)?;
        }
        if self.activations != usual.activations {
            write!(f, ":activations={}", self.activations)?;
        }
        if self.cluster != usual.cluster {
            write!(f, ":cluster={}", self.cluster)?;
        }
        if self.is_clipped {
            f.write_str(":clip")?;
        }
        Ok(())
    }
}

impl FromStr for Method {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason: String| TrainError::Scheme {
            text: text.to_owned(),
            reason,
        };
        let mut words = text.trim().split(':');
        let format: Format = words
            .next()
            .unwrap_or_default()
            .parse()
            .map_err(|error| bad(format!("{error}")))?;
        let mut method =
            Method::new(format).ok_or_else(|| bad(format!("nothing is trained as {format}; f32 is not quantized")))?;
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let unreadable = || bad(format!("{word} is no option of a method"));
            match (key, value) {
                ("absmean", "") => method.rule = Rule::AbsMean { threshold: HALF },
                ("threshold", value) => {
                    let threshold = value.parse().map_err(|_| unreadable())?;
                    method.rule = Rule::AbsMean { threshold };
                }
                ("learned", "") => {
                    method.rule = Rule::Learned;
                    method.scales = Scales::Row;
                }
                ("least-squares", "") => method.rule = Rule::LeastSquares,
                ("largest", "") => method.rule = Rule::Largest,
                ("fixed-phase", "") => method.rule = Rule::FixedPhase,
                ("scales", value) => method.scales = value.parse().map_err(|error| bad(format!("{error}")))?,
                ("activations", value) => method.activations = value.parse().map_err(bad)?,
                ("cluster", value) => method.cluster = value.parse().map_err(|_| unreadable())?,
                ("clip", "") => method.is_clipped = true,
                _ => return Err(unreadable()),
            }
        }
        match method.problem() {
            Some(reason) => Err(bad(reason.to_owned())),
            None => Ok(method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lead_back_to_their_methods() {
        for text in [
            "f32",
            "ternary",
            "ternary:learned:activations=token",
            "ternary:threshold=0.7:scales=row",
            "ternary:least-squares:scales=32:activations=group",
            "halfpi2:learned",
            "halfpi4:largest:scales=tensor:clip",
            "phase-t2:scales=tensor",
            "phi4:scales=64:cluster=2:clip",
            "phase-magnitude:largest",
            "phase-complex",
            "q6",
        ] {
            let method: Method = text.parse().unwrap();
            assert_eq!(method.to_string().parse::<Method>().unwrap(), method, "{text}");
        }
        assert_eq!("ternary".parse::<Method>().unwrap().to_string(), "ternary");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in [
            "",
            "f16",
            "phi3",
            "phi4:learned",
            "ternary:learned:scales=32",
            "ternary:threshold=-1",
            "ternary:threshold=NaN",
            "ternary:cluster=2",
            "phi4:cluster=3",
            "phase-t1:clip",
            "halfpi8:least-squares",
            "ternary:activations=int4",
            "ternary:what",
        ] {
            assert!(
                matches!(text.parse::<Method>(), Err(TrainError::Scheme { .. })),
                "{text}"
            );
        }
    }
}
