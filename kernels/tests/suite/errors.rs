//! Buffers that do not fit together get an error that says which and how.

use halfpi_kernels::format::{Dense, Float, Matrix};
use halfpi_kernels::ops::{
    Activations, Attention, Int8RowsMut, KvElement, KvLayer, KvLayout, OpError, Product, Quantization, Rope, RopePairs,
    add, attention, matmul, relu2_glu, rms_norm, rope, rope_angles, scores_len, swiglu,
};
use halfpi_kernels::{Backend, Serial};

#[track_caller]
fn assert_refused<T>(result: Result<T, OpError>, what: &str) {
    let error = result.err().expect("refused");
    assert!(error.what.contains(what), "{error}");
}

#[test]
fn elementwise() {
    let scalar = Backend::scalar();
    let mut out = [0.0; 6];
    assert_refused(add(scalar, &mut [0.0; 3], &[0.0; 4]), "add: y");
    assert_refused(swiglu(scalar, &mut [0.0; 3], &[0.0; 2]), "swiglu: up");
    assert_refused(relu2_glu(scalar, &mut [0.0; 3], &[]), "relu2_glu: up");
    assert_refused(
        rms_norm(scalar, &[0.0; 6], &[0.0; 3], 0.0, &mut out[..5]),
        "rms_norm: out",
    );
    assert_refused(rms_norm(scalar, &[0.0; 6], &[0.0; 4], 0.0, &mut out), "rms_norm: x");
    assert_refused(rms_norm(scalar, &[0.0; 6], &[], 0.0, &mut out), "rms_norm: x");
    let error = add(scalar, &mut [0.0; 3], &[0.0; 4]).unwrap_err();
    assert_eq!(error.to_string(), "add: y needs 3 elements, has 4");
}

#[test]
fn quantize() {
    let quantize = |x: usize, cols: usize, lens: [usize; 4]| {
        let (mut codes, mut scales) = (vec![0; lens[0]], vec![0.0; lens[1]]);
        let (mut sums, mut running_sums) = (vec![0.0; lens[2]], vec![0; lens[3]]);
        let mut rows = Int8RowsMut {
            codes: &mut codes,
            scales: &mut scales,
            sums: &mut sums,
            running_sums: &mut running_sums,
        };
        let x = vec![0.0; x];
        rows.quantize(Backend::scalar(), Quantization::Group, &x, cols)
            .map(|rows| rows.positions())
    };
    assert_eq!(quantize(128, 64, [128, 4, 4, 4]), Ok(2));
    assert_eq!(quantize(0, 64, [0; 4]), Ok(0));
    assert_refused(quantize(128, 0, [128, 4, 4, 4]), "cols");
    assert_refused(quantize(128, 33, [128, 4, 4, 4]), "cols");
    assert_refused(quantize(128, usize::MAX, [128, 4, 4, 4]), "cols");
    assert_refused(quantize(96, 64, [128, 4, 4, 4]), "x");
    assert_refused(quantize(128, 64, [127, 4, 4, 4]), "codes");
    assert_refused(quantize(128, 64, [128, 3, 4, 4]), "scales");
    assert_refused(quantize(128, 64, [128, 4, 3, 4]), "sums");
    assert_refused(quantize(128, 64, [128, 4, 4, 3]), "running sums");
}

#[test]
fn products() {
    let bytes = [0; 4 * 5 * 64];
    let weight = Matrix::Dense(Dense::new(5, 64, Float::F32, &bytes).unwrap());
    let run = |x: usize, out: usize, int8: Option<(usize, usize)>| {
        let (floats, mut out) = (vec![0.0; x], vec![0.0; out]);
        let (mut codes, mut scales, mut sums, mut running_sums) = ([0; 256], [0.0; 8], [0.0; 8], [0; 8]);
        let mut rows = Int8RowsMut {
            codes: &mut codes,
            scales: &mut scales,
            sums: &mut sums,
            running_sums: &mut running_sums,
        };
        let int8 = int8.map(|(x, cols)| {
            rows.quantize(Backend::scalar(), Quantization::Group, &vec![0.0; x], cols)
                .unwrap()
        });
        let x = Activations { floats: &floats, int8 };
        let product = Product {
            weight: &weight,
            out: &mut out,
        };
        matmul(Backend::scalar(), &Serial, &x, &mut [product])
    };
    assert_eq!(run(128, 10, None), Ok(()));
    assert_eq!(run(0, 0, None), Ok(()));
    assert_eq!(run(128, 10, Some((128, 64))), Ok(()));
    assert_refused(run(100, 10, None), "matmul: x");
    assert_refused(run(128, 11, None), "matmul: out");
    assert_refused(run(128, 10, Some((128, 128))), "int8 columns");
    assert_refused(run(128, 10, Some((64, 64))), "int8 positions");

    let mut outs = [[0.0; 5]; 5];
    let mut five: Vec<_> = outs.iter_mut().map(|out| Product { weight: &weight, out }).collect();
    let x = Activations {
        floats: &[0.0; 64],
        int8: None,
    };
    assert_refused(matmul(Backend::scalar(), &Serial, &x, &mut five), "products");
    assert_eq!(matmul(Backend::scalar(), &Serial, &x, &mut []), Ok(()));
}

#[test]
fn rotary_embedding() {
    let setup = |dims, freq_factors| Rope {
        pairs: RopePairs::Halves,
        freq_base: 1e4,
        scale: 1.0,
        dims,
        freq_factors,
    };
    let mut angles = [[1.0, 0.0]; 8];
    assert_refused(rope_angles(&setup(0, &[]), 0, &mut angles), "out");
    assert_refused(rope_angles(&setup(6, &[]), 0, &mut angles), "out");
    assert_refused(rope_angles(&setup(8, &[1.0; 3]), 0, &mut angles), "freq_factors");
    assert_eq!(rope_angles(&setup(8, &[1.0; 4]), usize::MAX, &mut angles), Ok(()));

    let mut x = [0.0; 32];
    let mut run = |positions, head_dim, angles: usize, len: usize| {
        rope(
            RopePairs::Halves,
            &vec![[1.0, 0.0]; angles],
            positions,
            head_dim,
            &mut x[..len],
        )
    };
    assert_eq!(run(2, 8, 8, 32), Ok(()));
    assert_refused(run(0, 8, 8, 32), "x");
    assert_refused(run(2, 0, 8, 32), "x");
    assert_refused(run(2, 8, 8, 31), "x");
    assert_refused(run(2, usize::MAX, 8, 32), "x");
    assert_refused(run(2, 8, 8, 0), "x");
    assert_refused(run(2, 8, 0, 32), "angles");
    assert_refused(run(2, 8, 7, 32), "angles");
    assert_refused(run(2, 8, 10, 32), "angles");
}

#[test]
fn cache() {
    for head_dim in [0, 8, 40, 528, usize::MAX] {
        assert_refused(KvLayout::new(1, head_dim, 1, KvElement::F16), "head_dim");
    }
    for (heads, positions) in [
        (0, 1),
        (1, 0),
        (usize::MAX, 1),
        (1, usize::MAX),
        (1 << 20, usize::MAX >> 24),
    ] {
        assert_refused(KvLayout::new(heads, 16, positions, KvElement::Int8), "positions");
    }
    let layout = KvLayout::new(2, 16, 20, KvElement::Int8).unwrap();
    assert_eq!(layout.positions(), 32);
    assert_eq!(layout.bytes(), 2 * 2 * 32 * (16 + 4));
    let mut data = vec![0; layout.bytes()];
    assert_refused(KvLayer::new(layout, &mut data[1..]), "data");
    let mut cache = KvLayer::new(layout, &mut data).unwrap();
    let mut store = |first, k: usize, v: usize| cache.store(Backend::scalar(), first, &vec![0.0; k], &vec![0.0; v]);
    assert_eq!(store(30, 64, 64), Ok(()));
    assert_eq!(store(32, 0, 0), Ok(()));
    assert_refused(store(31, 64, 64), "positions");
    assert_refused(store(usize::MAX, 64, 64), "positions");
    assert_refused(store(0, 64, 32), "v");
    assert_refused(store(0, 33, 33), "k");
}

#[test]
fn attend() {
    let layout = KvLayout::new(2, 16, 16, KvElement::F16).unwrap();
    let mut data = vec![0; layout.bytes()];
    let mut cache = KvLayer::new(layout, &mut data).unwrap();
    let needed = scores_len(&layout, 1);
    let mut run = |heads, first, q: usize, scores: usize, out: usize| {
        let call = Attention {
            heads,
            first,
            scale: 1.0,
            q: &vec![0.0; q],
            scores: &mut vec![0.0; scores],
            out: &mut vec![0.0; out],
        };
        attention(Backend::scalar(), &Serial, &mut cache, call)
    };
    assert_eq!(run(4, 14, 128, needed, 128), Ok(()));
    assert_eq!(run(4, 16, 0, needed, 0), Ok(()));
    assert_refused(run(0, 0, 128, needed, 128), "heads");
    assert_refused(run(3, 0, 96, needed, 96), "heads");
    // So many heads that their channels cannot be counted.
    assert_refused(run(usize::MAX - 1, 0, 128, needed, 128), "q");
    assert_refused(run(1 << (usize::BITS - 4), 0, 128, needed, 128), "q");
    assert_refused(run(4, 14, 127, needed, 127), "q");
    assert_refused(run(4, 14, 128, needed, 127), "out");
    assert_refused(run(4, 14, 128, needed - 1, 128), "scores");
    assert_refused(run(4, 15, 128, needed, 128), "positions");
    assert_refused(run(4, usize::MAX, 128, needed, 128), "positions");
}
