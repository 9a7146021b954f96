//! What quantizers lose, and that they say so truly.

use halfpi::gguf::{Gguf, ModelFile};
use halfpi::pack::{Distortion, Format, PackError, pack_matrix};
use halfpi_kernels::format::{Codes, Layout, Matrix, Packed, ScaleGroup, tables};

/// Uniform numbers from 0 to 1 (the minimal standard generator of Park and Miller).
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed % 2_147_483_647 + 1;
    move || {
        state = state * 48271 % 2_147_483_647;
        state as f64 / 2_147_483_647.0
    }
}

fn gaussian(count: usize, seed: u64) -> Vec<f32> {
    let mut next = uniform(seed);
    let mut box_muller = || (-2.0 * next().ln()).sqrt() * (std::f64::consts::TAU * next()).cos();
    (0..count).map(|_| (0.05 * box_muller()) as f32).collect()
}

/// What the bytes of a packed tensor give back.
fn unpack(bytes: &[u8]) -> Vec<f32> {
    let packed = Packed::from_file_bytes(bytes).unwrap();
    let mut weights = vec![0.0; packed.rows() * packed.cols()];
    for (row, out) in weights.chunks_exact_mut(packed.cols()).enumerate() {
        Matrix::Packed(packed).dequantize_row(row, out).unwrap();
    }
    weights
}

fn distortion(weights: &[f32], stored: &[f32]) -> Distortion {
    let square = |v: f64| v * v;
    Distortion {
        signal: weights.iter().map(|&w| square(w.into())).sum(),
        error: weights
            .iter()
            .zip(stored)
            .map(|(&w, &s)| square(f64::from(w) - f64::from(s)))
            .sum(),
    }
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// The formats whose codes fit any real matrix.
fn coded() -> impl Iterator<Item = Format> {
    Format::all().filter(|&format| format.codes().is_some() && format != Format::PhaseComplex)
}

const GROUPS: [ScaleGroup; 4] = [
    ScaleGroup::Columns(32),
    ScaleGroup::Columns(64),
    ScaleGroup::Columns(128),
    ScaleGroup::Row,
];

#[test]
fn the_file_gives_back_what_the_report_says() {
    // 37 rows: the last tile is part empty.
    let (rows, cols) = (37, 256);
    let weights = gaussian(rows * cols, 3);
    for format in coded() {
        for group in GROUPS {
            let (bytes, reported) = pack_matrix(&weights, (rows, cols), format, group, 2).unwrap();
            let found = distortion(&weights, &unpack(&bytes));
            assert!(
                close(found.signal, reported.signal) && close(found.error, reported.error),
                "{format} {group:?}"
            );
            let layout = Layout::from_header(&bytes).unwrap();
            assert_eq!(
                layout.scale_groups(),
                match group {
                    _ if format == Format::TernaryDense => 1,
                    ScaleGroup::Row => 1,
                    ScaleGroup::Columns(columns) => cols / columns,
                }
            );
        }
    }
}

#[test]
fn gaussian_weights_lose_as_much_as_theory_says() {
    let (rows, cols) = (512, 512);
    let weights = gaussian(rows * cols, 1);
    // 8 bits: the step is the mean largest of 32 (2.1 standard deviations) or 512 (3.1) over 127, and its noise a
    // twelfth of its square. The ladders: 17.2 and 20.1 dB at their best scale, and more the smaller the groups.
    for (format, group, low, high) in [
        (Format::Q8, ScaleGroup::Columns(32), 44.5, 46.5),
        (Format::Q8, ScaleGroup::Row, 42.0, 44.0),
        (Format::Phi4, ScaleGroup::Columns(32), 18.0, 19.5),
        (Format::Phi4, ScaleGroup::Row, 17.0, 17.8),
        (Format::Phi4Additive, ScaleGroup::Columns(32), 21.5, 23.0),
        (Format::Phi4Additive, ScaleGroup::Columns(128), 20.3, 22.0),
        (Format::Phi4Additive, ScaleGroup::Row, 19.9, 20.5),
    ] {
        let (_, lost) = pack_matrix(&weights, (rows, cols), format, group, 2).unwrap();
        let sqnr = lost.sqnr_db().unwrap();
        println!("{format} {group:?}: {sqnr:.2} dB");
        assert!((low..high).contains(&sqnr), "{format} {group:?}: {sqnr:.2} dB");
        assert!(close(lost.nmse(), 10f64.powf(-sqnr / 10.0)));
    }
}

/// The error that the best of 4000 scales leaves.
fn brute_force(weights: &[f32], table: &[i8; 16]) -> f64 {
    let largest = weights.iter().fold(0f32, |m, w| m.max(w.abs()));
    let error = |scale: f32| -> f64 {
        let nearest = |w: f32| {
            table
                .iter()
                .map(|&v| (w - scale * f32::from(v)).abs())
                .fold(f32::INFINITY, f32::min)
        };
        weights.iter().map(|&w| f64::from(nearest(w)).powi(2)).sum()
    };
    (-4000..=4000)
        .map(|i| error(1.5 * largest / 90.0 * i as f32 / 4000.0))
        .fold(f64::INFINITY, f64::min)
}

#[test]
fn the_scale_search_is_as_good_as_trying_every_scale() {
    for (format, table) in [
        (Format::Phi4, tables::PHI),
        (Format::Phi4Additive, tables::PHI_ADDITIVE),
    ] {
        let (mut found, mut best) = (0.0, 0.0);
        for seed in 0..60 {
            // Every third group has a weight far from the others.
            let mut weights = gaussian(32, seed);
            if seed % 3 == 0 {
                weights[7] *= 6.0;
            }
            let (_, lost) = pack_matrix(&weights, (1, 32), format, ScaleGroup::Columns(32), 1).unwrap();
            found += lost.error;
            best += brute_force(&weights, &table);
        }
        println!("{format}: {:.4} of the least error", found / best);
        assert!(found <= 1.02 * best, "{format}: {found} and {best}");
    }
}

/// The best scale of a row with one weight of 20 or 100 standard deviations is far below that weight.
#[test]
fn the_scale_search_copes_with_long_tails() {
    for outlier in [1.0, 5.0] {
        let mut weights = gaussian(1024, 9);
        weights[500] = outlier;
        let (_, lost) = pack_matrix(&weights, (1, 1024), Format::Phi4Additive, ScaleGroup::Row, 1).unwrap();
        let best = brute_force(&weights, &tables::PHI_ADDITIVE);
        assert!(lost.error <= 1.02 * best, "{outlier}: {} and {best}", lost.error);
    }
}

#[test]
fn threads_change_nothing() {
    let weights = gaussian(100 * 64, 4);
    for format in coded() {
        let pack = |threads| pack_matrix(&weights, (100, 64), format, ScaleGroup::Columns(32), threads).unwrap();
        for threads in [0, 2, 3, 64] {
            assert_eq!(pack(1), pack(threads), "{format}, {threads} threads");
        }
    }
}

#[test]
fn q8_keeps_its_own_values_and_ladders_theirs() {
    let scale = 0.0625;
    for (format, values) in [
        (Format::Q8, (-127..=127).map(|v| v as i8).collect::<Vec<_>>()),
        (Format::Phi4, tables::PHI.to_vec()),
        (Format::Phi4Additive, tables::PHI_ADDITIVE.to_vec()),
    ] {
        let cols = values.len().next_multiple_of(32);
        let weights: Vec<f32> = (0..cols).map(|i| scale * f32::from(values[i % values.len()])).collect();
        let (bytes, lost) = pack_matrix(&weights, (1, cols), format, ScaleGroup::Row, 1).unwrap();
        assert_eq!(unpack(&bytes), weights, "{format}");
        assert_eq!(lost.sqnr_db(), None);
    }
}

#[test]
fn weights_of_any_size_are_packed() {
    for format in coded() {
        for size in [0.0, 1e-30, 1e-6, 1.0, 1e4] {
            let weights: Vec<f32> = gaussian(64, 5).iter().map(|w| w * size).collect();
            let (bytes, lost) = pack_matrix(&weights, (2, 32), format, ScaleGroup::Columns(32), 1).unwrap();
            let stored = unpack(&bytes);
            assert!(stored.iter().all(|w| w.is_finite()), "{format} {size}");
            // Below f16's range weights become 0; nothing ever becomes larger than it was by much.
            assert!(lost.nmse() <= 1.0, "{format} {size}: {}", lost.nmse());
            if size == 0.0 {
                assert_eq!((stored, lost.sqnr_db(), lost.nmse()), (vec![0.0; 64], None, 0.0));
            }
        }
        let huge = vec![f32::MAX; 32];
        let (bytes, _) = pack_matrix(&huge, (1, 32), format, ScaleGroup::Row, 1).unwrap();
        assert!(unpack(&bytes).iter().all(|w| w.is_finite()), "{format}");
    }
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let group = ScaleGroup::Columns(32);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut weights = gaussian(20 * 32, 6);
        weights[17 * 32 + 5] = bad;
        let refused = pack_matrix(&weights, (20, 32), Format::Phi4, group, 2);
        assert!(
            matches!(refused, Err(PackError::NotFinite { row: 17, .. })),
            "{refused:?}"
        );
    }
    let refused = |shape, format| pack_matrix(&[0.0; 64], shape, format, group, 1).unwrap_err();
    assert!(matches!(
        refused((1, 64), Format::F16),
        PackError::NoCodes { format: Format::F16 }
    ));
    assert!(matches!(refused((2, 33), Format::Q8), PackError::Format { .. }));
    assert!(matches!(refused((3, 32), Format::Q8), PackError::Format { .. }));
    assert!(matches!(refused((0, 32), Format::Q8), PackError::Format { .. }));
    assert!(matches!(
        refused((usize::MAX, 32), Format::Q8),
        PackError::Format { .. }
    ));
}

/// Needs SmolLM2-135M-Instruct.Q4_1.gguf.
#[test]
fn a_real_layer_loses_little() {
    let Some(path) = std::env::var_os("HALFPI_TEST_MODEL") else {
        println!("SKIPPED: HALFPI_TEST_MODEL does not name the model file");
        return;
    };
    let file = ModelFile::open(path).unwrap();
    let gguf: Gguf<'_> = file.gguf().unwrap();
    let tensor = gguf.tensor("blk.15.ffn_up.weight").unwrap();
    let (rows, cols) = (tensor.rows() as usize, tensor.columns() as usize);
    let blocks = halfpi_kernels::format::stock::Stock::Q4_1.matrix(rows, cols);
    let layout = blocks.layout().unwrap();
    assert_eq!(layout.codes(), Codes::Codebook4(tables::Q4_1));
    let mut bytes = vec![0; layout.bytes()];
    let (codes, rest) = bytes.split_at_mut(layout.scales_offset());
    let (scales, minima) = rest.split_at_mut(layout.scales_bytes());
    let tiles = 0..rows.div_ceil(16);
    let data = gguf.data(tensor);
    blocks.pack_tiles(data, tiles, codes, scales, minima).unwrap();
    let weights = unpack(&[&layout.header()[..], &bytes].concat());
    for (format, low) in [(Format::Q8, 44.0), (Format::Phi4, 18.5), (Format::Phi4Additive, 22.0)] {
        let (_, lost) = pack_matrix(&weights, (rows, cols), format, ScaleGroup::Columns(32), 2).unwrap();
        let sqnr = lost.sqnr_db().unwrap();
        println!("{format}: {sqnr:.2} dB");
        assert!(sqnr > low, "{format}: {sqnr:.2} dB");
    }
}
