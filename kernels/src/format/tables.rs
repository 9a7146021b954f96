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
/// The additive φ table of five bits: each magnitude is the sum or difference of two powers of φ, times 127/(φ³-φ⁻³).
/// Bit 4 is the sign.
///
/// From the first: φ⁻⁵+φ⁻⁹, φ⁻³+φ⁻⁵, φ⁻²+φ⁻⁴, φ⁻¹+φ⁻⁴, 1-φ⁻⁸, 1+φ⁻³, φ-φ⁻⁴, φ+φ⁻⁴, φ+φ⁻² (2), φ+φ⁻¹, φ²-φ⁻⁴, φ²+φ⁻⁵,
/// φ²+φ⁻² (3), φ²+φ⁻¹, φ²+1, φ³-φ⁻³ (4). They were found as those of [`PHI_ADDITIVE`], and exchanged for neighbours one at
/// a time for as long as that lowered the error.
pub const PHI5_ADDITIVE: [i8; 32] = [
    3, 10, 17, 24, 31, 39, 47, 56, 64, 71, 78, 86, 95, 103, 115, 127, -3, -10, -17, -24, -31, -39, -47, -56, -64, -71,
    -78, -86, -95, -103, -115, -127,
];
