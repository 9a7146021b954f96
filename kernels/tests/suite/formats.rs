//! Packed formats: llama.cpp's blocks against their definitions, the header, and what is refused.

use crate::common::Rng;
use crate::oracle::half_value;
use halfpi_kernels::format::stock::{Blocks, I2sOrder, Stock};
use halfpi_kernels::format::{
    Codes, Dense, Float, FormatError, HEADER_BYTES, Layout, Matrix, Packed, ScaleGroup, TILE_ROWS, tables,
};

const STOCK: [Stock; 8] = [
    Stock::Q8_0,
    Stock::Q4_0,
    Stock::Q4_1,
    Stock::Iq4Nl,
    Stock::Tq1_0,
    Stock::Tq2_0,
    Stock::I2S(I2sOrder::X86),
    Stock::I2S(I2sOrder::Arm),
];

/// Random blocks with small scales, as a file holds them.
fn blocks(rng: &mut Rng, matrix: &Blocks) -> Vec<u8> {
    let mut blocks = rng.bytes(matrix.bytes());
    let scale_at = match matrix.stock {
        Stock::Q8_0 | Stock::Q4_0 | Stock::Q4_1 | Stock::Iq4Nl => 0,
        Stock::Tq1_0 => 52,
        Stock::Tq2_0 => 64,
        Stock::I2S(_) => {
            let at = blocks.len() - 32;
            blocks[at..at + 4].copy_from_slice(&rng.float().to_le_bytes());
            return blocks;
        }
    };
    for block in blocks.chunks_exact_mut(matrix.stock.block_bytes()) {
        block[scale_at..scale_at + 2].copy_from_slice(&rng.scale());
        if matrix.stock == Stock::Q4_1 {
            block[2..4].copy_from_slice(&rng.scale());
        }
    }
    blocks
}

/// ggml's `dequantize_row_*` (ggml-quants.c) and what bitnet.cpp's `quantize_i2_s` (ggml-bitnet-mad.cpp) undoes, for one
/// block and one column.
fn dequantize(stock: Stock, block: &[u8], trailer: &[u8], i: usize) -> f64 {
    const KVALUES_IQ4NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
    let half_at = |at: usize| half_value(u16::from_le_bytes([block[at], block[at + 1]]));
    let nibble = |codes: &[u8]| if i < 16 { codes[i] & 0xf } else { codes[i - 16] >> 4 };
    let crumbs = |group: usize| {
        let scale = f32::from_le_bytes(trailer[..4].try_into().unwrap());
        let code = block[i % group] >> (6 - 2 * (i / group)) & 3;
        f64::from(scale) * (f64::from(code) - 1.0)
    };
    match stock {
        Stock::Q8_0 => half_at(0) * f64::from(block[2 + i] as i8),
        Stock::Q4_0 => half_at(0) * (f64::from(nibble(&block[2..])) - 8.0),
        Stock::Q4_1 => half_at(0) * f64::from(nibble(&block[4..])) + half_at(2),
        Stock::Iq4Nl => half_at(0) * f64::from(KVALUES_IQ4NL[usize::from(nibble(&block[2..]))]),
        Stock::Tq1_0 => {
            let (byte, trit) = match i {
                0..160 => (block[i % 32], i / 32),
                160..240 => (block[32 + (i - 160) % 16], (i - 160) / 16),
                _ => (block[48 + (i - 240) % 4], (i - 240) / 4),
            };
            let shifted = byte.wrapping_mul(3u8.pow(trit as u32));
            half_at(52) * (f64::from((u16::from(shifted) * 3) >> 8) - 1.0)
        }
        Stock::Tq2_0 => {
            let code = block[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            half_at(64) * (f64::from(code) - 1.0)
        }
        Stock::I2S(I2sOrder::X86) => crumbs(32),
        Stock::I2S(I2sOrder::Arm) => crumbs(16),
    }
}

/// Packs row tiles in the given portions.
fn pack(matrix: &Blocks, blocks: &[u8], tiles_at_once: usize) -> Vec<u8> {
    let layout = matrix.layout().unwrap();
    let tiles = matrix.rows.div_ceil(TILE_ROWS);
    let mut bytes = vec![0xaa; layout.bytes()];
    let (codes, rest) = bytes.split_at_mut(layout.scales_offset());
    let (scales, minima) = rest.split_at_mut(layout.scales_bytes());
    for first in (0..tiles).step_by(tiles_at_once) {
        let last = tiles.min(first + tiles_at_once);
        let part = |of: usize| of / tiles * first..of / tiles * last;
        let (codes_part, scales_part, minima_part) = (part(codes.len()), part(scales.len()), part(minima.len()));
        matrix
            .pack_tiles(
                blocks,
                first..last,
                &mut codes[codes_part],
                &mut scales[scales_part],
                &mut minima[minima_part],
            )
            .unwrap();
    }
    bytes
}

/// Packs blocks and reads every weight back.
fn check_lossless(matrix: &Blocks, blocks: &[u8]) {
    let bytes = pack(matrix, blocks, usize::MAX / 2);
    for tiles_at_once in [1, 2] {
        assert_eq!(pack(matrix, blocks, tiles_at_once), bytes, "{matrix:?}");
    }
    let stock = matrix.stock;
    let packed = Matrix::Packed(Packed::new(matrix.layout().unwrap(), &bytes).unwrap());
    let mut found = vec![f32::NAN; matrix.cols];
    let (rows, trailer) = blocks.split_at(matrix.rows * matrix.row_bytes());
    for (row, blocks) in rows.chunks_exact(matrix.row_bytes()).enumerate() {
        packed.dequantize_row(row, &mut found).unwrap();
        let blocks = blocks.chunks_exact(stock.block_bytes());
        let expected = blocks.flat_map(|b| (0..stock.block_cols()).map(|i| dequantize(stock, b, trailer, i)));
        for (expected, found) in expected.zip(&found) {
            let expected = expected * f64::from(matrix.factor.unwrap_or(1.0));
            // ggml rounds the product to f32, then the sum.
            let tolerance = if stock == Stock::Q4_1 { 4.0 } else { 0.0 } * f64::from(f32::EPSILON);
            assert!(
                (expected - f64::from(*found)).abs() <= tolerance,
                "{matrix:?}: {expected} is {found}"
            );
        }
    }
}

#[test]
fn stock_blocks_pack_without_loss() {
    let mut rng = Rng::new(60);
    for stock in STOCK {
        let block = stock.block_cols();
        for (rows, blocks_of_row) in [(1, 1), (15, 2), (16, 3), (17, 18), (70, 5)] {
            let matrix = stock.matrix(rows, blocks_of_row * block);
            check_lossless(&matrix, &blocks(&mut rng, &matrix));
        }
    }
}

/// Every byte in every place of a ternary block, and scales that are extreme.
#[test]
fn all_bytes_of_ternary_blocks_pack_without_loss() {
    for stock in STOCK.into_iter().filter(|stock| stock.is_ternary()) {
        let matrix = stock.matrix(256, stock.block_cols());
        for scale in [0x0001u16, 0x8000, 0x7bff, 0xfbff, 0x3c00] {
            let blocks = (0..=255u8).flat_map(|byte| {
                let mut block = vec![byte; stock.block_bytes()];
                if stock.trailer_bytes() == 0 {
                    let at = block.len() - 2;
                    block[at..].copy_from_slice(&scale.to_le_bytes());
                }
                block
            });
            let mut blocks: Vec<u8> = blocks.collect();
            if stock.trailer_bytes() > 0 {
                blocks.extend(1e38f32.to_le_bytes());
                blocks.extend([0xff; 28]);
            }
            check_lossless(&matrix, &blocks);
        }
    }
}

/// With the scale of the tensor apart, as llama.cpp has it: exact where a block's scale is a power of two.
#[test]
fn a_factor_multiplies_every_weight() {
    let mut rng = Rng::new(62);
    for stock in STOCK.into_iter().filter(|stock| *stock != Stock::Q4_1) {
        let matrix = Blocks {
            factor: Some(0.7),
            ..stock.matrix(20, 2 * stock.block_cols())
        };
        assert!(matrix.layout().unwrap().has_f32_scales());
        let mut blocks = blocks(&mut rng, &matrix);
        match stock {
            Stock::I2S(_) => {
                let at = blocks.len() - 32;
                blocks[at..at + 4].copy_from_slice(&0.25f32.to_le_bytes());
            }
            _ => {
                let at = match stock {
                    Stock::Tq1_0 => 52,
                    Stock::Tq2_0 => 64,
                    _ => 0,
                };
                for block in blocks.chunks_exact_mut(stock.block_bytes()) {
                    block[at..at + 2].copy_from_slice(&0x3c00u16.to_le_bytes());
                }
            }
        }
        if stock.is_ternary() {
            check_lossless(&matrix, &blocks);
        } else {
            // 8-bit values times the factor are rounded when they are read.
            assert_eq!(pack(&matrix, &blocks, 1), pack(&matrix, &blocks, 2));
        }
    }
}

#[test]
fn missing_rows_are_zero() {
    let mut rng = Rng::new(61);
    for stock in STOCK {
        let matrix = stock.matrix(3, 2 * stock.block_cols());
        let bytes = pack(&matrix, &blocks(&mut rng, &matrix), 1);
        let layout = matrix.layout().unwrap();
        for step in bytes[..layout.codes_bytes()].chunks_exact(64) {
            assert_eq!(step[3 * 4..], [0; 52]);
        }
        let scale_bytes = layout.scale_bytes();
        for scales in bytes[layout.scales_offset()..].chunks_exact(TILE_ROWS * scale_bytes) {
            assert!(scales[3 * scale_bytes..].iter().all(|&byte| byte == 0));
        }
    }
}

#[test]
fn stock_packing_refuses_other_lengths() {
    let matrix = Stock::Q4_1.matrix(20, 64);
    let (codes, scales) = (2 * 512, 2 * 64);
    let try_pack = |blocks: usize, tiles, codes: usize, scales: usize, minima: usize| {
        let (blocks, mut codes) = (vec![0; blocks], vec![0; codes]);
        let (mut scales, mut minima) = (vec![0; scales], vec![0; minima]);
        matrix.pack_tiles(&blocks, tiles, &mut codes, &mut scales, &mut minima)
    };
    let length = |what, expected, found| Err(FormatError::Length { what, expected, found });
    assert_eq!(try_pack(800, 0..2, codes, scales, scales), Ok(()));
    assert_eq!(try_pack(799, 0..2, codes, scales, scales), length("blocks", 800, 799));
    assert_eq!(
        try_pack(800, 0..2, codes + 1, scales, scales),
        length("codes", codes, codes + 1)
    );
    assert_eq!(try_pack(800, 0..2, codes, 0, scales), length("scales", scales, 0));
    assert_eq!(try_pack(800, 0..2, codes, scales, 0), length("minima", scales, 0));
    let out_of_range = |index| Err(FormatError::OutOfRange { index, len: 2 });
    assert_eq!(try_pack(800, 0..3, codes, scales, scales), out_of_range(3));
    #[expect(clippy::reversed_empty_ranges)]
    let reversed = 2..1;
    assert_eq!(try_pack(800, reversed, codes, scales, scales), out_of_range(1));
    let layout = |stock: Stock, cols| stock.matrix(20, cols).layout();
    assert_eq!(layout(Stock::Q4_1, 65), Err(FormatError::Columns { cols: 65 }));
    for (stock, cols, block) in [
        (Stock::Tq1_0, 128, 256),
        (Stock::Tq2_0, 257, 256),
        (Stock::I2S(I2sOrder::X86), 64, 128),
        (Stock::I2S(I2sOrder::Arm), 96, 64),
    ] {
        assert_eq!(layout(stock, cols), Err(FormatError::Blocks { cols, block }));
        assert!(matches!(layout(stock, 0), Err(FormatError::Shape { .. })));
        assert!(matches!(
            stock.matrix(usize::MAX, block).layout(),
            Err(FormatError::Shape { .. })
        ));
        assert_eq!(stock.matrix(usize::MAX, block).bytes(), usize::MAX);
    }
}

/// Dense ternary codes of all bytes, with both kinds of scales and rows and columns that fill no block.
#[test]
fn trits_expand_to_the_same_weights() {
    let mut rng = Rng::new(63);
    for (rows, cols) in [(1, 32), (16, 96), (17, 64), (40, 320), (5, 2560)] {
        for f32_scales in [false, true] {
            let layout = Layout::new(rows, cols, Codes::Trits, ScaleGroup::Row, false).unwrap();
            let layout = if f32_scales { layout.with_f32_scales() } else { layout };
            let mut bytes = rng.bytes(layout.bytes());
            for scale in bytes[layout.scales_offset()..].chunks_exact_mut(layout.scale_bytes()) {
                if f32_scales {
                    scale.copy_from_slice(&rng.float().to_le_bytes());
                } else {
                    scale.copy_from_slice(&rng.scale());
                }
            }
            let dense = Packed::new(layout, &bytes).unwrap();
            let to = layout.expanded().unwrap();
            let tiles = rows.div_ceil(TILE_ROWS);
            let mut expanded = vec![0xaa; to.bytes()];
            let (codes, scales) = expanded.split_at_mut(to.scales_offset());
            let parts = codes
                .chunks_exact_mut(codes.len() / tiles)
                .zip(scales.chunks_exact_mut(scales.len() / tiles));
            for (tile, (codes, scales)) in parts.enumerate() {
                dense.expand_tiles(tile..tile + 1, codes, scales).unwrap();
            }
            let mut at_once = vec![0xaa; to.bytes()];
            let (codes, scales) = at_once.split_at_mut(to.scales_offset());
            dense.expand_tiles(0..tiles, codes, scales).unwrap();
            assert!(dense.expand_tiles(0..tiles + 1, codes, scales).is_err());
            assert!(dense.expand_tiles(0..tiles, &mut codes[1..], scales).is_err());
            assert_eq!(at_once, expanded, "{rows} x {cols}");

            let (dense, expanded) = (
                Matrix::Packed(dense),
                Matrix::Packed(Packed::new(to, &expanded).unwrap()),
            );
            let (mut expected, mut found) = (vec![0.0; cols], vec![f32::NAN; cols]);
            for row in 0..rows {
                dense.dequantize_row(row, &mut expected).unwrap();
                expanded.dequantize_row(row, &mut found).unwrap();
                assert_eq!(found, expected, "{rows} x {cols}, row {row}");
            }
        }
    }
    assert_eq!(Stock::Tq2_0.matrix(16, 256).layout().unwrap().expanded(), None);
}

fn plain_codes() -> [Codes; 6] {
    [
        Codes::Int8,
        Codes::Int6,
        Codes::Codebook5(core::array::from_fn(|i| (i as i16 * 7 - 100) as i8)),
        Codes::Codebook4(tables::PHI),
        Codes::Codebook2(tables::TERNARY),
        Codes::Trits,
    ]
}

#[test]
fn codes_are_read_where_they_were_written() {
    let mut rng = Rng::new(62);
    let (rows, cols) = (19, 64);
    for codes in plain_codes() {
        let layout = Layout::new(rows, cols, codes, ScaleGroup::Row, false).unwrap();
        let expected = rng.bytes(rows * cols);
        let mut bytes = vec![0; layout.bytes()];
        let one = half::f16::from_f32(1.0).to_le_bytes();
        for scale in bytes[layout.scales_offset()..].chunks_exact_mut(2) {
            scale.copy_from_slice(&one);
        }
        for (i, &code) in expected.iter().enumerate() {
            let codes = &mut bytes[..layout.codes_bytes()];
            layout.write_code(codes, i / cols, i % cols, code.into()).unwrap();
        }
        let packed = Packed::new(layout, &bytes).unwrap();
        let mut row = vec![0.0; cols];
        for (i, &code) in expected.iter().enumerate() {
            let (code, value) = match codes {
                Codes::Int8 => (code, code as i8),
                Codes::Int6 => (code & 63, (code & 63) as i8 - 32),
                Codes::Codebook5(table) => (code & 31, table[usize::from(code & 31)]),
                Codes::Codebook4(table) => (code & 15, table[usize::from(code & 15)]),
                Codes::Codebook2(table) => (code & 3, table[usize::from(code & 3)]),
                Codes::Trits => (code % 3, (code % 3) as i8 - 1),
                _ => unreachable!("these codes belong to several weights"),
            };
            assert_eq!(
                packed.code(i / cols, i % cols),
                Ok(code.into()),
                "only the low bits of a code count"
            );
            Matrix::Packed(packed).dequantize_row(i / cols, &mut row).unwrap();
            assert_eq!(row[i % cols], f32::from(value));
        }

        let refused = |row, col| layout.write_code(&mut [0; 8], row, col, 0).is_err() && packed.code(row, col).is_err();
        assert!(refused(rows, 0) && refused(0, cols) && refused(usize::MAX, usize::MAX));
        assert!(
            layout.write_code(&mut [0; 8], 18, 63, 0).is_err(),
            "a buffer that is too short"
        );
    }
}

fn layouts() -> Vec<Layout> {
    let shared = [
        Codes::PhasePair { stages: 1 },
        Codes::PhasePair { stages: 2 },
        Codes::PhaseAxis { magnitudes: true },
        Codes::PhaseAxis { magnitudes: false },
        Codes::PhaseComplex,
    ];
    let mut all = Vec::new();
    for codes in plain_codes().into_iter().chain(shared) {
        for scales in [ScaleGroup::Row, ScaleGroup::Columns(32), ScaleGroup::Columns(128)] {
            for minima in [false, true] {
                let layout = Layout::new(22, 384, codes, scales, minima);
                all.extend(layout.into_iter().flat_map(|layout| [layout, layout.with_f32_scales()]));
            }
        }
    }
    assert_eq!(
        all.len(),
        5 * 6 * 2 + 2 + 4 * 3 * 2 + 2,
        "trits and complex codes have one scale a row"
    );
    all
}

#[test]
fn headers_say_what_the_layout_is() {
    for layout in layouts() {
        let mut file = layout.header().to_vec();
        assert_eq!(Layout::from_header(&file), Ok(layout));
        file.resize(HEADER_BYTES + layout.bytes(), 0);
        let packed = Packed::from_file_bytes(&file).unwrap();
        assert_eq!(packed.layout(), &layout);
        assert_eq!(
            (packed.rows(), packed.cols(), packed.codes()),
            (22, 384, layout.codes())
        );
        assert_eq!(packed.bytes(), layout.bytes());
        for len in 0..file.len() {
            let error = Packed::from_file_bytes(&file[..len]).unwrap_err();
            assert!(matches!(error, FormatError::Length { found, .. } if found == len || found == len - HEADER_BYTES));
        }
        file.push(0);
        assert!(matches!(
            Packed::from_file_bytes(&file),
            Err(FormatError::Length { .. })
        ));
    }
}

/// Every value of every byte, and random ones, give a layout that is sound or an error.
#[test]
fn hostile_headers_are_refused_or_make_sense() {
    let check = |header: &[u8]| {
        if let Ok(layout) = Layout::from_header(header) {
            let groups = (layout.bytes() - layout.codes_bytes()) / layout.scales_bytes();
            assert_eq!(groups, 1 + usize::from(layout.minima_offset().is_some()));
            assert_eq!(
                layout.minima_offset().unwrap_or(layout.bytes()),
                layout.codes_bytes() + layout.scales_bytes()
            );
            assert_eq!(Layout::from_header(&layout.header()), Ok(layout));
            let _ = Packed::new(layout, &[0; 4096]);
        }
    };
    let mut rng = Rng::new(63);
    for layout in layouts() {
        for at in 0..HEADER_BYTES {
            for byte in 0..=u8::MAX {
                let mut header = layout.header();
                header[at] = byte;
                check(&header);
            }
        }
        for _ in 0..2_000 {
            let mut header = layout.header();
            for _ in 0..=rng.below(4) {
                let at = 6 + rng.below(42);
                header[at] = [0, 1, 0x7f, 0x80, 0xff, rng.bits() as u8][rng.below(6)];
            }
            check(&header);
        }
    }
}

#[test]
fn hostile_headers_are_told_apart() {
    let good = Layout::new(16, 64, Codes::Codebook4(tables::PHI), ScaleGroup::Row, false).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut header = good.header();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        Layout::from_header(&header)
    };
    let huge = 0x7fff_ffe0u32.to_le_bytes();
    assert_eq!(with(0, b"GGUF"), Err(FormatError::Magic));
    assert_eq!(with(4, &[2, 0]), Err(FormatError::Version { found: 2 }));
    assert_eq!(with(6, &[7]), Err(FormatError::Header { field: "code width" }));
    assert_eq!(with(7, &[4]), Err(FormatError::Header { field: "flags" }));
    assert_eq!(with(8, &[0; 4]), Err(FormatError::Shape { rows: 0, cols: 64 }));
    assert_eq!(with(12, &[0; 4]), Err(FormatError::Shape { rows: 16, cols: 0 }));
    assert_eq!(with(12, &[65, 0, 0, 0]), Err(FormatError::Columns { cols: 65 }));
    assert!(matches!(with(8, &[0xff; 8]), Err(FormatError::Shape { .. })));
    assert_eq!(
        with(8, &[huge, huge].concat()).is_ok(),
        cfg!(target_pointer_width = "64")
    );
    for group in [1u32, 31, 33, 96, 128, u32::MAX] {
        let expected = FormatError::ScaleGroup {
            group: group as usize,
            cols: 64,
        };
        assert_eq!(with(16, &group.to_le_bytes()), Err(expected));
    }
    assert_eq!(with(40, &[0x80]), Err(FormatError::Header { field: "table" }));
    assert_eq!(
        with(20, &[1]),
        Err(FormatError::Header {
            field: "reserved bytes"
        })
    );
    assert_eq!(
        with(127, &[1]),
        Err(FormatError::Header {
            field: "reserved bytes"
        })
    );
}

#[test]
fn views_refuse_other_lengths() {
    let layout = Layout::new(1, 32, Codes::Int8, ScaleGroup::Row, false).unwrap();
    assert!(matches!(
        Packed::new(layout, &[0; 543]),
        Err(FormatError::Length {
            expected: 544,
            found: 543,
            ..
        })
    ));
    assert!(Packed::new(layout, &[0; 544]).is_ok());
    assert!(matches!(
        Dense::new(2, 3, Float::F16, &[0; 11]),
        Err(FormatError::Length {
            expected: 12,
            found: 11,
            ..
        })
    ));
    for (rows, cols) in [(0, 3), (3, 0), (usize::MAX, 2), (usize::MAX / 2, 1)] {
        assert_eq!(
            Dense::new(rows, cols, Float::F32, &[]).err(),
            Some(FormatError::Shape { rows, cols })
        );
    }
    assert!(Layout::new(1, 64, Codes::Int8, ScaleGroup::Columns(0), false).is_err());

    let dense = Matrix::Dense(Dense::new(2, 3, Float::F16, &[0; 12]).unwrap());
    let memory = [0; 544];
    let packed = Matrix::Packed(Packed::new(layout, &memory).unwrap());
    for matrix in [dense, packed] {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let mut row = vec![1.0; cols + 1];
        let too_far = FormatError::OutOfRange { index: rows, len: rows };
        assert_eq!(matrix.dequantize_row(rows, &mut row[..cols]), Err(too_far));
        for found in [cols - 1, cols + 1] {
            let expected = FormatError::Length {
                what: "row",
                expected: cols,
                found,
            };
            assert_eq!(matrix.dequantize_row(0, &mut row[..found]), Err(expected));
        }
        assert_eq!(matrix.dequantize_row(0, &mut row[..cols]), Ok(()));
        assert_eq!(row[..cols], vec![0.0; cols]);
    }
}

/// The ladder's steps are φ apart, as nearly as whole numbers up to 89 can be.
#[test]
fn the_phi_ladder_is_geometric() {
    let phi = (1.0 + 5f64.sqrt()) / 2.0;
    let (positive, negative) = tables::PHI.split_at(8);
    for (i, (&p, &n)) in positive.iter().zip(negative).enumerate() {
        assert_eq!(p, -n, "bit 3 is the sign");
        let ideal = phi.powi(i as i32 + 4) / 5f64.sqrt();
        assert!((f64::from(p) / ideal - 1.0).abs() < 0.022, "{p} is not near {ideal}");
    }
}
