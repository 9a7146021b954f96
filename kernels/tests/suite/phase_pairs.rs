//! Phase pairs are what complex arithmetic says they are.

use crate::common::{Rng, assert_close, backends, product};
use halfpi_kernels::Serial;
use halfpi_kernels::format::{Codes, GROUP, Layout, Matrix, Packed, ScaleGroup};

const HALF: usize = GROUP / 2;

/// A complex number.
type C = (f64, f64);

fn times(a: C, b: C) -> C {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn plus(a: C, b: C) -> C {
    (a.0 + b.0, a.1 + b.1)
}

fn power_of_i(k: u16) -> C {
    [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][usize::from(k % 4)]
}

/// Random codes of blocks, `[pair of rows][pair of columns]`, and the matrix they make with all scales 1.
fn pairs(rng: &mut Rng, rows: usize, cols: usize, stages: u8) -> (Vec<u16>, Layout, Vec<u8>) {
    let layout = Layout::new(rows, cols, Codes::PhasePair { stages }, ScaleGroup::Row, false).unwrap();
    let mut bytes = vec![0; layout.bytes()];
    let codes: Vec<u16> = (0..rows * cols / 4)
        .map(|_| rng.below(16usize.pow(stages.into())) as u16)
        .collect();
    for (i, &code) in codes.iter().enumerate() {
        let (row, col) = place(i, cols);
        layout.write_code(&mut bytes, row, col, code).unwrap();
    }
    for scale in bytes[layout.scales_offset()..].chunks_exact_mut(2) {
        scale.copy_from_slice(&half::f16::ONE.to_le_bytes());
    }
    (codes, layout, bytes)
}

/// The first row and column of block `i`.
fn place(i: usize, cols: usize) -> (usize, usize) {
    let (pair, k) = (i / (cols / 2), i % (cols / 2));
    (pair / HALF * GROUP + pair % HALF, k / HALF * GROUP + k % HALF)
}

/// Rows r and r + 16 and columns k and k + 16 are real and imaginary parts, and the product is `U x + W conj(x)`.
#[test]
fn products_are_widely_linear() {
    let mut rng = Rng::new(80);
    for (rows, cols, stages) in [(32, 32, 1), (64, 96, 1), (32, 64, 2), (96, 32, 2)] {
        let (codes, layout, bytes) = pairs(&mut rng, rows, cols, stages);
        let weight = Matrix::Packed(Packed::new(layout, &bytes).unwrap());
        let x: Vec<f32> = (0..cols).map(|_| rng.float()).collect();
        let mut expected = vec![0.0; rows];
        for (i, &code) in codes.iter().enumerate() {
            let (row, col) = place(i, cols);
            let x = (f64::from(x[col]), f64::from(x[col + HALF]));
            let stage = |code: u16| {
                let (u, w) = (power_of_i(code), power_of_i(code >> 2));
                plus(times(u, x), times(w, (x.0, -x.1)))
            };
            let y = match stages {
                1 => stage(code),
                _ => plus(times((2.0, 0.0), stage(code & 15)), stage(code >> 4)),
            };
            expected[row] += y.0;
            expected[row + HALF] += y.1;
        }
        for backend in backends() {
            let found = product(backend, &Serial, &weight, None, &x);
            assert_close(
                &expected,
                &found,
                |_| 1e-3,
                || format!("{rows} x {cols}, {stages} stages"),
            );
        }
    }
}

/// Weight by weight, two stages are twice the first plus the second.
#[test]
fn two_stages_add_up() {
    let mut rng = Rng::new(81);
    let (rows, cols) = (64, 64);
    let (codes, layout, bytes) = pairs(&mut rng, rows, cols, 2);
    let weights = |layout: Layout, bytes: &[u8]| -> Vec<f32> {
        let matrix = Matrix::Packed(Packed::new(layout, bytes).unwrap());
        let mut weights = vec![0.0; rows * cols];
        for (row, out) in weights.chunks_exact_mut(cols).enumerate() {
            matrix.dequantize_row(row, out).unwrap();
        }
        weights
    };
    let stage = |shift: u32| {
        let layout = Layout::new(rows, cols, Codes::PhasePair { stages: 1 }, ScaleGroup::Row, false).unwrap();
        let mut part = vec![0; layout.bytes()];
        for (i, &code) in codes.iter().enumerate() {
            let (row, col) = place(i, cols);
            layout.write_code(&mut part, row, col, code >> shift & 15).unwrap();
        }
        for scale in part[layout.scales_offset()..].chunks_exact_mut(2) {
            scale.copy_from_slice(&half::f16::ONE.to_le_bytes());
        }
        weights(layout, &part)
    };
    let (first, second) = (stage(0), stage(4));
    let both = weights(layout, &bytes);
    for i in 0..both.len() {
        assert_eq!(both[i], 2.0 * first[i] + second[i]);
        assert!(first[i].abs() <= 2.0 && both[i].abs() <= 6.0);
    }
}
