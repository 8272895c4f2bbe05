//! Calls on paths.

use super::real::missing;
use super::{before, descriptor, take_over};
use crate::note::Argument;
use crate::poll::taken;
use libc::{DIR, mode_t, size_t, ssize_t};
use std::ffi::{c_char, c_int, c_uint};

take_over! {
    at_once {
        fn statx(at: c_int, path: *const c_char, flags: c_int, mask: c_uint, status: *mut libc::statx) -> c_int =
            // SAFETY: the caller's promise to libc.
            unsafe { descriptor::path(path) };
        fn opendir(path: *const c_char) -> *mut DIR =
            // SAFETY: as above.
            unsafe { descriptor::path(path) };
        fn mkdir(path: *const c_char, mode: mode_t) -> c_int =
            // SAFETY: as above.
            unsafe { descriptor::path(path) };
        fn rmdir(path: *const c_char) -> c_int =
            // SAFETY: as above.
            unsafe { descriptor::path(path) };
        fn unlink(path: *const c_char) -> c_int =
            // SAFETY: as above.
            unsafe { descriptor::path(path) };
        fn unlinkat(at: c_int, path: *const c_char, flags: c_int) -> c_int =
            // SAFETY: as above.
            unsafe { descriptor::path(path) };
        fn rename(path: *const c_char, to: *const c_char) -> c_int =
            // SAFETY: as above.
            unsafe { descriptor::path(path) };
        fn linkat(at: c_int, path: *const c_char, to_at: c_int, to: *const c_char, flags: c_int) -> c_int =
            // SAFETY: as above.
            unsafe { descriptor::path(path) };
        fn symlink(target: *const c_char, path: *const c_char) -> c_int =
            // SAFETY: as above.
            unsafe { descriptor::path(path) };
        fn readlink(path: *const c_char, target: *mut c_char, len: size_t) -> ssize_t =
            // SAFETY: as above.
            unsafe { descriptor::path(path) };
        fn realpath(path: *const c_char, target: *mut c_char) -> *mut c_char =
            // SAFETY: as above.
            unsafe { descriptor::path(path) };
    }
    by_hand { open, open64, openat, openat64 }
}

/// # Safety
///
/// The path is null or a string of C's.
unsafe fn opens(path: *const c_char, flags: c_int) -> Option<Argument> {
    // Who asks for a descriptor that does not block knows what it is of: a pipe, a terminal.
    if flags & libc::O_NONBLOCK != 0 {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { descriptor::path(path) }
}

/// Whether the mode, which is variadic in C, was passed.
fn has_mode(flags: c_int) -> bool {
    flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE
}

macro_rules! opening {
    ($($name:ident($($at:ident)?);)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(
            $($at: c_int,)?
            path: *const c_char,
            flags: c_int,
            mode: mode_t,
        ) -> c_int {
            opening!(@type $($at)?);
            // SAFETY: libc's function of this name has these arguments.
            let Some(function) = (unsafe { real::$name.function::<Function>() }) else {
                return missing();
            };
            let poll = taken::take();
            if !poll.is_null() {
                // SAFETY: it was current; the path is as the caller would give it to libc.
                unsafe { before(poll, stringify!($name), || opens(path, flags)) };
            }
            let result = if has_mode(flags) {
                // SAFETY: the caller's promise to libc.
                unsafe { function($($at,)? path, flags, mode) }
            } else {
                // SAFETY: as above.
                unsafe { function($($at,)? path, flags) }
            };
            taken::put_back(poll);
            result
        }
    )*};
    (@type) => { type Function = unsafe extern "C-unwind" fn(*const c_char, c_int, ...) -> c_int; };
    (@type $at:ident) => {
        type Function = unsafe extern "C-unwind" fn(c_int, *const c_char, c_int, ...) -> c_int;
    };
}

opening! {
    open();
    open64();
    openat(at);
    openat64(at);
}
