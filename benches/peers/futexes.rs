//! Counts the futex calls of this process, for every implementation alike.
//!
//! The standard library's locks and parked threads, `parking_lot` and tokio all wait and wake through libc's
//! `syscall`, and an executable's function of that name goes before libc's. Not seen are glibc's own futexes (a
//! `pthread_mutex_t` inside of C code: nothing here has one) and what wakes through an eventfd (the reactor of smol).

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use counting::{count, counted};
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) use elsewhere::{count, counted};

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod counting {
    use std::arch::asm;
    use std::ffi::c_long;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    // ORDERING: Relaxed for both. One is set before there is a second thread, and a sum needs no order.
    static COUNTS: AtomicBool = AtomicBool::new(false);
    static CALLS: AtomicU64 = AtomicU64::new(0);

    /// From here on, for the life of this process: so that only the pass that counts pays for it.
    pub(crate) fn count() {
        COUNTS.store(true, Ordering::Relaxed);
    }

    /// Calls so far; `None` if they are not counted.
    pub(crate) fn counted() -> Option<u64> {
        let counts = COUNTS.load(Ordering::Relaxed);
        counts.then(|| CALLS.load(Ordering::Relaxed))
    }

    /// In the place of libc's variadic function: as many arguments as a system call can have, which on x86-64 come
    /// in registers whether the caller has given them or not.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn syscall(
        number: c_long,
        a: c_long,
        b: c_long,
        c: c_long,
        d: c_long,
        e: c_long,
        f: c_long,
    ) -> c_long {
        if number == libc::SYS_futex && COUNTS.load(Ordering::Relaxed) {
            CALLS.fetch_add(1, Ordering::Relaxed);
        }
        let result: c_long;
        // SAFETY: the caller's promise to libc; rcx and r11 are all that the kernel changes besides.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") number => result,
                in("rdi") a,
                in("rsi") b,
                in("rdx") c,
                in("r10") d,
                in("r8") e,
                in("r9") f,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        // The kernel's way to say an error.
        if (-4095..0).contains(&result) {
            // SAFETY: this thread's own.
            unsafe { *libc::__errno_location() = -result as libc::c_int };
            return -1;
        }
        result
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod elsewhere {
    pub(crate) fn count() {}

    pub(crate) fn counted() -> Option<u64> {
        None
    }
}
