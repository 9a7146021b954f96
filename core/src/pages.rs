//! Giving memory back to the system while it stays mapped.

use memmap2::{Mmap, MmapMut};
use std::ops::Range;

#[cfg(unix)]
use memmap2::UncheckedAdvice;

/// What given back parts are aligned to: the pages of Apple's systems and of new Androids, a multiple of most others'. A
/// system with larger ones refuses, and keeps the memory.
#[cfg(unix)]
const PAGE: usize = 16384;

/// The whole pages in a part of a mapping that begins at `base`, as offset and length.
#[cfg(unix)]
fn whole_pages(base: *const u8, len: usize, bytes: Range<usize>) -> Option<(usize, usize)> {
    let base = base.addr();
    let end = bytes.end.min(len).checked_add(base)? / PAGE * PAGE;
    let start = bytes.start.checked_add(base)?.next_multiple_of(PAGE);
    (start < end).then(|| (start - base, end - start))
}

/// Gives back the memory of whole pages inside `bytes`; the next access reads them from the file again.
///
/// # Safety
/// `map` is a mapping of a file. (Anonymous memory would come back as zeros.)
pub(crate) unsafe fn release_file(map: &Mmap, bytes: Range<usize>) {
    #[cfg(unix)]
    if let Some((start, len)) = whole_pages(map.as_ptr(), map.len(), bytes) {
        // SAFETY: a read-only mapping of a file, so a dropped page comes back with the same bytes.
        let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len) };
    }
    #[cfg(not(unix))]
    let _ = (map, bytes);
}

/// Gives back the memory of whole pages inside `bytes`, whose contents are lost: the next access finds what was there, or
/// zeros.
pub(crate) fn release_anonymous(map: &mut MmapMut, bytes: Range<usize>) {
    #[cfg(unix)]
    if let Some((start, len)) = whole_pages(map.as_ptr(), map.len(), bytes) {
        // Apple's `MADV_DONTNEED` frees nothing.
        #[cfg(target_vendor = "apple")]
        let advice = UncheckedAdvice::Free;
        #[cfg(not(target_vendor = "apple"))]
        let advice = UncheckedAdvice::DontNeed;
        // SAFETY: `&mut` says that nobody else looks at these bytes, and every value of a byte is a valid one.
        let _ = unsafe { map.unchecked_advise_range(advice, start, len) };
    }
    #[cfg(not(unix))]
    let _ = (map, bytes);
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_go() {
        let pages = |base: usize, bytes| whole_pages(std::ptr::without_provenance(base), 10 * PAGE, bytes);
        assert_eq!(pages(PAGE, 0..10 * PAGE), Some((0, 10 * PAGE)));
        assert_eq!(pages(PAGE, 1..2 * PAGE), Some((PAGE, PAGE)));
        assert_eq!(pages(PAGE, 1..2 * PAGE - 1), None);
        assert_eq!(pages(PAGE, 0..usize::MAX), Some((0, 10 * PAGE)));
        // A mapping of a part of a file begins inside a page.
        assert_eq!(pages(PAGE + 4, 0..2 * PAGE), Some((PAGE - 4, PAGE)));
        assert_eq!(pages(usize::MAX - PAGE, 2 * PAGE..3 * PAGE), None);
    }

    #[test]
    fn given_back_memory_can_be_used_again() {
        let mut map = MmapMut::map_anon(4 * PAGE).unwrap();
        map.fill(7);
        release_anonymous(&mut map, 1..3 * PAGE);
        // (Where in a page the mapping begins is the system's choice.)
        assert!(map[..1].iter().chain(&map[3 * PAGE..]).all(|&byte| byte == 7));
        map[1..3 * PAGE].fill(8);
        assert!(map[1..3 * PAGE].iter().all(|&byte| byte == 8));
    }
}
