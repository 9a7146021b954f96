//! Weights as floats.

use half::{bf16, f16};

use super::{Distortion, PackError};
use crate::gguf::GgmlType;

/// Appends a row as floats of type `ty` (f32 for all types but f16 and bf16) to `bytes`, and says what that lost.
///
/// # Errors
/// [`PackError::NotFinite`], and [`PackError::Overflow`] for what f16 has no number for.
pub(super) fn encode_row(
    name: &str,
    row: usize,
    weights: &[f32],
    ty: GgmlType,
    bytes: &mut Vec<u8>,
) -> Result<Distortion, PackError> {
    let mut distortion = Distortion::default();
    for &weight in weights {
        let stored = match ty {
            GgmlType::F16 => {
                let stored = f16::from_f32(weight);
                bytes.extend(stored.to_le_bytes());
                stored.to_f32()
            }
            GgmlType::BF16 => {
                let stored = bf16::from_f32(weight);
                bytes.extend(stored.to_le_bytes());
                stored.to_f32()
            }
            _ => {
                bytes.extend(weight.to_le_bytes());
                weight
            }
        };
        if !stored.is_finite() {
            let name = name.to_owned();
            return Err(if weight.is_finite() {
                PackError::Overflow { name, row, weight }
            } else {
                PackError::NotFinite { name, row }
            });
        }
        distortion.add(weight, stored);
    }
    Ok(distortion)
}
