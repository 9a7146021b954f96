//! What complex-valued transformers need, against complex arithmetic in f64.

use crate::common::{Int8, Rng, assert_close, assert_same, backends, product};
use halfpi_kernels::format::{Codes, GROUP, Layout, Matrix, Packed, ScaleGroup};
use halfpi_kernels::ops::{
    Int8RowsMut, OpError, Quantization, Rope, RopePairs, complex_relu2_glu, complex_rms_norm, conj_product, rope,
    rope_angles, swap_axes,
};
use halfpi_kernels::{Backend, Serial, ops};

/// A complex number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct C(f64, f64);

impl C {
    fn conj(self) -> C {
        C(self.0, -self.1)
    }
    fn times(self, other: C) -> C {
        C(self.0 * other.0 - self.1 * other.1, self.0 * other.1 + self.1 * other.0)
    }
    fn plus(self, other: C) -> C {
        C(self.0 + other.0, self.1 + other.1)
    }
    fn norm(self) -> f64 {
        self.0 * self.0 + self.1 * self.1
    }
}

/// The complex numbers of a row `[re, im]`.
fn complex(row: &[f32]) -> Vec<C> {
    let (re, im) = row.split_at(row.len() / 2);
    re.iter().zip(im).map(|(&re, &im)| C(re.into(), im.into())).collect()
}

/// Back to `[re, im]`.
fn flat(row: &[C]) -> Vec<f64> {
    row.iter().map(|c| c.0).chain(row.iter().map(|c| c.1)).collect()
}

/// A matrix of powers of i, `[row][col]` of `codes`, with a scale for real and one for imaginary ones a row.
fn powers_of_i(codes: &[u16], cols: usize, scales: &[[f32; 2]]) -> (Layout, Vec<u8>) {
    let rows = scales.len();
    let layout = Layout::new(2 * rows, 2 * cols, Codes::PhaseComplex, ScaleGroup::Row, false)
        .unwrap()
        .with_f32_scales();
    let mut bytes = vec![0; layout.bytes()];
    for (i, &code) in codes.iter().enumerate() {
        layout.write_code(&mut bytes, i / cols, i % cols, code).unwrap();
    }
    for (row, scales) in scales.iter().enumerate() {
        for (scale, col) in scales.iter().zip([0, cols]) {
            let at = layout.scales_offset() + layout.scale_position(row, col);
            bytes[at..at + 4].copy_from_slice(&scale.to_le_bytes());
        }
    }
    (layout, bytes)
}

/// `i^k z`.
fn turned(k: u16, [re, im]: [f32; 2]) -> [f32; 2] {
    [[re, im], [-im, re], [-re, -im], [im, -re]][usize::from(k % 4)]
}

/// Weights are quarter turns: thousands of products in a row still are the swaps and signs that they come to, bit for
/// bit, in floats of any size and in 8 bits.
#[test]
fn any_number_of_quarter_turns_is_exact() {
    let mut rng = Rng::new(65);
    let cols = 64;
    let codes: Vec<u16> = (0..cols).map(|_| rng.below(4) as u16).collect();
    let (layout, bytes) = powers_of_i(&codes, cols, &[[1.0; 2]]);
    let weight = Matrix::Packed(Packed::new(layout, &bytes).unwrap());
    // In 8 bits these are 127 times powers of 2, so that scales are exact too.
    let starts = [
        (None, [rng.float(), 1e-20]),
        (None, [-3e30, rng.float()]),
        (Some(Quantization::Halves), [127.0, -15.875]),
    ];
    for backend in backends() {
        for (quantization, start) in starts {
            let (mut found, mut expected) = (start, start);
            for turn in 0..1000 {
                let channel = rng.below(cols);
                let mut x = vec![0.0; 2 * cols];
                (x[channel], x[cols + channel]) = (found[0], found[1]);
                let y = product(backend, &Serial, &weight, quantization, &x);
                found = [y[0], y[1]];
                let conjugate = [expected[0], -expected[1]];
                expected = turned(codes[channel], conjugate);
                assert_eq!(
                    found.map(f32::to_bits),
                    expected.map(f32::to_bits),
                    "{}, turn {turn}",
                    backend.name()
                );
            }
        }
    }
}

/// The real form of packed powers of i does what complex arithmetic says of `W conj(x)`.
#[test]
fn packed_powers_of_i_multiply_conjugates() {
    let mut rng = Rng::new(66);
    for (rows, cols) in [(1, 32), (17, 96), (40, 64)] {
        let codes: Vec<u16> = (0..rows * cols).map(|_| rng.below(4) as u16).collect();
        let scales: Vec<[f32; 2]> = (0..rows).map(|_| [rng.float(), rng.float()]).collect();
        let (layout, bytes) = powers_of_i(&codes, cols, &scales);
        let weight = Matrix::Packed(Packed::new(layout, &bytes).unwrap());
        let x = rng.floats(3 * 2 * cols);
        let found = product(Backend::scalar(), &Serial, &weight, None, &x);
        for (x, found) in x.chunks(2 * cols).zip(found.chunks(2 * rows)) {
            let expected: Vec<C> = (0..rows)
                .map(|row| {
                    let terms = complex(x).into_iter().zip(&codes[row * cols..]).map(|(x, &code)| {
                        let scale = f64::from(scales[row][usize::from(code % 2)]);
                        let power = [C(1.0, 0.0), C(0.0, 1.0), C(-1.0, 0.0), C(0.0, -1.0)][usize::from(code)];
                        C(power.0 * scale, power.1 * scale).times(x.conj())
                    });
                    terms.fold(C(0.0, 0.0), C::plus)
                })
                .collect();
            assert_close(&flat(&expected), found, |_| 1e-3, || format!("{rows} x {cols}"));
        }
    }
}

#[test]
fn the_norm_is_over_complex_channels() {
    let mut rng = Rng::new(60);
    for channels in [1, 7, 16, 33, 512] {
        let (x, weight) = (rng.floats(3 * 2 * channels), rng.floats(2 * channels));
        let run = |backend: Backend| {
            let mut out = vec![f32::NAN; x.len()];
            complex_rms_norm(backend, &x, &weight, 1e-3, &mut out).unwrap();
            out
        };
        let found = run(Backend::scalar());
        for (x, found) in x.chunks(2 * channels).zip(found.chunks(2 * channels)) {
            let mean = complex(x).iter().map(|c| c.norm()).sum::<f64>() / channels as f64;
            let scaled = x.iter().zip(&weight).map(|(&x, &w)| f64::from(x) * f64::from(w));
            let expected: Vec<f64> = scaled.map(|x| x / (mean + 1e-3).sqrt()).collect();
            assert_close(&expected, found, |i| expected[i].abs() * 1e-6, || format!("{channels}"));
        }
        for backend in backends() {
            assert_same(&found, &run(backend), || format!("{}, {channels}", backend.name()));
        }
    }
}

#[test]
fn the_gate_is_conjugated_and_closed_in_one_quadrant() {
    let mut rng = Rng::new(61);
    for channels in [1, 5, 64] {
        let (mut gate, up) = (rng.floats(2 * 2 * channels), rng.floats(2 * 2 * channels));
        gate[0] = -0.0;
        let before = gate.clone();
        complex_relu2_glu(channels, &mut gate, &up).unwrap();
        let rows = before.chunks(2 * channels).zip(up.chunks(2 * channels));
        for ((before, up), found) in rows.zip(gate.chunks(2 * channels)) {
            let expected: Vec<C> = complex(before)
                .into_iter()
                .zip(complex(up))
                .map(|(C(re, im), up)| {
                    let act = if re < 0.0 && im < 0.0 {
                        C(0.0, 0.0)
                    } else {
                        C(re * re, im * im)
                    };
                    act.conj().times(up)
                })
                .collect();
            assert_close(&flat(&expected), found, |_| 1e-2, || format!("{channels}"));
        }
    }
    // Each quadrant, with an `up` of 1 + 2i: conj(a + ib) (1 + 2i) = (a + 2b) + i (2a - b).
    let mut gate = [3.0, -3.0, 3.0, -3.0, 2.0, 2.0, -2.0, -2.0];
    complex_relu2_glu(4, &mut gate, &[1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]).unwrap();
    assert_eq!(gate, [17.0, 17.0, 17.0, 0.0, 14.0, 14.0, 14.0, 0.0]);
    // What is not a number is not hidden.
    let mut gate = [f32::NAN, -1.0];
    complex_relu2_glu(1, &mut gate, &[1.0, 0.0]).unwrap();
    assert!(gate.iter().all(|x| x.is_nan()));
}

#[test]
fn four_real_products_make_a_complex_one() {
    let mut rng = Rng::new(62);
    let (rows, cols, positions) = (5, 7, 3);
    // [A; B] and [position][re x, im x].
    let (weight, x) = (rng.floats(2 * rows * cols), rng.floats(positions * 2 * cols));
    let dot = |w: &[f32], x: &[f32]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
    let products: Vec<f32> = x
        .chunks(cols)
        .flat_map(|x| weight.chunks(cols).map(move |w| dot(w, x)))
        .collect();
    let mut found = vec![f32::NAN; positions * 2 * rows];
    conj_product(rows, &products, &mut found).unwrap();

    let (a, b) = weight.split_at(rows * cols);
    for (x, found) in x.chunks(2 * cols).zip(found.chunks(2 * rows)) {
        let expected: Vec<C> = (0..rows)
            .map(|row| {
                let terms = complex(x).into_iter().enumerate().map(|(col, x)| {
                    let w = C(a[row * cols + col].into(), b[row * cols + col].into());
                    w.times(x.conj())
                });
                terms.fold(C(0.0, 0.0), C::plus)
            })
            .collect();
        assert_close(&flat(&expected), found, |_| 1e-2, || "W conj(x)".into());
    }
}

/// Heads held as `[re, im]`: the real dot product is `Re(q conj(k))`, and the turn of halves the product with `e^(ia)`.
#[test]
fn real_attention_and_rope_do_complex_ones() {
    let mut rng = Rng::new(63);
    let channels = 8;
    let (mut q, k) = (rng.floats(2 * channels), rng.floats(2 * channels));
    let score: f64 = q.iter().zip(&k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
    let products = complex(&q).into_iter().zip(complex(&k)).map(|(q, k)| q.times(k.conj()));
    assert!((score - products.fold(C(0.0, 0.0), C::plus).0).abs() < 1e-9);

    let turns = Rope {
        pairs: RopePairs::Halves,
        freq_base: 100.0,
        scale: 1.0,
        dims: 2 * channels,
        freq_factors: &[],
    };
    let mut angles = vec![[0.0; 2]; channels];
    rope_angles(&turns, 7, &mut angles).unwrap();
    let expected: Vec<C> = complex(&q)
        .into_iter()
        .enumerate()
        .map(|(j, q)| {
            let angle = 7.0 * 100f64.powf(-(j as f64) / channels as f64);
            q.times(C(angle.cos(), angle.sin()))
        })
        .collect();
    rope(RopePairs::Halves, &angles, 1, 2 * channels, &mut q).unwrap();
    assert_close(&flat(&expected), &q, |_| 1e-4, || "rope".into());
}

#[test]
fn axes_swap_there_and_back() {
    let x: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let mut heads = vec![f32::NAN; 24];
    // Two positions of [re, im] of three heads of two channels.
    swap_axes([2, 3, 2], &x, &mut heads).unwrap();
    let first = [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 8.0, 9.0, 4.0, 5.0, 10.0, 11.0];
    assert_eq!(heads[..12], first);
    assert_eq!(heads[12..], first.map(|x| x + 12.0));
    let mut back = vec![f32::NAN; 24];
    swap_axes([3, 2, 2], &heads, &mut back).unwrap();
    assert_eq!(back, x);
}

/// Real and imaginary parts have a scale each, and are the same numbers as rows of half the length.
#[test]
fn halves_have_scales_of_their_own() {
    let mut rng = Rng::new(64);
    let cols = 6 * GROUP;
    let x = rng.floats(2 * cols);
    for backend in backends() {
        let halves = Int8::of(backend, Quantization::Halves, &x, cols);
        let rows = Int8::of(backend, Quantization::Row, &x, cols / 2);
        assert_eq!((&halves.codes, &halves.running_sums), (&rows.codes, &rows.running_sums));
        assert_eq!((&halves.scales, &halves.sums), (&rows.scales, &rows.sums));
        for (x, scales) in x.chunks(cols / 2).zip(halves.scales.chunks(3)) {
            let largest = x.iter().fold(0f32, |max, x| max.max(x.abs()));
            assert_eq!(scales, [largest / 127.0; 3]);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    #[track_caller]
    fn refused<T>(result: Result<T, OpError>, what: &str) {
        let error = result.err().expect("refused");
        assert!(error.what.contains(what), "{error}");
    }
    let (mut six, mut twelve) = ([0.0; 6], [0.0; 12]);
    refused(complex_relu2_glu(3, &mut six, &[0.0; 5]), "up");
    refused(complex_relu2_glu(2, &mut six, &[0.0; 6]), "gate");
    refused(complex_relu2_glu(0, &mut six, &[0.0; 6]), "gate");
    refused(complex_relu2_glu(usize::MAX, &mut six, &[0.0; 6]), "gate");
    refused(conj_product(2, &[0.0; 12], &mut six), "out");
    refused(conj_product(usize::MAX, &[0.0; 12], &mut six), "out");
    refused(conj_product(3, &[0.0; 11], &mut six), "products");
    refused(swap_axes([2, 3, 0], &[0.0; 12], &mut twelve), "x");
    refused(swap_axes([2, 3, usize::MAX], &[0.0; 12], &mut twelve), "x");
    refused(swap_axes([2, 3, 2], &[0.0; 12], &mut six), "out");
    let odd = complex_rms_norm(Backend::scalar(), &[0.0; 3], &[0.0; 3], 1.0, &mut [0.0; 3]);
    refused(odd, "weight");
    refused(complex_rms_norm(Backend::scalar(), &[], &[], 1.0, &mut []), "x");

    let (mut codes, mut scales, mut sums, mut running_sums) = ([0; 192], [0.0; 6], [0.0; 6], [0; 6]);
    let mut rows = Int8RowsMut {
        codes: &mut codes,
        scales: &mut scales,
        sums: &mut sums,
        running_sums: &mut running_sums,
    };
    let mut quantize = |cols: usize| {
        let rows = rows.quantize(Backend::scalar(), Quantization::Halves, &[0.0; 192], cols);
        rows.and_then(ops::Int8Rows::halves).map(|rows| rows.positions())
    };
    assert_eq!(quantize(64), Ok(6));
    assert_eq!(quantize(192), Ok(2));
    // 48 and 16 channels are no whole groups.
    refused(quantize(96), "cols");
    refused(quantize(32), "cols");
    refused(quantize(65), "cols");
}
