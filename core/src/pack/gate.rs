//! Refuses what no right scale would do to weights.

use super::{Distortion, PackError};

/// The most error, as a part of the squared weights, that a tensor may have with codes of this many bits.
///
/// Each limit lies above what a right scale leaves on heavy tails, and below what a wrong scale leaves (1 if it lets all
/// weights vanish). For Gaussian and Laplacian weights a scale a row leaves, as a part of the squared weights:
///
/// | codes | Gauss | Laplace | limit |
/// |---|---|---|---|
/// | 8 bits | 0.00005 | 0.0002 | 0.01 |
/// | 4 and 5 bits | 0.005 to 0.02 | 0.007 to 0.021 | 0.27 |
/// | 2 bits, ternary | 0.12 to 0.26 | 0.16 to 0.39 (BitNet's absmean scale) | 0.5 |
/// | 1 bit | 0.36 | 0.40 to 0.5 | 0.65 |
///
/// Between 3 and 6 bits a table with a scale for a whole long row may lose much to one large weight; 0.27 is what the
/// worst scale in use, that of absmean ternary, leaves of Gaussian weights, and four bits must not be worse than that.
pub(super) fn limit(bits_per_weight: f64) -> f64 {
    match bits_per_weight {
        6.0.. => 0.01,
        3.0.. => 0.27,
        1.5.. => 0.5,
        _ => 0.65,
    }
}

/// Checks what was lost of a matrix's weights, or of its outputs: weights that were chosen for those are further from the
/// source's, and rightly so, the more the layers before are off.
///
/// # Errors
/// [`PackError::Loss`].
pub(super) fn check(
    name: &str,
    format: &str,
    bits_per_weight: f64,
    lost: Distortion,
    of: &'static str,
) -> Result<(), PackError> {
    let (nmse, limit) = (lost.nmse(), limit(bits_per_weight));
    if nmse <= limit {
        return Ok(());
    }
    Err(PackError::Loss {
        name: name.to_owned(),
        format: format.to_owned(),
        of,
        nmse,
        limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(error: f64) -> Distortion {
        Distortion { signal: 1.0, error }
    }

    #[test]
    fn each_width_has_its_limit() {
        for (bits, fine, refused) in [
            (16.0, 1e-7, 0.02),
            (8.0, 2e-4, 0.02),
            (5.0, 0.02, 0.28),
            (4.0, 0.022, 0.28),
            (2.0, 0.39, 0.51),
            (5.0 / 3.0, 0.39, 0.51),
            (1.0, 0.5, 0.66),
        ] {
            assert!(
                check("w", "format", bits, lost(fine), "weights").is_ok(),
                "{bits} bits, {fine}"
            );
            let error = check("w", "format", bits, lost(refused), "outputs").unwrap_err();
            assert!(
                matches!(error, PackError::Loss { nmse, .. } if nmse == refused),
                "{error}"
            );
        }
    }

    #[test]
    fn nothing_lost_is_fine_and_error_without_signal_is_not() {
        assert!(check("w", "format", 4.0, Distortion::default(), "weights").is_ok());
        let noise = Distortion {
            signal: 0.0,
            error: 1.0,
        };
        assert!(check("w", "format", 1.0, noise, "weights").is_err());
        let broken = Distortion {
            signal: f64::NAN,
            error: 1.0,
        };
        assert!(check("w", "format", 1.0, broken, "weights").is_err());
    }
}
