//! Waiting for another thread: it counts if it takes long, because locks that are held for
//! moments are fine in async code, and most of these calls are for such.

use super::real::missing;
use super::{after, take_over};
use crate::poll::taken;
use libc::{pthread_cond_t, pthread_mutex_t, pthread_t, sem_t, timespec};
use std::ffi::{c_int, c_long, c_void};
use std::time::Instant;

take_over! {
    waits {
        fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int;
        fn pthread_cond_wait(condition: *mut pthread_cond_t, mutex: *mut pthread_mutex_t) -> c_int;
        fn pthread_cond_timedwait(
            condition: *mut pthread_cond_t,
            mutex: *mut pthread_mutex_t,
            until: *const timespec,
        ) -> c_int;
        fn sem_wait(semaphore: *mut sem_t) -> c_int;
        fn sem_timedwait(semaphore: *mut sem_t, until: *const timespec) -> c_int;
    }
    by_hand { syscall }
}

/// The operations of a futex that wait: those of Rust's locks and of C's.
fn is_wait(number: c_long, operation: c_long) -> bool {
    let flags = c_long::from(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    let waits = [
        libc::FUTEX_WAIT,
        libc::FUTEX_WAIT_BITSET,
        libc::FUTEX_WAIT_REQUEUE_PI,
        libc::FUTEX_LOCK_PI,
    ];
    number == libc::SYS_futex && waits.map(c_long::from).contains(&(operation & !flags))
}

/// The standard library's locks, channels and parked threads wait by it. Other system calls
/// go through.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    type Function = unsafe extern "C-unwind" fn(c_long, ...) -> c_long;
    // SAFETY: libc's function of this name has these arguments.
    let Some(function) = (unsafe { real::syscall.function::<Function>() }) else {
        return missing();
    };
    if !is_wait(number, b) {
        // SAFETY: the caller's promise to libc; the kernel reads as many as the call has.
        return unsafe { function(number, a, b, c, d, e, f) };
    }
    let poll = taken::take();
    if poll.is_null() {
        // SAFETY: as above.
        return unsafe { function(number, a, b, c, d, e, f) };
    }
    let since = Instant::now();
    // SAFETY: as above.
    let result = unsafe { function(number, a, b, c, d, e, f) };
    // SAFETY: it was current.
    unsafe { after(poll, "futex", since) };
    taken::put_back(poll);
    result
}
