//! Matrix products and activation quantization: every backend gives the scalar one's bits.

use crate::common::{Int8, Rng, Spec, Weights, assert_same, backends, product, specs};
use halfpi_kernels::format::{Codes, Dense, Float, Layout, Matrix, ScaleGroup, tables};
use halfpi_kernels::ops::Quantization;
use halfpi_kernels::{Backend, Parallel, Serial};

/// The `i`-th of the quantizations that fit so many columns.
fn quantization(i: usize, cols: usize) -> Quantization {
    match i % 3 {
        0 => Quantization::Group,
        1 => Quantization::Row,
        _ if cols.is_multiple_of(64) => Quantization::Halves,
        _ => Quantization::Row,
    }
}

/// Compares a product of every backend with the scalar one's.
fn check(weight: &Matrix<'_>, quantization: Option<Quantization>, x: &[f32], what: &dyn std::fmt::Debug) {
    let expected = product(Backend::scalar(), &Serial, weight, quantization, x);
    for backend in backends() {
        let found = product(backend, &Serial, weight, quantization, x);
        let (rows, cols, positions) = (weight.rows(), weight.cols(), x.len() / weight.cols());
        assert_same(&expected, &found, || {
            let name = backend.name();
            format!("{name}, {what:?} of {rows} x {cols}, {positions} positions, {quantization:?}")
        });
    }
}

#[test]
fn packed_products_of_every_height() {
    let mut rng = Rng::new(1);
    for rows in 1..=70 {
        let cols = [32, 64, 96, 128, 192, 256][rows % 6];
        let positions = rows % 13 + 1;
        let x = rng.floats(positions * cols);
        for spec in specs(rows, cols) {
            let weights = Weights::new(&mut rng, spec, rows, cols);
            check(&weights.matrix(), Some(quantization(rows / 6, cols)), &x, &spec);
        }
    }
}

#[test]
fn packed_products_of_every_width() {
    let mut rng = Rng::new(2);
    for cols in (32..=2048).step_by(32) {
        let rows = 15 + cols / 32 % 4;
        // One position takes another path than several.
        for positions in [1, 2 + cols / 32 % 4] {
            let x = rng.floats(positions * cols);
            for spec in specs(rows, cols) {
                let weights = Weights::new(&mut rng, spec, rows, cols);
                check(&weights.matrix(), Some(quantization(positions, cols)), &x, &spec);
            }
        }
    }
}

#[test]
fn packed_products_of_every_number_of_positions() {
    let mut rng = Rng::new(3);
    let (rows, cols) = (40, 1152);
    for positions in 1..=20 {
        let x = rng.floats(positions * cols);
        for spec in specs(rows, cols) {
            let weights = Weights::new(&mut rng, spec, rows, cols);
            check(&weights.matrix(), Some(quantization(positions, cols)), &x, &spec);
        }
    }
}

#[test]
fn packed_products_of_float_activations() {
    let mut rng = Rng::new(4);
    for (i, rows) in (1..=70).step_by(3).enumerate() {
        let (cols, positions) = (32 * (1 + i % 9), 1 + i % 13);
        let x = rng.floats(positions * cols);
        for spec in specs(rows, cols) {
            let weights = Weights::new(&mut rng, spec, rows, cols);
            check(&weights.matrix(), None, &x, &spec);
        }
    }
}

/// Codes and activations at their limits, where 8- and 16-bit intermediate results would overflow, over as many columns
/// as are summed before they are scaled.
#[test]
fn packed_products_of_extremes() {
    let mut rng = Rng::new(5);
    // Backends add more products at once where the entries are closer together: here they are as far apart as that
    // goes, and one further. 16-bit sums hold 8 products of pairs with weights up to 16, and 2 with weights up to 64.
    let tables = [
        (-127, 127),
        (-64, 65),
        (-65, 0),
        (0, 64),
        (63, 127),
        (-8, 9),
        (-8, 8),
        (-127, -112),
        (0, 15),
    ];
    let mut all = vec![
        Codes::Int8,
        Codes::Int6,
        Codes::Trits,
        Codes::PhasePair { stages: 1 },
        Codes::PhasePair { stages: 2 },
        Codes::PhaseAxis { magnitudes: true },
        Codes::PhaseAxis { magnitudes: false },
        Codes::PhaseComplex,
    ];
    for (least, most) in tables {
        all.push(Codes::Codebook4(core::array::from_fn(|i| {
            if i % 2 == 0 { least } else { most }
        })));
        all.push(Codes::Codebook5(core::array::from_fn(|i| {
            if i / 8 % 2 == 0 { least } else { most }
        })));
    }
    for first in [-127, -1, 121] {
        all.push(Codes::Codebook2(core::array::from_fn(|i| first + 2 * i as i8)));
        all.push(Codes::Codebook2(core::array::from_fn(|i| first + i as i8)));
    }
    let cols = 1024;
    for codes in all {
        let layout = Layout::new(16, cols, codes, ScaleGroup::Row, false).unwrap();
        for byte in [
            0x80, 0x81, 0x7f, 0x00, 0x01, 0x11, 0x2a, 0x55, 0x88, 0xaa, 0xdd, 0xf0, 0xff,
        ] {
            let weights = Weights::with_codes(&mut rng, layout, &vec![byte; layout.codes_bytes()]);
            for signs in [[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]] {
                let x: Vec<f32> = (0..5 * cols).map(|i| signs[i % 2] * 3.0).collect();
                for positions in [1, 5] {
                    let x = &x[..positions * cols];
                    check(&weights.matrix(), Some(Quantization::Row), x, &(codes, byte, signs));
                }
            }
        }
    }
}

#[test]
fn packed_products_of_nan_and_infinity() {
    let mut rng = Rng::new(6);
    let (rows, cols) = (20, 96);
    for (i, special) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-40]
        .into_iter()
        .enumerate()
    {
        let mut x = rng.floats(5 * cols);
        x[cols + 7 * i] = special;
        x[3 * cols..].fill(special);
        for spec in specs(rows, cols) {
            let weights = Weights::new(&mut rng, spec, rows, cols);
            for quantization in [Some(Quantization::Group), Some(Quantization::Row), None] {
                check(&weights.matrix(), quantization, &x, &(spec, special));
                check(&weights.matrix(), quantization, &x[cols..2 * cols], &(spec, special));
            }
        }
    }
}

#[test]
fn dense_products() {
    let mut rng = Rng::new(7);
    let cases = (1..=70)
        .map(|cols| (cols % 19 + 1, cols))
        .chain([(33, 576), (17, 1001), (5, 2048)]);
    for (rows, cols) in cases {
        let positions = cols % 13 + 1;
        let x = rng.floats(positions * cols);
        let weights = rng.floats(rows * cols);
        for float in [Float::F32, Float::F16, Float::Bf16] {
            // At an odd address.
            let mut bytes = vec![0; rows * cols * float.bytes() + 1];
            let start = 1 - bytes.as_ptr().addr() % 2;
            for (bytes, w) in bytes[start..].chunks_exact_mut(float.bytes()).zip(&weights) {
                match float {
                    Float::F32 => bytes.copy_from_slice(&w.to_le_bytes()),
                    Float::F16 => bytes.copy_from_slice(&half::f16::from_f32(*w).to_le_bytes()),
                    Float::Bf16 => bytes.copy_from_slice(&half::bf16::from_f32(*w).to_le_bytes()),
                }
            }
            let bytes = &bytes[start..][..rows * cols * float.bytes()];
            let dense = Matrix::Dense(Dense::new(rows, cols, float, bytes).unwrap());
            check(&dense, None, &x, &float);
        }
    }
}

/// Every f16 and bf16, in every lane.
#[test]
fn halves_become_floats() {
    for float in [Float::F16, Float::Bf16] {
        for lane in 0..16 {
            let mut halves = vec![[0u8; 2]; 16 << 16];
            for (half, row) in (0..=u16::MAX).zip(halves.chunks_exact_mut(16)) {
                row[lane] = half.to_le_bytes();
            }
            let bytes = halves.as_flattened();
            let dense = Matrix::Dense(Dense::new(1 << 16, 16, float, bytes).unwrap());
            check(&dense, None, &[1.0; 16], &(float, lane));
        }
    }
}

#[test]
fn quantized_activations() {
    let mut rng = Rng::new(8);
    let specials = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-45,
        -0.0,
    ];
    for round in 0..200 {
        let cols = 32 * (1 + round % 20);
        let mut x = rng.floats(cols * (1 + round % 3));
        match round % 4 {
            // Whole and half numbers, where a scale of 1 makes ties.
            1 => {
                x.fill_with(|| (rng.float() * 254.0).round() / 2.0);
                x[0] = 127.0;
            }
            2 => {
                let at = rng.below(x.len());
                x[at] = specials[round / 4 % specials.len()];
            }
            3 => x.fill(specials[round / 4 % specials.len()]),
            _ => {}
        }
        for quantization in [quantization(0, cols), quantization(1, cols), quantization(2, cols)] {
            let expected = Int8::of(Backend::scalar(), quantization, &x, cols);
            for backend in backends() {
                let found = Int8::of(backend, quantization, &x, cols);
                let context = || format!("{}, {quantization:?}, round {round}", backend.name());
                assert_eq!(expected.codes, found.codes, "{}", context());
                assert_eq!(expected.running_sums, found.running_sums, "{}", context());
                assert_same(&expected.scales, &found.scales, context);
                assert_same(&expected.sums, &found.sums, context);
            }
        }
    }
}

/// A position's result does not depend on the positions that it is computed with.
#[test]
fn one_position_equals_many() {
    let mut rng = Rng::new(9);
    let (rows, cols, positions) = (50, 1120, 11);
    let x = rng.floats(positions * cols);
    for spec in specs(rows, cols) {
        let weights = Weights::new(&mut rng, spec, rows, cols);
        for backend in backends() {
            for quantization in [Some(Quantization::Group), None] {
                let all = product(backend, &Serial, &weights.matrix(), quantization, &x);
                for (x, expected) in x.chunks_exact(cols).zip(all.chunks_exact(rows)) {
                    let found = product(backend, &Serial, &weights.matrix(), quantization, x);
                    assert_same(expected, &found, || {
                        format!("{}, {spec:?}, {quantization:?}", backend.name())
                    });
                }
            }
        }
    }
}

struct Threads(usize);

// SAFETY: every task belongs to one thread, by its remainder.
unsafe impl Parallel for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..self.0 {
                scope.spawn(move || (thread..tasks).step_by(self.0).for_each(|task| job(task, thread)));
            }
        });
    }
}

#[test]
fn threads_do_not_change_results() {
    let mut rng = Rng::new(10);
    let (rows, cols, positions) = (1000, 256, 5);
    let spec = Spec {
        codes: Codes::Codebook4(tables::Q4_1),
        scales: ScaleGroup::Columns(32),
        minima: true,
        f32_scales: false,
    };
    let weights = Weights::new(&mut rng, spec, rows, cols);
    let floats = rng.floats(rows * cols);
    let bytes: Vec<u8> = floats.iter().flat_map(|w| w.to_le_bytes()).collect();
    let dense = Matrix::Dense(Dense::new(rows, cols, Float::F32, &bytes).unwrap());
    let x = rng.floats(positions * cols);
    for backend in backends() {
        for x in [&x[..], &x[..cols]] {
            for (weight, quantization) in [
                (weights.matrix(), Some(Quantization::Group)),
                (weights.matrix(), None),
                (dense, None),
            ] {
                let expected = product(backend, &Serial, &weight, quantization, x);
                for threads in [2, 3, 7] {
                    let found = product(backend, &Threads(threads), &weight, quantization, x);
                    assert_same(&expected, &found, || format!("{}, {threads} threads", backend.name()));
                }
            }
        }
    }
}

#[test]
fn products_share_one_call() {
    use halfpi_kernels::ops::{Activations, Product, matmul};
    let mut rng = Rng::new(11);
    let (cols, positions) = (512, 3);
    let x = rng.floats(positions * cols);
    let all: Vec<_> = [300, 17, 64, 129]
        .map(|rows| Weights::new(&mut rng, specs(rows, cols)[rows % 7], rows, cols))
        .into();
    for backend in backends() {
        let mut outs: Vec<_> = all
            .iter()
            .map(|w| vec![f32::NAN; positions * w.matrix().rows()])
            .collect();
        let matrices: Vec<_> = all.iter().map(Weights::matrix).collect();
        let mut products: Vec<_> = matrices
            .iter()
            .zip(&mut outs)
            .map(|(weight, out)| Product { weight, out })
            .collect();
        let activations = Activations { floats: &x, int8: None };
        matmul(backend, &Threads(2), &activations, &mut products).unwrap();
        for (weight, out) in matrices.iter().zip(&outs) {
            let expected = product(backend, &Serial, weight, None, &x);
            assert_same(&expected, out, || format!("{}, {} rows", backend.name(), weight.rows()));
        }
    }
}
