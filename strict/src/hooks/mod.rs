//! Functions of libc, taken over.
//!
//! A symbol that the executable defines comes before libc's own of the same name, for Rust's
//! standard library as for C. Each of ours calls the one behind it, which `dlsym` finds, and
//! notes the call if this thread is in a strict poll. It never fails in libc's place, and
//! never panics: it is C that called it.
//!
//! While it notes, and while the real function runs, no poll is current (`poll::taken`):
//! what those call is not the user's doing. `errno` is left as the real function leaves it.
//!
//! C's variadic functions are defined with the arguments that they can have. On the 64-bit
//! Linux targets integers are passed to both kinds in the same places; what the caller has
//! not passed is read there, but not used.

mod descriptor;
mod files;
mod paths;
mod processes;
mod real;
mod sleeps;
mod sockets;
mod waits;

use crate::calls::Waited;
use crate::note::{Argument, Note};
use crate::poll::Poll;
use real::Real;
use std::ffi::c_int;
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

fn all() -> impl Iterator<Item = &'static Real> {
    let groups = [
        sleeps::ALL,
        paths::ALL,
        files::ALL,
        sockets::ALL,
        processes::ALL,
        waits::ALL,
    ];
    groups.into_iter().flatten().copied()
}

/// The names of the functions that are taken over here.
pub(crate) fn functions() -> impl Iterator<Item = &'static str> {
    all().map(Real::name)
}

/// Looks for the real functions, all at once: later it could be within an allocator.
pub(crate) fn find_all() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for real in all() {
            let _ = real.address();
        }
    });
}

pub(crate) fn errno() -> c_int {
    // SAFETY: the thread's own.
    unsafe { *libc::__errno_location() }
}

pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: the thread's own.
    unsafe { *libc::__errno_location() = errno }
}

/// Notes a call that is about to be made, if `blocks` says which argument tells most of it.
///
/// # Safety
///
/// `poll` is current on this thread, or was so until it was taken. A text is null or a string
/// of C's.
unsafe fn before(
    poll: *const Poll,
    function: &'static str,
    blocks: impl FnOnce() -> Option<Argument>,
) {
    let errno = errno();
    // SAFETY: a current poll is alive, and so is one that was taken here.
    let poll = unsafe { &*poll };
    if is_looked_at(poll) {
        if let Some(argument) = blocks() {
            // SAFETY: the caller's promise.
            unsafe { note(poll, function, argument, None) };
        }
    }
    set_errno(errno);
}

/// Notes a call that waited since `since`; `excused` is what does not count of that, should it
/// be a lock.
///
/// # Safety
///
/// As for `before`.
unsafe fn after(poll: *const Poll, function: &'static str, since: Instant, excused: Duration) {
    let total = since.elapsed();
    let errno = errno();
    // SAFETY: as above.
    let poll = unsafe { &*poll };
    let least = poll.settings.wait_limit.min(poll.settings.lock_limit);
    if total >= least && is_looked_at(poll) {
        let blocked = total.saturating_sub(excused);
        let waited = Waited { blocked, total };
        // SAFETY: no text.
        unsafe { note(poll, function, Argument::None, Some(waited)) };
    }
    set_errno(errno);
}

/// A panic prints, and looks for the names of its stack in files: that is not the poll's, and
/// it fails anyway.
fn is_looked_at(poll: &Poll) -> bool {
    !poll.is_allowed() && !thread::panicking()
}

/// # Safety
///
/// As for `before`.
unsafe fn note(poll: &Poll, function: &'static str, argument: Argument, waited: Option<Waited>) {
    if let Ok(mut calls) = poll.calls.try_borrow_mut() {
        // SAFETY: the caller's promise.
        let note = unsafe { Note::of(argument) };
        calls.add(function, note, waited);
    }
}

/// Defines functions of libc's, and `ALL` of them.
///
/// `at_once`: the call blocks if the expression gives an argument. `waits`: it does if it
/// takes long. `by_hand`: it is defined elsewhere.
macro_rules! take_over {
    (
        $(at_once { $(fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $ret:ty = $blocks:expr;)* })?
        $(waits { $(fn $wait:ident($($warg:ident: $wtype:ty),* $(,)?) -> $wret:ty;)* })?
        $(by_hand { $($hand:ident),* $(,)? })?
    ) => {
        #[allow(non_upper_case_globals)]
        mod real {
            use $crate::hooks::real::Real;
            $($(pub(super) static $name: Real = Real::new(stringify!($name));)*)?
            $($(pub(super) static $wait: Real = Real::new(stringify!($wait));)*)?
            $($(pub(super) static $hand: Real = Real::new(stringify!($hand));)*)?
        }

        pub(super) static ALL: &[&$crate::hooks::real::Real] = &[
            $($(&real::$name,)*)?
            $($(&real::$wait,)*)?
            $($(&real::$hand,)*)?
        ];

        $($(
            #[unsafe(no_mangle)]
            unsafe extern "C-unwind" fn $name($($arg: $type),*) -> $ret {
                type Function = unsafe extern "C-unwind" fn($($type),*) -> $ret;
                // SAFETY: libc's function of this name has these arguments.
                let Some(function) = (unsafe { real::$name.function::<Function>() }) else {
                    return $crate::hooks::real::missing();
                };
                let poll = $crate::poll::taken::take();
                if !poll.is_null() {
                    let blocks = || $blocks;
                    // SAFETY: it was current; strings are as the caller would give them to libc.
                    unsafe { $crate::hooks::before(poll, stringify!($name), blocks) };
                }
                // SAFETY: the caller's promise to libc.
                let result = unsafe { function($($arg),*) };
                $crate::poll::taken::put_back(poll);
                result
            }
        )*)?

        $($(
            #[unsafe(no_mangle)]
            unsafe extern "C-unwind" fn $wait($($warg: $wtype),*) -> $wret {
                type Function = unsafe extern "C-unwind" fn($($wtype),*) -> $wret;
                // SAFETY: libc's function of this name has these arguments.
                let Some(function) = (unsafe { real::$wait.function::<Function>() }) else {
                    return $crate::hooks::real::missing();
                };
                let poll = $crate::poll::taken::take();
                if poll.is_null() {
                    // SAFETY: the caller's promise to libc.
                    return unsafe { function($($warg),*) };
                }
                let since = std::time::Instant::now();
                // SAFETY: as above.
                let result = unsafe { function($($warg),*) };
                // SAFETY: it was current.
                unsafe { $crate::hooks::after(poll, stringify!($wait), since, std::time::Duration::ZERO) };
                $crate::poll::taken::put_back(poll);
                result
            }
        )*)?
    };
}
use take_over;
