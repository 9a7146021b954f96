//! What memory a run takes, and for what: measured by the allocator.
//!
//! A program that wants to know makes [`Metered`] its allocator:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: halfpi_trainer::memory::Metered = halfpi_trainer::memory::Metered;
//! ```
//!
//! Every allocation then counts for the class that its thread had set when it was made ([`class`]), until it is freed,
//! wherever that is. That is exact for what a method keeps in its own slices: integers, votes, data. It would not be for
//! tensors, whose operations write into memory of their operands where they can: a moment of AdamW may lie in what was
//! allocated for a gradient. So tensors are left in [`Class::Other`], and those that stay are moved out of it by their size
//! for as long as they do ([`claim`]). The sum of all classes is what the allocator counts, always.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Activations, what operations need for a moment, and everything that no other class is set for.
    Other,
    /// The parameters, in whatever form they are kept from step to step.
    Weights,
    /// Their gradients, from the end of a backward pass.
    Gradients,
    /// Votes.
    Votes,
    /// What an optimizer remembers.
    Optimizer,
    /// Text and tokens.
    Data,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 6] = [
        Class::Other,
        Class::Weights,
        Class::Gradients,
        Class::Votes,
        Class::Optimizer,
        Class::Data,
    ];
}

/// Bytes now, and the most at any time. Signed, because claims are taken from a class that may have less.
struct Counter {
    live: AtomicIsize,
    peak: AtomicIsize,
}

impl Counter {
    const fn new() -> Self {
        Self {
            live: AtomicIsize::new(0),
            peak: AtomicIsize::new(0),
        }
    }

    fn add(&self, bytes: isize) {
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        // Most allocations are no peak: a load is cheaper than an exchange.
        if live > self.peak.load(Relaxed) {
            self.peak.fetch_max(live, Relaxed);
        }
    }

    fn usage(&self) -> Usage {
        let bytes = |counter: &AtomicIsize| counter.load(Relaxed).max(0) as usize;
        Usage {
            live: bytes(&self.live),
            peak: bytes(&self.peak),
        }
    }
}

static TOTAL: Counter = Counter::new();
static CLASSES: [Counter; Class::ALL.len()] = [const { Counter::new() }; Class::ALL.len()];

thread_local! {
    // Without a destructor or a first use, so that the allocator can read it at any time.
    static CLASS: Cell<Class> = const { Cell::new(Class::Other) };
}

/// Memory of a class, or altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Bytes now.
    pub live: usize,
    /// The most bytes at any time since [`reset_peaks`]. The classes have theirs at different times: their sum is more
    /// than the peak of all.
    pub peak: usize,
}

/// All memory. Zero in a program whose allocator is not [`Metered`].
pub fn total() -> Usage {
    TOTAL.usage()
}

/// The memory of a class.
pub fn usage(class: Class) -> Usage {
    CLASSES[class as usize].usage()
}

/// Makes what is there now the peak.
pub fn reset_peaks() {
    for counter in CLASSES.iter().chain([&TOTAL]) {
        counter.peak.store(counter.live.load(Relaxed), Relaxed);
    }
}

/// Calls `f`; what it allocates on this thread counts for `class`.
pub fn class<R>(class: Class, f: impl FnOnce() -> R) -> R {
    /// Sets the class back, after a panic as well.
    struct Back(Class);
    impl Drop for Back {
        fn drop(&mut self) {
            CLASS.set(self.0);
        }
    }
    let _back = Back(CLASS.replace(class));
    f()
}

/// Counts so many bytes that [`Class::Other`] has for `class`, until it is dropped: for tensors that stay.
#[must_use]
pub fn claim(class: Class, bytes: usize) -> Claim {
    let claim = Claim {
        class,
        bytes: isize::try_from(bytes).unwrap_or(isize::MAX),
    };
    claim.take(claim.bytes);
    claim
}

/// Memory that counts for a class by its size: see [`claim`].
#[derive(Debug)]
pub struct Claim {
    class: Class,
    bytes: isize,
}

impl Claim {
    fn take(&self, bytes: isize) {
        // Without the allocator there is nothing to take it from.
        if TOTAL.peak.load(Relaxed) > 0 {
            CLASSES[Class::Other as usize].add(-bytes);
            CLASSES[self.class as usize].add(bytes);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.take(-self.bytes);
    }
}

/// The system's allocator, which counts.
///
/// Each allocation has 16 bytes more, or its alignment if that is larger, for its class; they are not counted. The two
/// sums and two comparisons take some nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metered;

/// What lies before an allocation: the class that it counts for. As aligned as what `malloc` returns.
#[repr(align(16))]
struct Header(Class);

/// The allocation with its header, and where in it the caller's bytes begin.
fn with_header(layout: Layout) -> Option<(Layout, usize)> {
    Layout::new::<Header>().extend(layout).ok()
}

fn count(class: Class, bytes: isize) {
    TOTAL.add(bytes);
    CLASSES[class as usize].add(bytes);
}

/// Writes the header at `base` for an allocation of `size` bytes, and returns where the caller's begin.
///
/// # Safety
/// `base` is null or what the system has allocated for the layout of which `offset` is that of [`with_header`].
unsafe fn begin(base: *mut u8, offset: usize, size: usize) -> *mut u8 {
    if base.is_null() {
        return base;
    }
    let class = CLASS.get();
    count(class, size as isize);
    // SAFETY: the layout begins with a header, is as aligned as it, and is longer than `offset` or ends there.
    unsafe {
        base.cast::<Header>().write(Header(class));
        base.add(offset)
    }
}

// SAFETY: memory is the system's; what a caller gets lies behind the header in an allocation that is as much longer and at
// least as aligned, and goes back with the same layout. Nothing here allocates or panics.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, offset)) = with_header(layout) else {
            return null_mut();
        };
        // SAFETY: with its header it is not of size 0.
        unsafe { begin(System.alloc(whole), offset, layout.size()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((whole, offset)) = with_header(layout) else {
            return null_mut();
        };
        // SAFETY: as for `alloc`.
        unsafe { begin(System.alloc_zeroed(whole), offset, layout.size()) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let Some((whole, offset)) = with_header(layout) else {
            return;
        };
        // SAFETY: `ptr` is from `alloc` with this layout, so that its header lies `offset` before it.
        unsafe {
            let base = ptr.sub(offset);
            count(base.cast::<Header>().read().0, -(layout.size() as isize));
            System.dealloc(base, whole);
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let new = Layout::from_size_align(new_size, layout.align())
            .ok()
            .and_then(with_header);
        let (Some((whole, offset)), Some((new, _))) = (with_header(layout), new) else {
            return null_mut();
        };
        // SAFETY: as for `dealloc`; the header moves with the rest, and the offset depends on the alignment only.
        unsafe {
            let base = ptr.sub(offset);
            let class = base.cast::<Header>().read().0;
            let moved = System.realloc(base, whole, new.size());
            if moved.is_null() {
                return moved;
            }
            count(class, new_size as isize - layout.size() as isize);
            moved.add(offset)
        }
    }
}
