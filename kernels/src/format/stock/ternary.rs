//! Ternary block types: which trits a byte holds.
//!
//! Four neighbouring columns always lie in four neighbouring bytes, at the same place in each. So they are read
//! together, as the bytes of a word, and go together into four neighbouring bytes of a tile.
//!
//! Sources: `dequantize_row_tq1_0` and `dequantize_row_tq2_0` in ggml's `ggml-quants.c`; `quantize_i2_s` in bitnet.cpp's
//! `ggml-bitnet-mad.cpp`.
//!
//! Each function gives the codes 0, 1 and 2 (in 2-bit types also 3, for 2) of columns `4 * quad..4 * quad + 4` of a block.

/// Two bits in each byte.
const TWO_BITS: u32 = 0x0303_0303;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// 64 bytes: 32 bytes for 128 columns, the first 32 columns in the lowest bits. Then the scale.
pub(super) fn tq2_0(block: &[u8], quad: usize) -> u32 {
    let (half, part, at) = (quad / 32, quad % 32 / 8, quad % 8 * 4);
    word(block, half * 32 + at) >> (2 * part) & TWO_BITS
}

/// 48 bytes of five trits (32 for columns below 160, 16 for those below 240) and 4 of four. Then the scale.
///
/// A byte is its trits as a fraction of 256, so multiplying by three brings up the next one.
pub(super) fn tq1_0(block: &[u8], quad: usize) -> u32 {
    let (at, trit) = match quad {
        0..40 => (quad % 8 * 4, quad / 8),
        40..60 => (32 + (quad - 40) % 4 * 4, (quad - 40) / 4),
        _ => (48, quad - 60),
    };
    let power = [1u8, 3, 9, 27, 81][trit];
    let digit = |byte: u8| ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as u8;
    u32::from_le_bytes(word(block, at).to_le_bytes().map(digit))
}

/// 32 bytes for 128 columns, the first 32 columns in the highest bits.
pub(super) fn i2_s_x86(block: &[u8], quad: usize) -> u32 {
    word(block, quad % 8 * 4) >> (6 - 2 * (quad / 8)) & TWO_BITS
}

/// 16 bytes for 64 columns, the first 16 columns in the highest bits.
pub(super) fn i2_s_arm(block: &[u8], quad: usize) -> u32 {
    word(block, quad % 4 * 4) >> (6 - 2 * (quad / 4)) & TWO_BITS
}

/// Moves the codes of a row of blocks into its lane of a tile: a step of 64 bytes takes 16 columns, each four neighbours
/// above the ones before.
pub(super) fn pack_lane<'a>(
    lane: usize,
    blocks: impl Iterator<Item = &'a [u8]>,
    block_cols: usize,
    quad: impl Fn(&[u8], usize) -> u32,
    tile: &mut [u8],
) {
    let mut steps = tile.chunks_exact_mut(64);
    for block in blocks {
        for (step, out) in steps.by_ref().take(block_cols / 16).enumerate() {
            let [a, b, c, d] = core::array::from_fn(|plane| quad(block, step * 4 + plane));
            out[lane * 4..lane * 4 + 4].copy_from_slice(&(a | b << 2 | c << 4 | d << 6).to_le_bytes());
        }
    }
}
