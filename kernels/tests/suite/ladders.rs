//! The φ ladder against exact arithmetic in Z[φ].

use crate::common::{Rng, backends, product};
use halfpi_kernels::Serial;
use halfpi_kernels::format::{Codes, Layout, Matrix, Packed, ScaleGroup, tables};
use halfpi_kernels::ops::Quantization;

/// A number of Z[φ], `a + bφ`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Golden {
    a: i64,
    b: i64,
}

impl Golden {
    /// φ^k = F_k φ + F_(k-1).
    fn power(k: usize) -> Self {
        let (mut before, mut fibonacci) = (1, 0);
        for _ in 0..k {
            (before, fibonacci) = (fibonacci, before + fibonacci);
        }
        Golden {
            a: before,
            b: fibonacci,
        }
    }

    fn plus(self, times: i64, other: Self) -> Self {
        Golden {
            a: self.a + times * other.a,
            b: self.b + times * other.b,
        }
    }

    /// φ² = φ + 1.
    fn times(self, other: Self) -> Self {
        let bb = self.b * other.b;
        Golden {
            a: self.a * other.a + bb,
            b: self.a * other.b + self.b * other.a + bb,
        }
    }

    fn value(self) -> f64 {
        self.a as f64 + self.b as f64 * phi()
    }

    /// With the other root of x² = x + 1, which is -1/φ, for φ.
    fn conjugate(self) -> f64 {
        self.a as f64 - self.b as f64 / phi()
    }
}

fn phi() -> f64 {
    (1.0 + 5f64.sqrt()) / 2.0
}

#[test]
fn powers_of_phi_multiply_exactly() {
    let mut rng = Rng::new(70);
    for _ in 0..1000 {
        let (i, j) = (rng.below(40), rng.below(40));
        assert_eq!(Golden::power(i).times(Golden::power(j)), Golden::power(i + j));
    }
}

/// The table has the Fibonacci numbers F_(k+4) for φ^k. By Binet's formula `F_(k+4) √5 / φ⁴ = φ^k - ψ^k / φ⁸` with
/// ψ = -1/φ, so a dot product `A + Bφ` of powers of φ comes out of the kernel as
/// `(A + Bφ - (A + Bψ) / φ⁸) φ⁴ / √5`: off by its own conjugate over φ⁸, and by no more than `Σ |x| φ^(-k-8)`.
#[test]
fn the_fibonacci_table_is_off_by_the_conjugate() {
    let mut rng = Rng::new(71);
    let (rows, cols) = (16, 512);
    let layout = Layout::new(rows, cols, Codes::Codebook4(tables::PHI), ScaleGroup::Row, false).unwrap();
    for round in 0..20 {
        let mut bytes = vec![0; layout.bytes()];
        let codes: Vec<u16> = (0..rows * cols).map(|_| rng.below(16) as u16).collect();
        for (i, &code) in codes.iter().enumerate() {
            layout.write_code(&mut bytes, i / cols, i % cols, code).unwrap();
        }
        for scale in bytes[layout.scales_offset()..].chunks_exact_mut(2) {
            scale.copy_from_slice(&half::f16::ONE.to_le_bytes());
        }
        let weight = Matrix::Packed(Packed::new(layout, &bytes).unwrap());
        // Integers of which the largest is 127 are their own 8-bit codes, at the scale 1.
        let mut x: Vec<f32> = (0..cols).map(|_| rng.below(255) as f32 - 127.0).collect();
        x[rng.below(cols)] = 127.0;
        for backend in backends() {
            let found = product(backend, &Serial, &weight, Some(Quantization::Row), &x);
            for (row, &found) in found.iter().enumerate() {
                let (mut exact, mut bound) = (Golden { a: 0, b: 0 }, 0.0);
                for (&code, &x) in codes[row * cols..][..cols].iter().zip(&x) {
                    let k = usize::from(code & 7);
                    let sign = if code & 8 == 0 { 1 } else { -1 };
                    exact = exact.plus(sign * x as i64, Golden::power(k));
                    bound += f64::from(x.abs()) * phi().powi(-(k as i32) - 8);
                }
                // Sums of integers below 2^24 are exact in the kernel.
                let found = f64::from(found) * 5f64.sqrt() / phi().powi(4);
                let error = found - exact.value();
                let expected = -exact.conjugate() / phi().powi(8);
                assert!(
                    (error - expected).abs() < 1e-7 * exact.value().abs().max(1e3),
                    "round {round}, row {row}, {}: {error}, not {expected}",
                    backend.name()
                );
                assert!(error.abs() <= bound, "{error} above {bound}");
            }
        }
    }
}
