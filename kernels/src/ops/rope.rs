//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864, section 3.4.2).

use super::OpError;

/// Which channels of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// Neighbours `2i` and `2i + 1`: llama files, whose query and key rows are permuted for it.
    Adjacent,
    /// `i` and `i + dims / 2`: GPT-NeoX, qwen2, qwen3, bitnet.
    Halves,
}

/// How a model turns its queries and keys.
#[derive(Clone, Copy, Debug)]
pub struct Rope<'a> {
    /// Which channels turn together.
    pub pairs: RopePairs,
    /// Base of the geometric ladder of frequencies (`rope.freq_base`).
    pub freq_base: f32,
    /// Positions are divided by this (linear scaling); 1 for none.
    pub scale: f32,
    /// How many leading channels of a head turn (`rope.dimension_count`), even.
    pub dims: usize,
    /// Divides each pair's frequency (llama 3's `rope_freqs.weight`), `dims / 2` long, or empty.
    pub freq_factors: &'a [f32],
}

/// Cosine and sine of every pair's angle at each of the positions from `first` on: `out[position][pair] = [cos, sin]`.
///
/// # Errors
/// [`OpError`] if `out` is not a whole number of rows of `dims / 2`, or the factors have another length.
pub fn rope_angles(rope: &Rope<'_>, first: usize, out: &mut [[f32; 2]]) -> Result<(), OpError> {
    let pairs = rope.dims / 2;
    if pairs == 0 || !out.len().is_multiple_of(pairs) {
        return Err(OpError {
            what: "rope_angles: out",
            expected: pairs,
            found: out.len(),
        });
    }
    if !rope.freq_factors.is_empty() {
        OpError::exact("rope_angles: freq_factors", pairs, rope.freq_factors.len())?;
    }
    for pair in 0..pairs {
        let exponent = -2.0 * pair as f64 / rope.dims as f64;
        let factor = rope.freq_factors.get(pair).map_or(1.0, |&factor| f64::from(factor));
        let frequency = libm::pow(f64::from(rope.freq_base), exponent) / (f64::from(rope.scale) * factor);
        for (position, row) in out.chunks_exact_mut(pairs).enumerate() {
            // In f64, since an angle of many turns would lose its fraction in f32.
            let (sin, cos) = libm::sincos((first as f64 + position as f64) * frequency);
            row[pair] = [cos as f32, sin as f32];
        }
    }
    Ok(())
}

/// Turns every head of `x`, `[position][heads][head_dim]`, by the angles of its position.
///
/// # Errors
/// [`OpError`] if the lengths do not fit.
pub fn rope(
    pairs: RopePairs,
    angles: &[[f32; 2]],
    positions: usize,
    head_dim: usize,
    x: &mut [f32],
) -> Result<(), OpError> {
    let one_head = positions.saturating_mul(head_dim);
    if one_head == 0 || x.is_empty() || !x.len().is_multiple_of(one_head) {
        return Err(OpError {
            what: "rope: x",
            expected: one_head,
            found: x.len(),
        });
    }
    let half = angles.len() / positions;
    if !angles.len().is_multiple_of(positions) || half == 0 || half > head_dim / 2 {
        return Err(OpError {
            what: "rope: angles",
            expected: one_head / 2,
            found: angles.len(),
        });
    }
    let row = x.len() / positions;
    for (row, angles) in x.chunks_exact_mut(row).zip(angles.chunks_exact(half)) {
        for head in row.chunks_exact_mut(head_dim) {
            match pairs {
                RopePairs::Adjacent => {
                    for (pair, &[cos, sin]) in head.chunks_exact_mut(2).zip(angles) {
                        (pair[0], pair[1]) = (pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos);
                    }
                }
                RopePairs::Halves => {
                    let (low, high) = head.split_at_mut(half);
                    for ((a, b), &[cos, sin]) in low.iter_mut().zip(high).zip(angles) {
                        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                    }
                }
            }
        }
    }
    Ok(())
}
