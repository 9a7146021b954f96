//! What the tests share: random numbers, matrices, buffers, and comparison bit for bit.

use halfpi_kernels::format::{Codes, FormatError, GROUP, Layout, Matrix, Packed, ScaleGroup, tables};
use halfpi_kernels::ops::{Activations, Int8RowsMut, Product, Quantization, matmul};
use halfpi_kernels::{Backend, Parallel};

/// The backends under test.
pub fn backends() -> Vec<Backend> {
    match std::env::var("HALFPI_BACKEND") {
        Ok(name) => {
            let backend = Backend::from_name(&name);
            vec![backend.unwrap_or_else(|| panic!("HALFPI_BACKEND={name}: this machine does not run it"))]
        }
        Err(_) => Backend::available().collect(),
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers on every machine.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// In -1..1.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// In -1..1, some of them much larger: activations have outliers.
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| self.float() * if self.below(50) == 0 { 40.0 } else { 1.0 })
            .collect()
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.bits() as u8).collect()
    }

    /// An f16 of either sign and magnitude 2^-10..2^-2, now and then zero.
    pub fn scale(&mut self) -> [u8; 2] {
        let bits = match self.below(20) {
            0 => 0,
            _ => (self.bits() as u16 & 0x83ff) | (5 + self.below(8) as u16) << 10,
        };
        bits.to_le_bytes()
    }
}

/// What a packed format is, apart from its shape.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub codes: Codes,
    pub scales: ScaleGroup,
    pub minima: bool,
    pub f32_scales: bool,
}

impl Spec {
    /// The layout of a matrix of this shape, if it can have one.
    pub fn layout(&self, rows: usize, cols: usize) -> Result<Layout, FormatError> {
        let layout = Layout::new(rows, cols, self.codes, self.scales, self.minima)?;
        Ok(if self.f32_scales {
            layout.with_f32_scales()
        } else {
            layout
        })
    }
}

/// The packed formats that fit the shape: each kind of code with each kind of scale.
pub fn specs(rows: usize, cols: usize) -> Vec<Spec> {
    // The √φ ladder: 16 levels of each sign.
    let wide: [i8; 32] = core::array::from_fn(|i| {
        let level = (127.0 / 1.272_019_6f32.powi(15 - (i as i32 & 15))).round() as i8;
        if i < 16 { level } else { -level }
    });
    let codes = [
        (Codes::Int6, false),
        (Codes::Int6, true),
        (Codes::Codebook5(wide), false),
        (Codes::Codebook2(tables::TERNARY), false),
        (Codes::Codebook2(tables::ODD2), true),
        (Codes::Trits, false),
        (Codes::PhasePair { stages: 1 }, false),
        (Codes::PhasePair { stages: 2 }, false),
        (Codes::PhaseAxis { magnitudes: true }, false),
        (Codes::PhaseAxis { magnitudes: false }, false),
        (Codes::PhaseComplex, false),
        (Codes::Int8, false),
        (Codes::Int8, true),
        (Codes::Codebook4(tables::Q4_0), false),
        (Codes::Codebook4(tables::Q4_1), true),
        (Codes::Codebook4(tables::IQ4_NL), false),
        (Codes::Codebook4(tables::PHI), false),
    ];
    let groups = [32, 64, 128, 1024].map(|group| (ScaleGroup::Columns(group), group == 64));
    let scales = groups
        .into_iter()
        .chain([(ScaleGroup::Row, false), (ScaleGroup::Row, true)]);
    scales
        .flat_map(|(scales, f32_scales)| {
            codes.map(|(codes, minima)| Spec {
                codes,
                scales,
                minima,
                f32_scales,
            })
        })
        .filter(|spec| spec.layout(rows, cols).is_ok())
        .collect()
}

/// A packed matrix and its memory, which starts at an odd address: no backend may ask for more.
pub struct Weights {
    layout: Layout,
    memory: Vec<u8>,
    start: usize,
}

impl Weights {
    pub fn new(rng: &mut Rng, spec: Spec, rows: usize, cols: usize) -> Self {
        let layout = spec.layout(rows, cols).unwrap();
        let codes = rng.bytes(layout.codes_bytes());
        Weights::with_codes(rng, layout, &codes)
    }

    /// With these codes and random scales.
    pub fn with_codes(rng: &mut Rng, layout: Layout, codes: &[u8]) -> Self {
        let mut memory = vec![0; layout.bytes() + 2];
        let start = 1 - memory.as_ptr().addr() % 2;
        memory[start..start + codes.len()].copy_from_slice(codes);
        let scales = memory[start + codes.len()..start + layout.bytes()].chunks_exact_mut(layout.scale_bytes());
        for scale in scales {
            let half = rng.scale();
            if layout.has_f32_scales() {
                // With more bits than an f16 has.
                let wide = half::f16::from_le_bytes(half).to_f32() * (1.0 + rng.float() / 4.0);
                scale.copy_from_slice(&wide.to_le_bytes());
            } else {
                scale.copy_from_slice(&half);
            }
        }
        Weights { layout, memory, start }
    }

    pub fn packed(&self) -> Packed<'_> {
        Packed::new(self.layout, &self.memory[self.start..self.start + self.layout.bytes()]).unwrap()
    }

    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::Packed(self.packed())
    }
}

/// Quantized activations, as plain numbers.
#[derive(Debug)]
pub struct Int8 {
    pub codes: Vec<i8>,
    pub scales: Vec<f32>,
    pub sums: Vec<f32>,
    pub running_sums: Vec<i32>,
}

impl Int8 {
    fn new(len: usize) -> Self {
        Int8 {
            codes: vec![0; len],
            scales: vec![0.0; len / GROUP],
            sums: vec![0.0; len / GROUP],
            running_sums: vec![0; len / GROUP],
        }
    }

    fn rows(&mut self) -> Int8RowsMut<'_> {
        Int8RowsMut {
            codes: &mut self.codes,
            scales: &mut self.scales,
            sums: &mut self.sums,
            running_sums: &mut self.running_sums,
        }
    }

    pub fn of(backend: Backend, quantization: Quantization, x: &[f32], cols: usize) -> Self {
        let mut int8 = Int8::new(x.len());
        int8.rows().quantize(backend, quantization, x, cols).unwrap();
        int8
    }
}

/// `W x`, through the int8 activations of `quantization` if one is given.
pub fn product(
    backend: Backend,
    parallel: &dyn Parallel,
    weight: &Matrix<'_>,
    quantization: Option<Quantization>,
    floats: &[f32],
) -> Vec<f32> {
    // NaN where nothing is written.
    let mut out = vec![f32::NAN; floats.len() / weight.cols() * weight.rows()];
    let mut int8 = Int8::new(floats.len());
    // As weights, activations start at an odd address.
    let mut codes = vec![0; floats.len() + 1];
    let start = 1 - codes.as_ptr().addr() % 2;
    let mut rows = Int8RowsMut {
        codes: &mut codes[start..],
        ..int8.rows()
    };
    let int8 = quantization.map(|q| rows.quantize(backend, q, floats, weight.cols()).unwrap());
    let x = Activations { floats, int8 };
    let out_product = Product { weight, out: &mut out };
    matmul(backend, parallel, &x, &mut [out_product]).unwrap();
    out
}

/// Fails unless both are the same bits; a NaN equals any other, since which one arises is the processor's choice.
#[track_caller]
pub fn assert_same(expected: &[f32], found: &[f32], context: impl FnOnce() -> String) {
    assert_eq!(expected.len(), found.len());
    let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
    if let Some(i) = expected.iter().zip(found).position(differs) {
        let (a, b) = (expected[i], found[i]);
        let bits = (a.to_bits(), b.to_bits());
        panic!(
            "{}: [{i}] should be {a:e}, is {b:e} ({:08x}, {:08x})",
            context(),
            bits.0,
            bits.1
        );
    }
}

/// Fails where the two are further apart than `tolerance(i)`, or the tolerance is NaN.
#[track_caller]
pub fn assert_close(
    expected: &[f64],
    found: &[f32],
    tolerance: impl Fn(usize) -> f64,
    context: impl FnOnce() -> String,
) {
    assert_eq!(expected.len(), found.len());
    let near = |i: usize| (expected[i] - f64::from(found[i])).abs() <= tolerance(i);
    if let Some(i) = (0..found.len()).find(|&i| !near(i)) {
        let (a, b, most) = (expected[i], found[i], tolerance(i));
        panic!("{}: [{i}] should be {a:e} within {most:e}, is {b:e}", context());
    }
}
