//! The only file that names a synchronisation primitive.
//!
//! The core is written against these names. A normal build gets the standard
//! library and `parking_lot`; the `loom-tests` package compiles the same sources
//! with `offramp_loom` set and gets loom's, so that the models check the
//! production code itself. Time does not exist in here: a parked thread's
//! time-out is, for loom, an event that a model thread fires.

pub(crate) use imp::{
    AtomicBool, AtomicPtr, AtomicU16, AtomicU64, AtomicUsize, Mutex, Ordering, Parker, UnsafeCell,
    fence,
};

/// A first look before a compare-exchange, where an old value costs one more round and
/// nothing else. Loom looks at the newest value: it would try every old one.
pub(crate) trait Hint {
    type Value;

    fn hint(&self) -> Self::Value;
}

macro_rules! hint {
    ($($atomic:ty, $value:ty, $nothing:expr, [$($generic:tt)*];)*) => {$(
        impl $($generic)* Hint for $atomic {
            type Value = $value;

            #[inline(always)]
            fn hint(&self) -> $value {
                #[cfg(not(offramp_loom))]
                return self.load(Ordering::Relaxed);
                #[cfg(offramp_loom)]
                return self
                    .compare_exchange($nothing, $nothing, Ordering::Relaxed, Ordering::Relaxed)
                    .unwrap_or_else(|newest| newest);
            }
        }
    )*};
}

hint! {
    AtomicU16, u16, 0, [];
    AtomicU64, u64, 0, [];
    AtomicUsize, usize, 0, [];
    AtomicPtr<T>, *mut T, std::ptr::null_mut(), [<T>];
}

/// Nothing depends on who makes the value: loom need not branch on it.
pub(crate) use std::sync::OnceLock;

/// For numbers that neither order nor decide whether a job is seen: loom need not
/// branch on them.
pub(crate) mod plain {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
}

/// `true` in a model run that asked for this mutation by name: the line it
/// guards is then left out, and the model of that line has to fail.
/// Always `false`, and optimised away, outside the models.
#[cfg(not(offramp_loom))]
#[inline(always)]
pub(crate) const fn planted(_bug: &str) -> bool {
    false
}

#[cfg(offramp_loom)]
pub(crate) fn planted(bug: &str) -> bool {
    static PLANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    PLANTED
        .get_or_init(|| std::env::var("OFFRAMP_PLANTED").ok())
        .as_deref()
        == Some(bug)
}

#[cfg(not(offramp_loom))]
mod imp {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU16, AtomicU64, AtomicUsize, Ordering, fence,
    };
    use std::thread::{self, Thread};
    use std::time::{Duration, Instant};

    /// `std`'s cell with loom's access methods, so that loom sees every access.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// Where one thread sleeps until somebody calls `unpark`.
    ///
    /// `std::thread::park` is one futex word; the flag beside it makes the
    /// wake-up ours, because a job may use `park` and leave a token behind.
    #[derive(Debug)]
    pub(crate) struct Parker {
        notified: AtomicBool,
        thread: UnsafeCell<Option<Thread>>,
    }

    // SAFETY: `thread` is written by `adopt` and read by `unpark`, whose
    // contracts exclude each other; `Thread` itself is `Send + Sync`.
    unsafe impl Sync for Parker {}

    impl Parker {
        pub(crate) const fn new() -> Self {
            Self {
                notified: AtomicBool::new(false),
                thread: UnsafeCell::new(None),
            }
        }

        /// Makes the current thread the one that `unpark` wakes.
        ///
        /// # Safety
        ///
        /// No other thread may be in `unpark` or `adopt`, and the caller must
        /// publish this write (release) to whoever calls `unpark` later.
        pub(crate) unsafe fn adopt(&self) {
            // SAFETY: exclusive by this function's contract.
            self.thread
                .with_mut(|slot| unsafe { *slot = Some(thread::current()) });
        }

        /// Sleeps until `unpark` (`true`) or until the time is up (`false`).
        pub(crate) fn park(&self, timeout: Option<Duration>) -> bool {
            // A time-out too large for the clock is no time-out.
            let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            loop {
                // ORDERING: Acquire pairs with the Release store in `unpark`:
                // what the waker wrote before is visible to the woken thread.
                if self.notified.swap(false, Ordering::Acquire) {
                    return true;
                }
                match until {
                    None => thread::park(),
                    Some(until) => {
                        let left = until.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            return false;
                        }
                        thread::park_timeout(left);
                    }
                }
            }
        }

        /// Ends the present or next `park` of the adopting thread.
        ///
        /// # Safety
        ///
        /// The `adopt` of this occupancy must happen before this call, and no
        /// other `adopt` may run until this call's notification is consumed.
        pub(crate) unsafe fn unpark(&self) {
            // SAFETY: no writer, by this function's contract. Cloned first:
            // once `notified` is set the thread may leave and another adopt.
            let thread = self.thread.with(|slot| unsafe { (*slot).clone() });
            // ORDERING: Release pairs with the Acquire swap in `park`.
            self.notified.store(true, Ordering::Release);
            if let Some(thread) = thread {
                thread.unpark();
            }
        }
    }
}

#[cfg(offramp_loom)]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;
    use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU16, AtomicU64, AtomicUsize, Ordering, fence,
    };
    use std::time::Duration;

    /// loom's mutex with `parking_lot`'s signatures.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    /// A word and loom's own notification: few steps, so that models stay small.
    #[derive(Debug)]
    pub(crate) struct Parker {
        word: AtomicUsize,
        changed: loom::sync::Notify,
    }

    const NOTIFIED: usize = 1;
    const EXPIRED: usize = 2;

    impl Parker {
        pub(crate) fn new() -> Self {
            Self {
                word: AtomicUsize::new(0),
                changed: loom::sync::Notify::new(),
            }
        }

        pub(crate) unsafe fn adopt(&self) {}

        pub(crate) fn park(&self, timeout: Option<Duration>) -> bool {
            loop {
                if self.word.fetch_and(!NOTIFIED, Ordering::AcqRel) & NOTIFIED != 0 {
                    return true;
                }
                if timeout.is_some()
                    && self.word.fetch_and(!EXPIRED, Ordering::AcqRel) & EXPIRED != 0
                {
                    return false;
                }
                self.changed.wait();
            }
        }

        pub(crate) unsafe fn unpark(&self) {
            self.word.fetch_or(NOTIFIED, Ordering::AcqRel);
            self.changed.notify();
        }

        /// The time-out of the present or next timed `park` comes now.
        #[cfg(test)]
        pub(crate) fn expire(&self) {
            self.word.fetch_or(EXPIRED, Ordering::AcqRel);
            self.changed.notify();
        }
    }
}
