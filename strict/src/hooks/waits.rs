//! Waiting for another thread: it counts if it takes long, because locks that are held for
//! moments are fine in async code, and most of these calls are for such.

use super::real::missing;
use super::{after, errno, set_errno, take_over};
use crate::poll::taken;
use crate::pressure::Delays;
use libc::{pthread_cond_t, pthread_mutex_t, pthread_t, sem_t, timespec};
use std::ffi::{c_int, c_long, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::time::{Duration, Instant};

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
    // SAFETY: it was current, so it is alive.
    let lock_limit = unsafe { &*poll }.settings.lock_limit;
    let call = |b: c_long, d: *const timespec| {
        // SAFETY: the caller's promise to libc; a time that is ours lives as long as the call.
        unsafe { function(number, a, b, c, d, e, f) }
    };
    let (result, excused) = in_two(b, d, lock_limit / 2, call);
    // SAFETY: it was current.
    unsafe { after(poll, "futex", since, excused) };
    taken::put_back(poll);
    result
}

/// Waits for `first` and then on, with a look at who waits for a CPU in between. What is over
/// sooner is too short for a lock that counts, and costs no look.
///
/// To the caller it is one wait: before it waits again the kernel looks at the futex, and if
/// that has changed it returns at once, as it would have before. A wait that has an end of its
/// own is left alone.
fn in_two(
    operation: c_long,
    until: c_long,
    first: Duration,
    call: impl Fn(c_long, *const timespec) -> c_long,
) -> (c_long, Duration) {
    let own_until = ptr::with_exposed_provenance::<timespec>(until as usize);
    let flags = c_long::from(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    let start = match (operation & !flags) as c_int {
        _ if until != 0 => None,
        libc::FUTEX_WAIT => Some(Duration::ZERO),
        // Until a time, and not for one.
        libc::FUTEX_WAIT_BITSET if operation as c_int & libc::FUTEX_CLOCK_REALTIME != 0 => {
            now(libc::CLOCK_REALTIME)
        }
        libc::FUTEX_WAIT_BITSET => now(libc::CLOCK_MONOTONIC),
        _ => None,
    };
    let Some(end) = start.and_then(|start| start.checked_add(first)) else {
        return (call(operation, own_until), Duration::ZERO);
    };
    let end = timespec {
        tv_sec: end.as_secs() as _,
        tv_nsec: end.subsec_nanos().into(),
    };
    let result = call(operation, &end);
    if result != -1 || errno() != libc::ETIMEDOUT {
        return (result, Duration::ZERO);
    }
    let delays = Delays::now();
    let result = call(operation, own_until);
    let errno = errno();
    let excused = first.saturating_add(delays.elapsed());
    set_errno(errno);
    (result, excused)
}

fn now(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = MaybeUninit::<timespec>::uninit();
    // SAFETY: a place for the answer, read only if there is one.
    let time = unsafe {
        if libc::clock_gettime(clock, time.as_mut_ptr()) != 0 {
            return None;
        }
        time.assume_init()
    };
    Some(Duration::new(
        time.tv_sec.try_into().ok()?,
        time.tv_nsec.try_into().ok()?,
    ))
}
