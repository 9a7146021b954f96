//! The scalar backend against the definitions, computed plainly in f64.
//!
//! Tolerances are bounds on what rounding in f32 can do: a sum of n products is off by at most about
//! n * 2^-24 times the sum of their magnitudes, and here n counts a lane's products.

use crate::attention::{Case, ELEMENTS};
use crate::common::{Int8, Rng, Weights, assert_close, product, specs};
use halfpi_kernels::format::{Dense, Float, GROUP, Matrix};
use halfpi_kernels::ops::{
    KvElement, Quantization, Rope, RopePairs, add, relu2_glu, rms_norm, rope, rope_angles, swiglu,
};
use halfpi_kernels::{Backend, Serial};

/// Half a unit in the last place of an f32 near 1.
const EPSILON: f64 = f32::EPSILON as f64 / 2.0;

fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// The value of an f16, by its definition in IEEE 754.
pub fn half_value(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
    sign * match exponent {
        0 => mantissa * 2f64.powi(-14),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + mantissa) * 2f64.powi(exponent - 15),
    }
}

/// The weights of a matrix, one by one.
fn dequantized(matrix: &Matrix<'_>) -> Vec<Vec<f64>> {
    let mut row = vec![0.0; matrix.cols()];
    (0..matrix.rows())
        .map(|i| {
            matrix.dequantize_row(i, &mut row).unwrap();
            widen(&row)
        })
        .collect()
}

/// `W x` for each position, and the sums of the products' magnitudes.
fn reference(rows: &[Vec<f64>], x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let cols = rows[0].len();
    let products = x.chunks_exact(cols).flat_map(|x| {
        rows.iter().map(move |row| {
            let terms = row.iter().zip(x).map(|(w, x)| w * x);
            (terms.clone().sum::<f64>(), terms.map(f64::abs).sum::<f64>())
        })
    });
    products.unzip()
}

#[test]
fn quantization_rounds_to_the_nearest_code() {
    let mut rng = Rng::new(40);
    for quantization in [Quantization::Group, Quantization::Row] {
        let (cols, positions) = (160, 6);
        let mut x = rng.floats(positions * cols);
        x[..cols].fill(0.0);
        let int8 = Int8::of(Backend::scalar(), quantization, &x, cols);
        let width = if quantization == Quantization::Row { cols } else { GROUP };
        for (start, x) in x.chunks_exact(width).enumerate().map(|(i, x)| (i * width, x)) {
            let absmax = x.iter().fold(0f64, |max, &x| max.max(f64::from(x).abs()));
            for (i, &x) in (start..).zip(x) {
                let (code, scale) = (f64::from(int8.codes[i]), f64::from(int8.scales[i / GROUP]));
                assert!((scale - absmax / 127.0).abs() <= absmax * 2.0 * EPSILON);
                assert!(code.abs() <= 127.0);
                // Half a step, and what f32 adds to that.
                let error = (code * scale - f64::from(x)).abs();
                assert!(
                    error <= scale * (0.5 + 127.0 * 4.0 * EPSILON),
                    "{x} became {code} * {scale}"
                );
            }
        }
        for (g, codes) in int8.codes.chunks_exact(GROUP).enumerate() {
            let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
            assert_eq!(int8.sums[g], int8.scales[g] * sum as f32);
            let first = g / (cols / GROUP) * cols;
            let so_far = &int8.codes[first..(g + 1) * GROUP];
            assert_eq!(int8.running_sums[g], so_far.iter().map(|&code| i32::from(code)).sum());
        }
    }
}

#[test]
fn quantization_breaks_ties_to_even() {
    let mut x = [0.0; GROUP];
    x[..8].copy_from_slice(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.75]);
    let int8 = Int8::of(Backend::scalar(), Quantization::Group, &x, GROUP);
    assert_eq!(int8.codes[..8], [127, 0, 2, 2, 0, -2, -2, 1]);
    assert_eq!(int8.scales, [1.0]);
}

#[test]
fn products_of_int8_activations() {
    let mut rng = Rng::new(41);
    let backend = Backend::scalar();
    for (rows, cols, positions) in [(1, 32, 1), (16, 64, 5), (37, 384, 1), (20, 576, 9), (18, 1152, 2)] {
        for spec in specs(rows, cols) {
            let weights = Weights::new(&mut rng, spec, rows, cols);
            let x = rng.floats(positions * cols);
            for quantization in [Quantization::Group, Quantization::Row, Quantization::Halves] {
                if quantization == Quantization::Halves && cols % 64 != 0 {
                    continue;
                }
                let int8 = Int8::of(backend, quantization, &x, cols);
                let scaled = int8.codes.iter().enumerate().map(|(i, &code)| {
                    // Exactly what the codes stand for; how near that is to `x` is tested above.
                    f64::from(code) * f64::from(int8.scales[i / GROUP])
                });
                let (expected, size) = reference(&dequantized(&weights.matrix()), &scaled.collect::<Vec<_>>());
                let found = product(backend, &Serial, &weights.matrix(), Some(quantization), &x);
                // Five roundings a group, and a sum over the groups. A code's value and its minimum may cancel in
                // the reference's magnitudes but not here.
                let tolerance = (cols / GROUP + 8) as f64 * EPSILON * 64.0;
                assert_close(
                    &expected,
                    &found,
                    |i| tolerance * (size[i] + 1e-3),
                    || format!("{spec:?}, {rows} x {cols}"),
                );
            }
        }
    }
}

#[test]
fn products_of_float_activations() {
    let mut rng = Rng::new(42);
    for (rows, cols, positions) in [(1, 32, 1), (16, 64, 5), (37, 384, 1), (20, 576, 6)] {
        let x = rng.floats(positions * cols);
        for spec in specs(rows, cols) {
            let weights = Weights::new(&mut rng, spec, rows, cols);
            let (expected, size) = reference(&dequantized(&weights.matrix()), &widen(&x));
            let found = product(Backend::scalar(), &Serial, &weights.matrix(), None, &x);
            let tolerance = (cols + 2) as f64 * EPSILON;
            assert_close(
                &expected,
                &found,
                |i| tolerance * size[i],
                || format!("{spec:?}, {rows} x {cols}"),
            );
        }
    }
}

#[test]
fn products_of_dense_weights() {
    let mut rng = Rng::new(43);
    for (rows, cols, positions) in [(1, 1, 1), (3, 15, 2), (5, 17, 9), (16, 64, 4), (7, 577, 3)] {
        let (x, w) = (rng.floats(positions * cols), rng.floats(rows * cols));
        for float in [Float::F32, Float::F16, Float::Bf16] {
            // Truncated to the element type, which is done here by bits.
            let (w, bytes): (Vec<f64>, Vec<Vec<u8>>) = w
                .iter()
                .map(|w| match float {
                    Float::F32 => (f64::from(*w), w.to_le_bytes().to_vec()),
                    Float::F16 => {
                        let bits = half::f16::from_f32(*w).to_bits();
                        (half_value(bits), bits.to_le_bytes().to_vec())
                    }
                    Float::Bf16 => {
                        let bits = w.to_bits() & 0xffff_0000;
                        (f64::from(f32::from_bits(bits)), bits.to_le_bytes()[2..].to_vec())
                    }
                })
                .unzip();
            let bytes = bytes.concat();
            let matrix = Matrix::Dense(Dense::new(rows, cols, float, &bytes).unwrap());
            let w: Vec<_> = w.chunks_exact(cols).map(<[f64]>::to_vec).collect();
            assert_eq!(dequantized(&matrix), w);
            let (expected, size) = reference(&w, &widen(&x));
            let found = product(Backend::scalar(), &Serial, &matrix, None, &x);
            let tolerance = (cols / 16 + 6) as f64 * EPSILON;
            assert_close(
                &expected,
                &found,
                |i| tolerance * size[i],
                || format!("{float:?}, {rows} x {cols}"),
            );
        }
    }
}

#[test]
fn norms_and_gates() {
    let mut rng = Rng::new(44);
    for len in [1, 15, 16, 17, 576] {
        let (x, y) = (rng.floats(2 * len), rng.floats(2 * len));
        let (wide_x, wide_y) = (widen(&x), widen(&y));

        let mut found = vec![0.0; 2 * len];
        rms_norm(Backend::scalar(), &x, &y[..len], 1e-5, &mut found).unwrap();
        let expected = wide_x.chunks_exact(len).flat_map(|x| {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / len as f64;
            let y = &wide_y[..len];
            x.iter()
                .zip(y)
                .map(move |(x, y)| x / (mean + f64::from(1e-5f32)).sqrt() * y)
        });
        let expected: Vec<_> = expected.collect();
        let tolerance = (len / 16 + 10) as f64 * EPSILON;
        assert_close(
            &expected,
            &found,
            |i| tolerance * expected[i].abs(),
            || format!("rms_norm of {len}"),
        );

        let mut found = x.clone();
        add(Backend::scalar(), &mut found, &y).unwrap();
        let expected: Vec<_> = wide_x.iter().zip(&wide_y).map(|(x, y)| x + y).collect();
        assert_close(
            &expected,
            &found,
            |i| EPSILON * expected[i].abs(),
            || format!("add of {len}"),
        );

        let mut found = x.clone();
        relu2_glu(Backend::scalar(), &mut found, &y).unwrap();
        let expected: Vec<_> = wide_x
            .iter()
            .zip(&wide_y)
            .map(|(x, y)| x.max(0.0).powi(2) * y)
            .collect();
        assert_close(
            &expected,
            &found,
            |i| 3.0 * EPSILON * expected[i].abs(),
            || format!("relu2 of {len}"),
        );
    }
}

/// The exponential shows through the gate: `x / (1 + e^-x)`.
#[test]
fn exponentials_over_their_range() {
    let x: Vec<f32> = (-87_000..87_000).map(|i| i as f32 / 1000.0).collect();
    let mut found = x.clone();
    swiglu(Backend::scalar(), &mut found, &vec![1.0; x.len()]).unwrap();
    let expected: Vec<_> = widen(&x).iter().map(|x| x / (1.0 + (-x).exp())).collect();
    assert_close(
        &expected,
        &found,
        |i| 7.0 * EPSILON * expected[i].abs(),
        || "silu".into(),
    );

    // Beyond it: 0 on one side, the number itself on the other.
    let mut found = [-1e30, -200.0, 200.0, 1e30, f32::INFINITY];
    swiglu(Backend::scalar(), &mut found, &[1.0; 5]).unwrap();
    assert!(
        found[1].abs() < 1e-30 && found[2..] == [200.0, 1e30, f32::INFINITY],
        "{found:?}"
    );
}

#[test]
fn rotary_embedding() {
    let mut rng = Rng::new(45);
    let (head_dim, heads, positions, first) = (24, 3, 5, 1000);
    for pairs in [RopePairs::Adjacent, RopePairs::Halves] {
        for dims in [24, 16] {
            let factors: Vec<f32> = (0..dims / 2).map(|i| 1.0 + i as f32 / 4.0).collect();
            for freq_factors in [&[][..], &factors] {
                let setup = Rope {
                    pairs,
                    freq_base: 10_000.0,
                    scale: 2.0,
                    dims,
                    freq_factors,
                };
                let mut angles = vec![[0.0; 2]; positions * dims / 2];
                rope_angles(&setup, first, &mut angles).unwrap();
                let x = rng.floats(positions * heads * head_dim);
                let mut found = x.clone();
                rope(pairs, &angles, positions, head_dim, &mut found).unwrap();

                let mut expected = widen(&x);
                for (i, head) in expected.chunks_exact_mut(head_dim).enumerate() {
                    for pair in 0..dims / 2 {
                        let factor = freq_factors.get(pair).map_or(1.0, |&f| f64::from(f));
                        let frequency = 10_000f64.powf(-2.0 * pair as f64 / dims as f64) / factor;
                        let (sin, cos) = ((first + i / heads) as f64 / 2.0 * frequency).sin_cos();
                        let (a, b) = match pairs {
                            RopePairs::Adjacent => (2 * pair, 2 * pair + 1),
                            RopePairs::Halves => (pair, pair + dims / 2),
                        };
                        (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
                    }
                }
                // Outliers reach 40.
                assert_close(
                    &expected,
                    &found,
                    |_| 200.0 * EPSILON,
                    || format!("{pairs:?}, {dims} of {head_dim}"),
                );
            }
        }
    }
}

/// Each f16 in the cache is the nearest to its float, ties to the even one.
#[test]
fn halves_are_nearest() {
    use halfpi_kernels::ops::{KvLayer, KvLayout};
    let mut rng = Rng::new(46);
    let floats: Vec<f32> = (0..16 * 4096)
        .map(|i| match i % 4 {
            // Ties, which need 11 bits of fraction, normal and subnormal.
            0 => rng.below(1 << 12) as f32 * 2f32.powi(rng.below(28) as i32 - 26),
            1 => -f32::from_bits(rng.below(0x4780_0000) as u32),
            2 => 65519.0 + rng.below(3) as f32,
            _ => rng.float() * 1e-5,
        })
        .collect();
    let layout = KvLayout::new(1, 16, 4096, KvElement::F16).unwrap();
    let mut data = vec![0; layout.bytes()];
    let mut cache = KvLayer::new(layout, &mut data).unwrap();
    cache
        .store(Backend::scalar(), 0, &vec![0.0; floats.len()], &floats)
        .unwrap();
    // Values follow the keys, in order.
    for (x, bytes) in floats.iter().zip(data[layout.bytes() / 2..].chunks_exact(2)) {
        let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
        // What lies past the largest, 65504, counts as if the next were 65536.
        let value = |bits: u16| {
            if bits & 0x7fff == 0x7c00 {
                65536.0
            } else {
                half_value(bits & 0x7fff)
            }
        };
        let (size, magnitude) = (f64::from(x.abs()), bits & 0x7fff);
        assert_eq!(x.is_sign_negative(), bits >> 15 == 1, "{x:e}");
        let error = (value(magnitude) - size).abs();
        for other in [magnitude.wrapping_sub(1), magnitude + 1] {
            if other <= 0x7c00 {
                let other_error = (value(other) - size).abs();
                assert!(
                    error < other_error || error == other_error && magnitude % 2 == 0,
                    "{x:e} became {bits:04x}"
                );
            }
        }
    }
}

#[test]
fn attention_is_softmax() {
    let mut rng = Rng::new(47);
    for element in ELEMENTS {
        for (kv_heads, group, head_dim, chunks) in [
            (1, 1, 16, &[1, 1, 1][..]),
            (2, 3, 64, &[17, 16, 2]),
            (3, 7, 32, &[40, 1]),
            (1, 4, 128, &[15, 2]),
        ] {
            let mut case = Case::new(&mut rng, (kv_heads, group), head_dim, chunks.iter().sum(), element);
            // Scores near 0, so that many positions take part and e^score magnifies no rounding.
            case.q.iter_mut().for_each(|q| *q /= 32.0);
            let (found, _) = case.run(Backend::scalar(), chunks);
            let (k, v) = (stored(&case.k, head_dim, element), stored(&case.v, head_dim, element));
            let kv_row = kv_heads * head_dim;
            let mut expected = Vec::new();
            for (i, q) in case.q.chunks_exact(head_dim).enumerate() {
                let (position, head) = (i / case.heads, i % case.heads / group);
                let at = |p: usize| p * kv_row + head * head_dim..p * kv_row + (head + 1) * head_dim;
                let scores: Vec<f64> = (0..=position)
                    .map(|p| {
                        q.iter().zip(&k[at(p)]).map(|(q, k)| f64::from(*q) * k).sum::<f64>() / (head_dim as f64).sqrt()
                    })
                    .collect();
                let max = scores.iter().fold(f64::MIN, |max, &s| max.max(s));
                let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
                let sum: f64 = weights.iter().sum();
                let mut mixed = vec![0.0; head_dim];
                for (p, weight) in weights.iter().enumerate() {
                    let values = v[at(p)].iter();
                    mixed
                        .iter_mut()
                        .zip(values)
                        .for_each(|(mixed, v)| *mixed += weight / sum * v);
                }
                expected.extend(mixed);
            }
            // Scores up to 20 and values up to 40, each rounded some dozen times.
            assert_close(
                &expected,
                &found,
                |_| 20.0 * 40.0 * 24.0 * EPSILON,
                || format!("{element:?}, {head_dim}"),
            );
        }
    }
}

/// What the cache keeps of some heads.
fn stored(x: &[f32], head_dim: usize, element: KvElement) -> Vec<f64> {
    x.chunks_exact(head_dim)
        .flat_map(|head| {
            let max = head.iter().fold(0f32, |max, x| max.max(x.abs()));
            head.iter().map(move |&x| match element {
                KvElement::F16 => half_value(half::f16::from_f32(x).to_bits()),
                KvElement::Int8 => f64::from((x * (127.0 / max)).round_ties_even()) * f64::from(max / 127.0),
            })
        })
        .collect()
}
