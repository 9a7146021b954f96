//! Small packed tensors of every kind, which the fuzzer starts from: `tests/corpus/packed`.
//!
//! `HALFPI_BLESS=1 cargo test -p halfpi-tests --test packed_corpus` writes them anew.

use std::path::PathBuf;

use halfpi_kernels::format::{Codes, FormatError, Layout, ScaleGroup, tables};

/// Where they are committed.
pub fn corpus_directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "corpus", "packed"].iter().collect()
}

/// Names of files, and what is in them: a header, and some bytes that the fuzzer repeats to fill the tensor.
///
/// # Errors
/// If a layout of the list is not possible any more.
pub fn seeds() -> Result<Vec<(&'static str, Vec<u8>)>, FormatError> {
    let wide = std::array::from_fn(|i| i as i8 * 4);
    let columns = ScaleGroup::Columns;
    let row = ScaleGroup::Row;
    [
        ("int8", Codes::Int8, columns(32), false, false),
        ("int8_minima", Codes::Int8, row, true, false),
        ("int6", Codes::Int6, columns(64), false, false),
        ("codebook5", Codes::Codebook5(wide), columns(32), false, false),
        ("codebook4", Codes::Codebook4(tables::PHI), columns(32), false, false),
        (
            "codebook4_minima",
            Codes::Codebook4(tables::Q4_1),
            columns(64),
            true,
            true,
        ),
        ("codebook2", Codes::Codebook2(tables::TERNARY), row, false, true),
        (
            "codebook2_odd",
            Codes::Codebook2(tables::ODD2),
            columns(64),
            true,
            false,
        ),
        ("trits", Codes::Trits, row, false, false),
        ("phase_pair_1", Codes::PhasePair { stages: 1 }, row, false, false),
        ("phase_pair_2", Codes::PhasePair { stages: 2 }, columns(64), false, true),
        (
            "phase_axis",
            Codes::PhaseAxis { magnitudes: true },
            columns(32),
            false,
            false,
        ),
        ("phase_unit", Codes::PhaseAxis { magnitudes: false }, row, false, false),
        ("phase_complex", Codes::PhaseComplex, row, false, true),
    ]
    .into_iter()
    .map(|(name, codes, group, minima, f32_scales)| {
        let layout = Layout::new(22, 64, codes, group, minima)?;
        let layout = if f32_scales { layout.with_f32_scales() } else { layout };
        Ok((name, [&layout.header()[..], &[0x1c, 0x2d, 0x3e]].concat()))
    })
    .collect()
}
