//! Sleeping.

use super::take_over;
use crate::note::Argument;
use libc::{clockid_t, timespec, useconds_t};
use std::ffi::{c_int, c_uint};
use std::time::Duration;

fn sleeps(time: Duration) -> Option<Argument> {
    (!time.is_zero()).then_some(Argument::Time(time))
}

/// # Safety
///
/// Null, or a time that can be read.
unsafe fn length(time: *const timespec) -> Option<Argument> {
    // SAFETY: the caller's promise.
    let time = unsafe { time.as_ref() }?;
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    sleeps(Duration::from_secs(seconds) + Duration::from_nanos(nanos.into()))
}

/// # Safety
///
/// As for `length`.
unsafe fn on_clock(flags: c_int, time: *const timespec) -> Option<Argument> {
    if flags & libc::TIMER_ABSTIME != 0 {
        return Some(Argument::None);
    }
    // SAFETY: the caller's promise.
    unsafe { length(time) }
}

take_over! {
    at_once {
        fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int =
            // SAFETY: the caller's promise to libc.
            unsafe { length(time) };
        fn clock_nanosleep(clock: clockid_t, flags: c_int, time: *const timespec, left: *mut timespec) -> c_int =
            // SAFETY: the caller's promise to libc.
            unsafe { on_clock(flags, time) };
        fn usleep(micros: useconds_t) -> c_int = sleeps(Duration::from_micros(micros.into()));
        fn sleep(seconds: c_uint) -> c_uint = sleeps(Duration::from_secs(seconds.into()));
    }
}
