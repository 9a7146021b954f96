//! The cache and attention over it: every backend gives the scalar one's bits.

use crate::common::{Rng, assert_same, backends};
use halfpi_kernels::ops::{Attention, KvElement, KvLayer, KvLayout, attention, scores_len};
use halfpi_kernels::{Backend, Serial};

pub const ELEMENTS: [KvElement; 2] = [KvElement::F16, KvElement::Int8];

/// Query, key and value of some positions, and the shape of a model's attention.
pub struct Case {
    pub layout: KvLayout,
    pub kv_heads: usize,
    pub heads: usize,
    pub head_dim: usize,
    pub positions: usize,
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

impl Case {
    pub fn new(
        rng: &mut Rng,
        (kv_heads, group): (usize, usize),
        head_dim: usize,
        positions: usize,
        element: KvElement,
    ) -> Self {
        let heads = kv_heads * group;
        Case {
            layout: KvLayout::new(kv_heads, head_dim, positions, element).unwrap(),
            kv_heads,
            heads,
            head_dim,
            positions,
            q: rng.floats(positions * heads * head_dim),
            k: rng.floats(positions * kv_heads * head_dim),
            v: rng.floats(positions * kv_heads * head_dim),
        }
    }

    /// The model's way: positions in chunks, each stored, then attended to. Returns the results and the cache, whose
    /// memory holds NaN at first.
    pub fn run(&self, backend: Backend, chunks: &[usize]) -> (Vec<f32>, Vec<u8>) {
        let mut data = vec![0xff; self.layout.bytes()];
        let mut cache = KvLayer::new(self.layout, &mut data).unwrap();
        let mut out = vec![f32::NAN; self.q.len()];
        let mut scores = vec![f32::NAN; scores_len(&self.layout, 1)];
        let (q_row, kv_row) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let mut first = 0;
        for chunk in chunks {
            let (q, kv) = (
                first * q_row..(first + chunk) * q_row,
                first * kv_row..(first + chunk) * kv_row,
            );
            cache.store(backend, first, &self.k[kv.clone()], &self.v[kv]).unwrap();
            let call = Attention {
                heads: self.heads,
                first,
                scale: 1.0 / (self.head_dim as f32).sqrt(),
                q: &self.q[q.clone()],
                scores: &mut scores,
                out: &mut out[q],
            };
            attention(backend, &Serial, &mut cache, call).unwrap();
            first += chunk;
        }
        assert_eq!(first, self.positions, "the test's chunks are all positions");
        (out, data)
    }

    fn check(&self, chunks: &[usize], what: &str) {
        let (expected, expected_data) = self.run(Backend::scalar(), chunks);
        for backend in backends() {
            let (found, data) = self.run(backend, chunks);
            let context = || {
                let shape = (self.kv_heads, self.heads, self.head_dim);
                format!(
                    "{}, {what}, {shape:?}, chunks {chunks:?}, {:?}",
                    backend.name(),
                    self.layout
                )
            };
            assert!(expected_data == data, "{}: the caches differ", context());
            assert_same(&expected, &found, context);
        }
    }
}

#[test]
fn heads_groups_and_tile_borders() {
    let mut rng = Rng::new(30);
    let chunkings: [&[usize]; 8] = [
        &[1],
        &[15, 1, 1],
        &[16, 1],
        &[3, 14, 2],
        &[17],
        &[31, 2],
        &[5, 5, 5, 5, 5],
        &[48],
    ];
    for (i, head_dim) in (16..=128).step_by(16).cycle().take(56).enumerate() {
        let chunks = chunkings[(i + i / 8) % 8];
        let element = ELEMENTS[i / 8 % 2];
        let case = Case::new(&mut rng, (1 + i % 3, 1 + i % 7), head_dim, chunks.iter().sum(), element);
        case.check(chunks, "random");
    }
}

#[test]
fn the_widest_head() {
    let mut rng = Rng::new(31);
    for element in ELEMENTS {
        Case::new(&mut rng, (1, 2), 512, 18, element).check(&[17, 1], "wide");
    }
}

#[test]
fn numbers_that_half_precision_cannot_hold() {
    let mut rng = Rng::new(32);
    for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e6, 1e-30] {
        for element in ELEMENTS {
            let mut case = Case::new(&mut rng, (2, 3), 32, 20, element);
            case.k[32 * 7 + 3] = special;
            case.v[32 * 9 + 5] = special;
            case.q[32 * 90 + 6] = special;
            case.check(&[18, 2], &format!("with {special}"));
        }
    }
}

/// A position's result does not depend on the positions that it is computed with.
#[test]
fn chunks_do_not_change_results() {
    let mut rng = Rng::new(33);
    for element in ELEMENTS {
        for group in 1..=7 {
            let case = Case::new(&mut rng, (2, group), 48, 37, element);
            for backend in backends() {
                let (expected, _) = case.run(backend, &[1; 37]);
                for chunks in [&[37][..], &[2, 3, 16, 15, 1]] {
                    let (found, _) = case.run(backend, chunks);
                    let context = || format!("{}, {element:?}, groups of {group}, {chunks:?}", backend.name());
                    assert_same(&expected, &found, context);
                }
            }
        }
    }
}

/// Every f16, its neighbours in f32, the ties between it and the next, and their neighbours.
#[test]
fn floats_become_halves() {
    let mut floats = Vec::with_capacity(6 << 16);
    for half in 0..=u16::MAX {
        let exact = half::f16::from_bits(half).to_f32();
        let tie = (f64::from(exact) + f64::from(half::f16::from_bits(half.wrapping_add(1)).to_f32())) / 2.0;
        for float in [exact, tie as f32] {
            floats.extend([-1, 0, 1].map(|step| f32::from_bits(float.to_bits().wrapping_add_signed(step))));
        }
    }
    let (head_dim, positions) = (512, floats.len() / 512);
    let layout = KvLayout::new(1, head_dim, positions, KvElement::F16).unwrap();
    let store = |backend: Backend| {
        let mut data = vec![0; layout.bytes()];
        let mut cache = KvLayer::new(layout, &mut data).unwrap();
        cache.store(backend, 0, &floats, &floats).unwrap();
        data
    };
    let expected = store(Backend::scalar());
    for backend in backends() {
        assert!(store(backend) == expected, "{}", backend.name());
    }
}
