//! Fork: the child has the pools' memory, but not their threads.
//!
//! A number is raised in each child; a pool whose own is another one touches no lock and
//! wakes nobody any more. Nothing of it costs a system call.

#[cfg(unix)]
mod imp {
    use std::sync::Once;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// How many forks lie between the process that loaded us and this one.
    static GENERATION: AtomicU32 = AtomicU32::new(0);

    pub(crate) fn generation() -> u32 {
        // ORDERING: Relaxed: changed while the process has one thread.
        GENERATION.load(Ordering::Relaxed)
    }

    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on forks are counted.
    pub(crate) fn watch() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: the handler does one atomic addition, which is allowed in a child.
            // Without memory for it (the only error) forks go unseen.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
    }

    /// Ends a child in which a job's closure has returned: its thread belongs to a pool that
    /// is not there.
    pub(crate) fn end_child() -> ! {
        // SAFETY: it does not return, and runs none of the parent's exit handlers.
        unsafe { libc::_exit(0) }
    }
}

#[cfg(not(unix))]
mod imp {
    pub(crate) fn generation() -> u32 {
        0
    }

    pub(crate) fn watch() {}

    pub(crate) fn end_child() -> ! {
        unreachable!("there are no forks")
    }
}

pub(crate) use imp::{end_child, generation, watch};
