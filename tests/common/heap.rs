//! An allocator that counts, for the test binaries that name it:
//!
//! ```ignore
//! #[path = "common/heap.rs"]
//! mod heap;
//!
//! #[global_allocator]
//! static HEAP: heap::Counting = heap::Counting;
//! ```
//!
//! It counts the whole process: its tests run in processes of their own.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

pub(crate) struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LARGE: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    ALLOCATIONS.fetch_add(1, SeqCst);
    if bytes >= 1024 {
        LARGE.fetch_add(1, SeqCst);
    }
    let live = LIVE.fetch_add(bytes, SeqCst) + bytes;
    // Most allocations set no record: those do without the second write.
    if live > PEAK.load(SeqCst) {
        PEAK.fetch_max(live, SeqCst);
    }
}

// SAFETY: all memory is the system allocator's; this only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grown(size);
        LIVE.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the caller's contract is the same.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Allocations made so far, by all threads.
pub(crate) fn allocations() -> usize {
    ALLOCATIONS.load(SeqCst)
}

/// Those of them that were of 1 KiB or more.
pub(crate) fn large_allocations() -> usize {
    LARGE.load(SeqCst)
}

/// Bytes allocated and not freed.
pub(crate) fn live() -> usize {
    LIVE.load(SeqCst)
}

/// The most bytes that were live at once since [`reset_peak`].
pub(crate) fn peak() -> usize {
    PEAK.load(SeqCst)
}

/// Starts the record of [`peak`] again from what is live now.
pub(crate) fn reset_peak() {
    PEAK.store(LIVE.load(SeqCst), SeqCst);
}
