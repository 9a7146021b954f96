//! The widest matrices there may be, with the largest codes and activations: sums must stay exact.

use crate::common::{Rng, Spec, Weights, assert_same, backends, product, specs};
use halfpi_kernels::format::{Codes, Layout, Matrix, Packed, ScaleGroup};
use halfpi_kernels::ops::Quantization;
use halfpi_kernels::{Backend, Serial};

/// Columns, and how many rows: two units of most formats.
const COLS: usize = 1 << 17;
const ROWS: usize = 32;
/// Columns after which a matrix whose weights all have the same code repeats itself.
const PERIOD: usize = 192;

/// A matrix whose weights all have this code and the scale 1, and the values of each row's first columns.
fn uniform(codes: Codes, code: u16) -> (Vec<u8>, Layout, Vec<Vec<i64>>) {
    let layout = |cols| Layout::new(ROWS, cols, codes, ScaleGroup::Row, false).unwrap();
    let write = |bytes: &mut [u8], layout: &Layout| {
        for scale in bytes[layout.scales_offset()..].chunks_exact_mut(2) {
            scale.copy_from_slice(&half::f16::ONE.to_le_bytes());
        }
    };
    let (small, wide) = (layout(PERIOD), layout(COLS));
    let mut period = vec![0; small.bytes()];
    for (row, col) in (0..ROWS).flat_map(|row| (0..PERIOD).map(move |col| (row, col))) {
        small.write_code(&mut period, row, col, code).unwrap();
    }
    write(&mut period, &small);
    // Blocks follow each other along the columns.
    let mut bytes = vec![0; wide.bytes()];
    let units = bytes[..wide.codes_bytes()].chunks_exact_mut(wide.unit_bytes());
    for (to, from) in units.zip(period.chunks_exact(small.unit_bytes())) {
        to.iter_mut()
            .zip(from.iter().cycle())
            .for_each(|(to, from)| *to = *from);
    }
    write(&mut bytes, &wide);
    let matrix = Matrix::Packed(Packed::new(small, &period).unwrap());
    let values = (0..ROWS).map(|row| {
        let mut weights = vec![0.0; PERIOD];
        matrix.dequantize_row(row, &mut weights).unwrap();
        weights.into_iter().map(|weight| weight as i64).collect()
    });
    (bytes, wide, values.collect())
}

#[test]
fn no_sum_overflows_in_the_widest_matrix() {
    let table = |i: usize| if i.is_multiple_of(2) { 127 } else { -127 };
    let all = [
        Codes::Int8,
        Codes::Int6,
        Codes::Codebook5(core::array::from_fn(table)),
        Codes::Codebook4(core::array::from_fn(table)),
        Codes::Codebook2([121, 123, 125, 127]),
        Codes::Codebook2([-127, -126, -125, -124]),
        Codes::Trits,
        Codes::PhasePair { stages: 1 },
        Codes::PhasePair { stages: 2 },
        Codes::PhaseAxis { magnitudes: true },
        Codes::PhaseAxis { magnitudes: false },
        Codes::PhaseComplex,
    ];
    // Whole numbers up to 127 are codes, with the scale 1. Sums of whole spans are multiples of a power of two that an
    // f32 holds, so the results are exact.
    let signs = [[127i64, 127], [-127, -127], [127, -127]];
    for codes in all {
        let last = codes.count() as u16 - 1;
        for code in [0, 1, last / 2, last / 2 + 1, last] {
            let (bytes, layout, values) = uniform(codes, code);
            let matrix = Matrix::Packed(Packed::new(layout, &bytes).unwrap());
            for pair in signs {
                let expected: Vec<i64> = values
                    .iter()
                    .map(|row| {
                        let half = if codes == Codes::PhaseComplex { COLS / 2 } else { COLS };
                        (0..COLS).map(|col| weight(row, col, half) * pair[col % 2]).sum()
                    })
                    .collect();
                // One position, and several at once.
                for positions in [1, 3] {
                    let x: Vec<f32> = (0..positions * COLS).map(|i| pair[i % 2] as f32).collect();
                    for backend in backends() {
                        let found = product(backend, &Serial, &matrix, Some(Quantization::Row), &x);
                        for (i, found) in found.into_iter().enumerate() {
                            let name = backend.name();
                            assert_eq!(
                                f64::from(found),
                                expected[i % ROWS] as f64,
                                "{name}, {codes:?}, code {code}, activations {pair:?}, row {i}",
                            );
                        }
                    }
                }
            }
        }
    }
}

/// A row's value at a column: it repeats, in native complex weights in each half by itself.
fn weight(row: &[i64], col: usize, half: usize) -> i64 {
    if half < COLS {
        row[col / half * (PERIOD / 2) + col % half % (PERIOD / 2)]
    } else {
        row[col % PERIOD]
    }
}

/// Random codes, where sums are anything between the extremes.
#[test]
fn the_widest_matrices_give_the_same_bits() {
    let mut rng = Rng::new(12);
    let x = rng.floats(2 * COLS);
    for spec in specs(16, COLS)
        .into_iter()
        .filter(|spec| spec.scales == ScaleGroup::Row)
    {
        let rows = if spec.codes == Codes::PhaseComplex { 2 } else { 1 };
        let weights = Weights::new(
            &mut rng,
            Spec {
                f32_scales: true,
                ..spec
            },
            rows,
            COLS,
        );
        for x in [&x[..COLS], &x] {
            let expected = product(
                Backend::scalar(),
                &Serial,
                &weights.matrix(),
                Some(Quantization::Row),
                x,
            );
            for backend in backends() {
                let found = product(backend, &Serial, &weights.matrix(), Some(Quantization::Row), x);
                assert_same(&expected, &found, || format!("{}, {spec:?}", backend.name()));
            }
        }
    }
}
