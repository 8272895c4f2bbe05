//! An allocator that holds a lock of its own while it makes a blocking call: who allocates to
//! note that would wait for itself.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod common;

use common::{is_interposed, panic_of};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

struct Sleepy;

thread_local! {
    static SLEEPS: Cell<bool> = const { Cell::new(false) };
    static HELD: Cell<bool> = const { Cell::new(false) };
}

static ENTERED_AGAIN: AtomicBool = AtomicBool::new(false);

// SAFETY: all memory is the system allocator's.
unsafe impl GlobalAlloc for Sleepy {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if HELD.replace(true) {
            // With a lock this thread would wait for ever.
            ENTERED_AGAIN.store(true, SeqCst);
        }
        if SLEEPS.replace(false) {
            // SAFETY: no pointers.
            unsafe { libc::usleep(10) };
        }
        HELD.set(false);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static HEAP: Sleepy = Sleepy;

#[test]
fn nothing_is_allocated_within_a_call() {
    let polled = || {
        offramp_strict::run(async {
            SLEEPS.set(true);
            std::hint::black_box(Box::new(7));
            assert!(!SLEEPS.get());
        })
    };
    if is_interposed() {
        let report = panic_of(polled);
        assert!(
            report.starts_with("a poll made a blocking call: usleep("),
            "{report}"
        );
        assert!(report.contains("\n  in "), "{report}");
    } else {
        polled();
    }
    assert!(!ENTERED_AGAIN.load(SeqCst));
}
