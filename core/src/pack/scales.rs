//! Which weights share a scale.

use std::fmt;
use std::str::FromStr;

use half::f16;
use halfpi_kernels::format::{Codes, GROUP, ScaleGroup};

use super::PackError;

/// Which weights share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// All of a matrix. They are stored as equal scales of its rows, in f32.
    Tensor,
    /// All of a row.
    Row,
    /// This many neighbours of a row: 32, 64, 128 or 256.
    Group(usize),
}

impl Scales {
    /// What `--group` takes.
    pub const NAMES: [&'static str; 6] = ["tensor", "row", "32", "64", "128", "256"];

    /// What a matrix of `cols` columns, a multiple of 32, can have: the largest group of at most as many columns that
    /// divides them, and a row where codes have no groups.
    pub fn fitting(self, cols: usize, codes: Codes) -> Self {
        match self {
            Scales::Group(_) if matches!(codes, Codes::Trits | Codes::PhaseComplex) => Scales::Row,
            Scales::Group(mut columns) => {
                while columns > GROUP && !cols.is_multiple_of(columns) {
                    columns /= 2;
                }
                Scales::Group(columns)
            }
            Scales::Tensor | Scales::Row => self,
        }
    }

    /// How they lie in a layout.
    pub fn group(self) -> ScaleGroup {
        match self {
            Scales::Tensor | Scales::Row => ScaleGroup::Row,
            Scales::Group(columns) => ScaleGroup::Columns(columns),
        }
    }
}

impl From<ScaleGroup> for Scales {
    fn from(group: ScaleGroup) -> Self {
        match group {
            ScaleGroup::Row => Scales::Row,
            ScaleGroup::Columns(columns) => Scales::Group(columns),
        }
    }
}

impl fmt::Display for Scales {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scales::Tensor => f.write_str("tensor"),
            Scales::Row => f.write_str("row"),
            Scales::Group(columns) => write!(f, "{columns}"),
        }
    }
}

impl FromStr for Scales {
    type Err = PackError;

    fn from_str(text: &str) -> Result<Self, PackError> {
        match text {
            "tensor" => Ok(Scales::Tensor),
            "row" => Ok(Scales::Row),
            "32" | "64" | "128" | "256" => Ok(Scales::Group(text.parse().unwrap_or(GROUP))),
            _ => Err(PackError::BadGroup { text: text.to_owned() }),
        }
    }
}

/// The type that scales are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScaleType {
    F16,
    F32,
}

impl ScaleType {
    /// What a file gives back for a scale: the nearest number of this type. What is out of its range becomes its largest
    /// value, never infinity.
    pub(super) fn round(self, scale: f32) -> f32 {
        let most = f16::MAX.to_f32();
        match self {
            ScaleType::F16 => f16::from_f32(scale.clamp(-most, most)).to_f32(),
            ScaleType::F32 => scale.clamp(f32::MIN, f32::MAX),
        }
    }

    /// Whether a scale is a number of this type.
    pub(super) fn holds(self, scale: f32) -> bool {
        // Most floats have more bits than f16's mantissa, which is seen before anything is rounded.
        let spare_bits = 13;
        let may = self == ScaleType::F32 || scale.to_bits().is_multiple_of(1 << spare_bits) || scale.abs() < 6.2e-5;
        may && self.round(scale) == scale
    }

    /// Writes a scale that was [`round`](Self::round)ed to the front of `out`.
    pub(super) fn write(self, scale: f32, out: &mut [u8]) {
        match self {
            ScaleType::F16 => out[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes()),
            ScaleType::F32 => out[..4].copy_from_slice(&scale.to_le_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_scales() {
        for name in Scales::NAMES {
            assert_eq!(name.parse::<Scales>().unwrap().to_string(), name);
        }
        assert!(matches!("48".parse::<Scales>(), Err(PackError::BadGroup { .. })));
    }

    #[test]
    fn groups_shrink_until_they_fit() {
        let fitting = |group, cols| Scales::Group(group).fitting(cols, Codes::Int8);
        assert_eq!(fitting(256, 2560), Scales::Group(256));
        assert_eq!(fitting(256, 576), Scales::Group(64));
        assert_eq!(fitting(128, 96), Scales::Group(32));
        assert_eq!(Scales::Group(32).fitting(96, Codes::Trits), Scales::Row);
        assert_eq!(Scales::Tensor.fitting(96, Codes::Int8), Scales::Tensor);
    }

    #[test]
    fn scales_come_back_as_they_were_rounded() {
        for scale in [0.0, 1e-9, 6e-8, 3e-5, 0.1, -3.7, 0.375, 1e9, f32::MAX, f32::INFINITY] {
            for ty in [ScaleType::F16, ScaleType::F32] {
                let rounded = ty.round(scale);
                assert!(rounded.is_finite());
                assert!(ty.holds(rounded));
                assert_eq!(ty.holds(scale), scale == rounded);
                let mut bytes = [0; 4];
                ty.write(rounded, &mut bytes);
                let back = match ty {
                    ScaleType::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
                    ScaleType::F32 => f32::from_le_bytes(bytes),
                };
                assert_eq!(back, rounded);
            }
        }
    }
}
