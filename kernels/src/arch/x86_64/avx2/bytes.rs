//! Bytes in registers.

use core::arch::x86_64::*;

// SAFETY of every block below: registers only, where none says otherwise, and the caller upholds `Simd`'s contract.

/// 32 bytes.
///
/// # Safety
/// They are there.
#[inline(always)]
pub(super) unsafe fn load(from: *const u8) -> __m256i {
    // SAFETY: as this function's contract.
    unsafe { _mm256_loadu_si256(from.cast()) }
}

/// # Safety
/// Room for 32 bytes is there.
#[inline(always)]
pub(super) unsafe fn store(to: *mut u8, bytes: __m256i) {
    // SAFETY: as this function's contract.
    unsafe { _mm256_storeu_si256(to.cast(), bytes) }
}

/// Four activations, in every lane.
///
/// # Safety
/// They are there.
#[inline(always)]
pub(super) unsafe fn broadcast(x: *const i8) -> __m256i {
    // SAFETY: as this function's contract.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

/// The table in each 128-bit lane.
#[inline(always)]
pub(super) unsafe fn load_table(table: &[i8; 16]) -> __m256i {
    // SAFETY: the reference holds 16 bytes.
    unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) }
}

/// The low and the high nibbles.
#[inline(always)]
pub(super) unsafe fn nibbles(codes: __m256i) -> [__m256i; 2] {
    // SAFETY: registers only.
    unsafe {
        let mask = _mm256_set1_epi8(15);
        let high = _mm256_srli_epi16::<4>(codes);
        [_mm256_and_si256(codes, mask), _mm256_and_si256(high, mask)]
    }
}

/// What the table has for each index, 0..16.
#[inline(always)]
pub(super) unsafe fn look_up(table: __m256i, indices: __m256i) -> __m256i {
    // SAFETY: registers only.
    unsafe { _mm256_shuffle_epi8(table, indices) }
}

/// Each byte's bits that are in `mask`.
#[inline(always)]
pub(super) unsafe fn bits(bytes: __m256i, mask: i8) -> __m256i {
    // SAFETY: registers only.
    unsafe { _mm256_and_si256(bytes, _mm256_set1_epi8(mask)) }
}

/// Each byte plus `x`.
#[inline(always)]
pub(super) unsafe fn add(bytes: __m256i, x: i8) -> __m256i {
    // SAFETY: registers only.
    unsafe { _mm256_add_epi8(bytes, _mm256_set1_epi8(x)) }
}
