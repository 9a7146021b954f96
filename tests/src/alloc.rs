//! An allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

/// The system's allocator, counting what each thread holds. Make it the `#[global_allocator]` of a test.
#[derive(Debug)]
pub struct CountingAllocator;

thread_local! {
    // Signed, because a thread may free what another has allocated.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Calls for memory by all threads.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// The most bytes that one of them was for.
static LARGEST: AtomicUsize = AtomicUsize::new(0);
/// The bytes that all of them hold together, and the most they have held.
static ALL_HELD: AtomicIsize = AtomicIsize::new(0);
static ALL_PEAK: AtomicIsize = AtomicIsize::new(0);

fn count(change: isize) {
    let held = ALL_HELD.fetch_add(change, Ordering::Relaxed) + change;
    ALL_PEAK.fetch_max(held, Ordering::Relaxed);
    // A thread that is ending has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes on to `System` unchanged. The counters need no allocation and have no destructor.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        count(layout.size() as isize);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above; `block` came from `System`.
        unsafe { System.dealloc(block, layout) }
    }
}

/// The most memory this thread held at one time during `work`, in bytes beyond what it held before.
///
/// Counts only where [`CountingAllocator`] is the global allocator.
pub fn peak_bytes_during(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    work();
    (PEAK.get() - before) as usize
}

/// The most memory that all threads together held at one time during `work`, in bytes beyond what they held before.
///
/// Counts only where [`CountingAllocator`] is the global allocator, in a test that is alone in its process.
pub fn peak_bytes_of_all_threads_during(work: impl FnOnce()) -> usize {
    let before = ALL_HELD.load(Ordering::Relaxed);
    ALL_PEAK.store(before, Ordering::Relaxed);
    work();
    (ALL_PEAK.load(Ordering::Relaxed) - before) as usize
}

/// How often all threads together have asked for memory so far.
///
/// Counts only where [`CountingAllocator`] is the global allocator. A test that looks at differences must be alone in
/// its process.
pub fn allocations() -> usize {
    CALLS.load(Ordering::Relaxed)
}

/// The most bytes that any thread has asked for at once so far.
///
/// Counts only where [`CountingAllocator`] is the global allocator.
pub fn largest_allocation() -> usize {
    LARGEST.load(Ordering::Relaxed)
}
