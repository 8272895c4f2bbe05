//! Calls on descriptors of any kind, and on files.

use super::real::missing;
use super::{before, descriptor, take_over};
use crate::note::Argument;
use crate::poll::taken;
use libc::{DIR, dirent64, iovec, off64_t, size_t, ssize_t};
use std::ffi::{c_int, c_uint, c_void};

take_over! {
    at_once {
        fn read(fd: c_int, to: *mut c_void, len: size_t) -> ssize_t = descriptor::waits(fd);
        fn readv(fd: c_int, to: *const iovec, count: c_int) -> ssize_t = descriptor::waits(fd);
        fn pread64(fd: c_int, to: *mut c_void, len: size_t, at: off64_t) -> ssize_t =
            descriptor::waits(fd);
        fn write(fd: c_int, from: *const c_void, len: size_t) -> ssize_t =
            descriptor::waits_to_write(fd);
        fn writev(fd: c_int, from: *const iovec, count: c_int) -> ssize_t =
            descriptor::waits_to_write(fd);
        fn pwrite64(fd: c_int, from: *const c_void, len: size_t, at: off64_t) -> ssize_t =
            descriptor::waits(fd);
        fn readdir64(directory: *mut DIR) -> *mut dirent64 =
            // SAFETY: the caller's promise to libc.
            descriptor::disk(unsafe { libc::dirfd(directory) });
        fn fsync(fd: c_int) -> c_int = descriptor::disk(fd);
        fn fdatasync(fd: c_int) -> c_int = descriptor::disk(fd);
        fn flock(fd: c_int, operation: c_int) -> c_int = locks(fd, operation);
        fn copy_file_range(
            from: c_int,
            from_at: *mut off64_t,
            to: c_int,
            to_at: *mut off64_t,
            len: size_t,
            flags: c_uint,
        ) -> ssize_t = descriptor::waits(from).or_else(|| descriptor::waits(to));
        fn sendfile64(to: c_int, from: c_int, at: *mut off64_t, len: size_t) -> ssize_t =
            descriptor::waits(from).or_else(|| descriptor::waits(to));
    }
    by_hand { fcntl, fcntl64 }
}

fn locks(fd: c_int, operation: c_int) -> Option<Argument> {
    let waits = operation & libc::LOCK_NB == 0 && operation & libc::LOCK_UN == 0;
    waits.then_some(Argument::Descriptor(fd))
}

/// Of all its commands only those that wait for a lock block.
fn controls(fd: c_int, command: c_int) -> Option<Argument> {
    let waits = command == libc::F_SETLKW || command == libc::F_OFD_SETLKW;
    waits.then_some(Argument::Descriptor(fd))
}

macro_rules! controlling {
    ($($name:ident),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(fd: c_int, command: c_int, argument: usize) -> c_int {
            type Function = unsafe extern "C-unwind" fn(c_int, c_int, ...) -> c_int;
            // SAFETY: libc's function of this name has these arguments.
            let Some(function) = (unsafe { real::$name.function::<Function>() }) else {
                return missing();
            };
            let poll = taken::take();
            if !poll.is_null() {
                // SAFETY: it was current.
                unsafe { before(poll, stringify!($name), || controls(fd, command)) };
            }
            // SAFETY: the caller's promise to libc. The last one is an integer, a pointer or
            // nothing, by the command; libc reads as much of it as the command has.
            let result = unsafe { function(fd, command, argument) };
            taken::put_back(poll);
            result
        }
    )*};
}

controlling!(fcntl, fcntl64);
