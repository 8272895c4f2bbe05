//! Counts, for each thread, how often it has given its CPU away by itself.
//!
//! `parking_lot`'s locks do that before they wait, and the kernel counts it as a preemption. It is none: see `push.rs`.

#[cfg(target_os = "linux")]
pub(crate) use counting::counted;
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::counted;

#[cfg(target_os = "linux")]
mod counting {
    use std::cell::Cell;
    use std::ffi::c_int;

    thread_local! {
        static YIELDS: Cell<u64> = const { Cell::new(0) };
    }

    /// Of this thread so far.
    pub(crate) fn counted() -> u64 {
        YIELDS.get()
    }

    /// In the place of libc's.
    #[unsafe(no_mangle)]
    extern "C" fn sched_yield() -> c_int {
        // A thread that ends may still yield; nobody asks any more.
        let _ = YIELDS.try_with(|yields| yields.set(yields.get() + 1));
        // SAFETY: it has no arguments.
        unsafe { libc::syscall(libc::SYS_sched_yield) as c_int }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    pub(crate) fn counted() -> u64 {
        0
    }
}
