//! Tables of the 2-, 4- and 5-bit formats.

/// `code - 8`: Q4_0.
pub const Q4_0: [i8; 16] = [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7];
/// `code`: Q4_1, which adds a minimum.
pub const Q4_1: [i8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// The non-linear levels of llama.cpp's IQ4_NL.
pub const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// -1, 0, 1 (and 2, which no ternary quantizer writes).
pub const TERNARY: [i8; 4] = [-1, 0, 1, 2];
/// 2-bit integers.
pub const INT2: [i8; 4] = [-2, -1, 0, 1];
/// ±1, ±3: four levels around zero, for scales that were learned so (ParetoQ, arXiv:2502.02631, section 3.2).
pub const ODD2: [i8; 4] = [-3, -1, 1, 3];
/// The φ ladder: Fibonacci numbers F4..F11, within 2.2% of a geometric ladder of ratio φ. Bit 3 is the sign.
pub const PHI: [i8; 16] = [3, 5, 8, 13, 21, 34, 55, 89, -3, -5, -8, -13, -21, -34, -55, -89];
/// The additive φ table: each value is a power of φ, or the sum or difference of two, times 127/(φ³-φ⁻²).
///
/// From the first: -φ³+φ⁻², -φ²-φ⁻² (-3), -φ²+φ⁻³, -φ-φ⁻³, -1-φ⁻², -1+φ⁻⁸, -φ⁻¹+φ⁻⁸, -φ⁻³-φ⁻⁸, φ⁻⁶, φ⁻², φ⁻¹+φ⁻⁵,
/// 1+φ⁻⁶, φ-φ⁻⁴, φ+φ⁻² (2), φ²-φ⁻⁴, φ²+φ⁻¹: the elements nearest to what Lloyd's algorithm makes of groups of 32
/// weights whose scale, of either sign, has the least squared error (Gaussian, Laplacian, and a model's). A scale's sign
/// turns the table around, so it need not be its own mirror image: that is worth half a decibel.
pub const PHI_ADDITIVE: [i8; 16] = [-127, -99, -78, -61, -46, -32, -20, -8, 2, 13, 23, 35, 49, 66, 81, 107];
/// The √φ ladder: the Fibonacci numbers F4..F11, and between them the integers nearest to √φ times each. Bit 4 is the
/// sign.
pub const PHI5: [i8; 32] = [
    3, 4, 5, 6, 8, 10, 13, 17, 21, 27, 34, 43, 55, 70, 89, 113, -3, -4, -5, -6, -8, -10, -13, -17, -21, -27, -34, -43,
    -55, -70, -89, -113,
];

#[cfg(test)]
mod tests {
    use super::{PHI, PHI_ADDITIVE, PHI5};

    fn phi(power: i32) -> f64 {
        libm::pow((1.0 + libm::sqrt(5.0)) / 2.0, f64::from(power))
    }

    #[test]
    fn phi_is_a_run_of_fibonacci_numbers_close_to_powers_of_phi() {
        for i in 2..8 {
            assert_eq!(PHI[i], PHI[i - 1] + PHI[i - 2]);
        }
        for i in 0..8 {
            assert_eq!(PHI[i + 8], -PHI[i]);
            // Binet's formula: the n-th Fibonacci number is φⁿ/√5, nearly.
            let ratio = f64::from(PHI[i]) / (phi(i as i32 + 4) / libm::sqrt(5.0));
            assert!((ratio - 1.0).abs() < 0.022, "{ratio}");
        }
    }

    #[test]
    fn phi_additive_is_made_of_sums_of_two_powers() {
        // Powers and signs of the second term; 0 for none.
        let terms = [
            (-1.0, 3, 1.0, -2),
            (-1.0, 2, -1.0, -2),
            (-1.0, 2, 1.0, -3),
            (-1.0, 1, -1.0, -3),
            (-1.0, 0, -1.0, -2),
            (-1.0, 0, 1.0, -8),
            (-1.0, -1, 1.0, -8),
            (-1.0, -3, -1.0, -8),
            (1.0, -6, 0.0, 0),
            (1.0, -2, 0.0, 0),
            (1.0, -1, 1.0, -5),
            (1.0, 0, 1.0, -6),
            (1.0, 1, -1.0, -4),
            (1.0, 1, 1.0, -2),
            (1.0, 2, -1.0, -4),
            (1.0, 2, 1.0, -1),
        ];
        let value = |(a, p, b, q)| a * phi(p) + b * phi(q);
        for (entry, term) in PHI_ADDITIVE.iter().zip(terms) {
            let expected = libm::round(127.0 * value(term) / (phi(3) - phi(-2)));
            assert_eq!(f64::from(*entry), expected, "{term:?}");
        }
    }

    #[test]
    fn phi5_is_phi_and_root_phi_times_it() {
        let root = libm::sqrt(phi(1));
        for i in 0..8 {
            assert_eq!(PHI5[2 * i], PHI[i]);
            assert_eq!(f64::from(PHI5[2 * i + 1]), libm::round(root * f64::from(PHI[i])));
        }
        for i in 0..16 {
            assert_eq!(PHI5[i + 16], -PHI5[i]);
        }
    }
}
