//! Takes any bytes as a packed tensor. What is accepted is read whole and multiplied, alike by every backend.
#![no_main]

use halfpi_kernels::format::{HEADER_BYTES, Layout, Matrix, Packed};
use halfpi_kernels::ops::{Activations, Int8RowsMut, Product, Quantization, matmul};
use halfpi_kernels::{Backend, Serial};
use libfuzzer_sys::fuzz_target;

/// Matrices up to this size are filled from what follows the header.
const MOST_BYTES: usize = 1 << 16;
/// One position takes another way through the kernels than several.
const POSITIONS: [usize; 2] = [1, 3];

fuzz_target!(|bytes: &[u8]| {
    let layout = match Layout::from_header(bytes) {
        Ok(layout) => layout,
        Err(error) => return assert!(!error.to_string().contains(char::is_control)),
    };
    assert_eq!(layout.header(), bytes[..HEADER_BYTES]);
    let data = &bytes[HEADER_BYTES..];
    assert_eq!(Packed::from_file_bytes(bytes).is_ok(), data.len() == layout.bytes());
    if layout.bytes() > MOST_BYTES || data.is_empty() {
        return;
    }
    // Repeated to the length that the header asks for, so that the fuzzer need not guess it.
    let data: Vec<u8> = data.iter().copied().cycle().take(layout.bytes()).collect();
    let packed = Packed::new(layout, &data).expect("it is as long as the layout says");
    codes_are_in_range(&packed);
    let matrix = Matrix::Packed(packed);
    let mut row = vec![0.0; matrix.cols()];
    for index in 0..matrix.rows() {
        matrix.dequantize_row(index, &mut row).expect("the row is there");
    }
    for positions in POSITIONS {
        products(&matrix, positions);
    }
});

fn codes_are_in_range(packed: &Packed<'_>) {
    let layout = packed.layout();
    for row in 0..packed.rows() {
        for col in 0..packed.cols() {
            let code = packed.code(row, col).expect("the weight is there");
            assert!(u32::from(code) < packed.codes().count());
            assert!(layout.scale_position(row, col) + layout.scale_bytes() <= layout.scales_bytes());
        }
    }
    assert!(packed.code(packed.rows(), 0).is_err() && packed.code(0, packed.cols()).is_err());
}

/// Every backend gives the scalar one's bits.
fn products(matrix: &Matrix<'_>, positions: usize) {
    let cols = matrix.cols();
    let x: Vec<f32> = (0..positions * cols)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 8.0)
        .collect();
    let halves = cols.is_multiple_of(64).then_some(Quantization::Halves);
    for quantization in [Some(Quantization::Group), Some(Quantization::Row), halves, None] {
        let expected = product(Backend::scalar(), matrix, quantization, &x);
        for backend in Backend::available() {
            let found = product(backend, matrix, quantization, &x);
            for (row, (a, b)) in expected.iter().zip(&found).enumerate() {
                // Scales may be infinite or not a number, and there is more than one NaN.
                let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                assert!(same, "{}, {quantization:?}, row {row}: {b} is not {a}", backend.name());
            }
        }
    }
}

fn product(backend: Backend, matrix: &Matrix<'_>, quantization: Option<Quantization>, x: &[f32]) -> Vec<f32> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let (mut codes, groups) = (vec![0; x.len()], x.len() / 32);
    let (mut scales, mut sums, mut running_sums) = (vec![0.0; groups], vec![0.0; groups], vec![0; groups]);
    let mut memory = Int8RowsMut {
        codes: &mut codes,
        scales: &mut scales,
        sums: &mut sums,
        running_sums: &mut running_sums,
    };
    let int8 = match quantization {
        Some(quantization) => Some(memory.quantize(backend, quantization, x, cols).expect("it fits")),
        None => None,
    };
    let activations = Activations { floats: x, int8 };
    let mut out = vec![0.0; x.len() / cols * rows];
    let product = Product {
        weight: matrix,
        out: &mut out,
    };
    matmul(backend, &Serial, &activations, &mut [product]).expect("the shapes fit");
    out
}
