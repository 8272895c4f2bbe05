//! Which file descriptors block.

use crate::note::Argument;
use libc::{mode_t, stat};
use std::ffi::{CStr, c_char, c_int};
use std::mem::MaybeUninit;

/// File systems that the kernel makes up as they are read.
const IN_MEMORY: [libc::c_long; 4] = [
    libc::PROC_SUPER_MAGIC,
    0x6265_6572, // sysfs
    0x6367_7270, // cgroup2
    0x0027_e0eb, // cgroup
];

/// A call on `fd` that waits until the other side, or a disk, is ready.
pub(super) fn waits(fd: c_int) -> Option<Argument> {
    // SAFETY: it takes no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags == -1 {
        // It fails at once.
        return None;
    }
    let blocks = match kind(fd) {
        // The flag changes nothing for these.
        libc::S_IFREG => !is_in_memory(fd),
        libc::S_IFBLK => true,
        _ => flags & libc::O_NONBLOCK == 0,
    };
    blocks.then_some(Argument::Descriptor(fd))
}

/// A call on a disk, whatever the descriptor's flags are.
pub(super) fn disk(fd: c_int) -> Option<Argument> {
    (!is_in_memory(fd)).then_some(Argument::Descriptor(fd))
}

/// A write to it is not looked at on a terminal, or where the test's output goes.
pub(super) fn waits_to_write(fd: c_int) -> Option<Argument> {
    if fd == libc::STDOUT_FILENO || fd == libc::STDERR_FILENO {
        return None;
    }
    waits(fd)
}

fn kind(fd: c_int) -> mode_t {
    let mut status = MaybeUninit::<stat>::uninit();
    // SAFETY: a place for the answer, read only if there is one.
    unsafe {
        match libc::fstat(fd, status.as_mut_ptr()) {
            0 => status.assume_init().st_mode & libc::S_IFMT,
            _ => 0,
        }
    }
}

fn is_in_memory(fd: c_int) -> bool {
    let mut status = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: as above.
    unsafe {
        libc::fstatfs(fd, status.as_mut_ptr()) == 0
            && IN_MEMORY.contains(&status.assume_init().f_type)
    }
}

/// A call that looks for `path`.
///
/// # Safety
///
/// It is null or a string of C's.
pub(super) unsafe fn path(path: *const c_char) -> Option<Argument> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    // An empty one is the descriptor beside it.
    let of_kernel = [&b"/proc/"[..], b"/sys/"];
    let is_of_kernel = of_kernel
        .iter()
        .any(|of_kernel| name.starts_with(of_kernel));
    (!name.is_empty() && !is_of_kernel).then_some(Argument::Text(path))
}
