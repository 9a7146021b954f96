//! llama.cpp's block types as floats.
//!
//! Each function turns one block into floats with the operations, and in the order, of the `dequantize_row_*` functions
//! of ggml's `ggml-quants.c`, so that the floats are the same to the bit.

use half::{bf16, f16};
use halfpi_kernels::format::tables::IQ4_NL;

use crate::gguf::GgmlType;

/// Writes the floats of a block. Both are as long as the type's block.
type Block = fn(&[u8], &mut [f32]);

fn block_of(ty: GgmlType) -> Option<Block> {
    Some(match ty {
        GgmlType::F32 => |block, out| out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
        GgmlType::F16 => |block, out| out[0] = f16_at(block, 0),
        GgmlType::BF16 => |block, out| out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
        GgmlType::Q8_0 => q8_0,
        GgmlType::Q4_0 => q4_0,
        GgmlType::Q4_1 => q4_1,
        GgmlType::Q5_0 => q5_0,
        GgmlType::Q5_1 => q5_1,
        GgmlType::IQ4_NL => iq4_nl,
        GgmlType::IQ4_XS => iq4_xs,
        GgmlType::Q2_K => q2_k,
        GgmlType::Q3_K => q3_k,
        GgmlType::Q4_K => q4_k,
        GgmlType::Q5_K => q5_k,
        GgmlType::Q6_K => q6_k,
        GgmlType::TQ1_0 => tq1_0,
        GgmlType::TQ2_0 => tq2_0,
        _ => return None,
    })
}

/// Whether [`row`] reads a type.
pub(super) fn is_known(ty: GgmlType) -> bool {
    block_of(ty).is_some()
}

/// Writes a row of floats. `bytes` begins with the row's blocks. Nothing is written for a type that is not known.
pub(super) fn row(ty: GgmlType, bytes: &[u8], out: &mut [f32]) {
    let Some(block) = block_of(ty) else { return };
    let (size, block_bytes) = (ty.block_size() as usize, ty.block_bytes() as usize);
    for (bytes, out) in bytes.chunks_exact(block_bytes).zip(out.chunks_exact_mut(size)) {
        block(bytes, out);
    }
}

fn f16_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    for (out, &code) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(code as i8) * d;
    }
}

/// The 32 codes of 16 bytes: the low nibbles, then the high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes
        .iter()
        .map(|byte| byte & 15)
        .chain(bytes.iter().map(|byte| byte >> 4))
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    for (out, code) in out.iter_mut().zip(nibbles(&block[2..])) {
        *out = (f32::from(code) - 8.0) * d;
    }
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for (out, code) in out.iter_mut().zip(nibbles(&block[4..])) {
        *out = f32::from(code) * d + m;
    }
}

/// The 32 codes of 4 bytes of fifth bits and 16 bytes of nibbles.
fn five_bits(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let high = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    (0..)
        .zip(nibbles(&bytes[4..]))
        .map(move |(i, low)| low | ((high >> i & 1) as u8) << 4)
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    for (out, code) in out.iter_mut().zip(five_bits(&block[2..])) {
        *out = (f32::from(code) - 16.0) * d;
    }
}

fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (f16_at(block, 0), f16_at(block, 2));
    for (out, code) in out.iter_mut().zip(five_bits(&block[4..])) {
        *out = f32::from(code) * d + m;
    }
}

fn iq4_nl(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    for (out, code) in out.iter_mut().zip(nibbles(&block[2..])) {
        *out = d * f32::from(IQ4_NL[usize::from(code)]);
    }
}

/// Scale, high bits of the scales (2 bits each), low bits (4 each), codes; sub-blocks of 32.
fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (ib, out) in out.chunks_exact_mut(32).enumerate() {
        let low = block[4 + ib / 2] >> (4 * (ib % 2)) & 15;
        let scale = i32::from(low) | i32::from(high >> (2 * ib) & 3) << 4;
        let d = d * (scale - 32) as f32;
        for (out, code) in out.iter_mut().zip(nibbles(&block[8 + 16 * ib..][..16])) {
            *out = d * f32::from(IQ4_NL[usize::from(code)]);
        }
    }
}

/// 16 bytes of scale and minimum nibbles, 64 bytes of codes, scale, scale of the minima; sub-blocks of 16.
fn q2_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (f16_at(block, 80), f16_at(block, 82));
    for (i, out) in out.chunks_exact_mut(16).enumerate() {
        let (half, shift, part) = (i / 8, i % 8 / 2, i % 2);
        let scales = block[i];
        let (d, m) = (d * f32::from(scales & 15), dmin * f32::from(scales >> 4));
        for (out, code) in out.iter_mut().zip(&block[16 + 32 * half + 16 * part..]) {
            *out = d * f32::from(code >> (2 * shift) & 3) - m;
        }
    }
}

/// 32 bytes of third bits, 64 bytes of codes, 12 bytes of scales (low nibbles, then high bits), scale; sub-blocks of 16.
fn q3_k(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 108);
    let scales = &block[96..108];
    for (i, out) in out.chunks_exact_mut(16).enumerate() {
        let (half, shift, part) = (i / 8, i % 8 / 2, i % 2);
        let low = scales[i % 8] >> (4 * (i / 8)) & 15;
        let high = scales[8 + i % 4] >> (2 * (i / 4)) & 3;
        let d = d * f32::from((low | high << 4) as i8 - 32);
        for (l, out) in out.iter_mut().enumerate() {
            let code = block[32 + 32 * half + 16 * part + l] >> (2 * shift) & 3;
            let high = block[16 * part + l] >> (4 * half + shift) & 1;
            *out = d * (f32::from(code) - if high == 1 { 0.0 } else { 4.0 });
        }
    }
}

/// The scale and the minimum of sub-block `i` of Q4_K and Q5_K, 6 bits each.
fn scale_and_minimum(scales: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = if i < 4 {
        (scales[i] & 63, scales[i + 4] & 63)
    } else {
        (
            scales[i + 4] & 15 | scales[i - 4] >> 6 << 4,
            scales[i + 4] >> 4 | scales[i] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(minimum))
}

/// Scale, scale of the minima, 12 bytes of scales, 128 bytes of codes; sub-blocks of 32.
fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (i, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], i);
        let (d, m) = (d * scale, dmin * minimum);
        for (out, byte) in out.iter_mut().zip(&block[16 + 32 * (i / 2)..]) {
            *out = d * f32::from(byte >> (4 * (i % 2)) & 15) - m;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the codes.
fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
    for (i, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], i);
        let (d, m) = (d * scale, dmin * minimum);
        for (l, out) in out.iter_mut().enumerate() {
            let low = block[48 + 32 * (i / 2) + l] >> (4 * (i % 2)) & 15;
            let high = block[16 + l] >> i & 1;
            *out = d * f32::from(low | high << 4) - m;
        }
    }
}

/// 128 bytes of low nibbles, 64 bytes of high bits, 16 scales, scale; sub-blocks of 16.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 208);
    for (i, out) in out.chunks_exact_mut(16).enumerate() {
        // Four quarters of 32 columns share the bytes of a half.
        let (half, quarter, part) = (i / 8, i % 8 / 2, i % 2);
        let d = d * f32::from(block[192 + i] as i8);
        for (l, out) in out.iter_mut().enumerate() {
            let l = l + 16 * part;
            let low = block[64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter / 2)) & 15;
            let high = block[128 + 32 * half + l] >> (2 * quarter) & 3;
            *out = d * f32::from((low | high << 4) as i8 - 32);
        }
    }
}

/// 48 bytes of five trits and 4 of four, the first trit the most significant, then the scale.
fn tq1_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 52);
    // A byte is its trits as a fraction of 256, so multiplying by three brings up the next one.
    let trit = |byte: u8, power: u8| {
        let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
        (f32::from(digit) - 1.0) * d
    };
    let parts = [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)];
    let trits = parts.into_iter().flat_map(|(bytes, count)| {
        let powers = [1u8, 3, 9, 27, 81].into_iter().take(count);
        powers.flat_map(move |power| bytes.iter().map(move |&byte| (byte, power)))
    });
    for (out, (byte, power)) in out.iter_mut().zip(trits) {
        *out = trit(byte, power);
    }
}

/// 64 bytes of 2-bit codes, then the scale.
fn tq2_0(block: &[u8], out: &mut [f32]) {
    let d = f16_at(block, 64);
    for (i, out) in out.chunks_exact_mut(32).enumerate() {
        for (out, byte) in out.iter_mut().zip(&block[32 * (i / 4)..]) {
            *out = (f32::from(byte >> (2 * (i % 4)) & 3) - 1.0) * d;
        }
    }
}
