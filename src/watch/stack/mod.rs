//! What another thread is doing right now: the call that it waits in, and its stack.
//!
//! A thread makes a [`Target`] of itself; any other thread may then ask. The way of a stack:
//!
//! ```text
//!   waits in a system call              runs on a CPU
//!   registers: procfs `syscall`         a signal, whose handler copies
//!   stack: bytes, by the kernel         registers and stack bytes
//!              └───────────┬───────────────────┘
//!                 Snapshot: registers and bytes         linux/snapshot.rs
//!                          ▼ unwound from the copy      linux/unwind.rs, caller.rs, modules.rs
//!                 addresses, up to the thread's root
//!                          ▼ on the reporter's thread   symbols.rs
//!                 functions, files, lines
//! ```
//!
//! Rules that everything here keeps:
//!
//! - No thread that waits in a system call is ever signalled: a signal cuts calls with a
//!   time-out short, SA_RESTART or not.
//! - The handler copies and publishes. It unwinds nothing, allocates nothing, takes no lock.
//! - Memory of another thread is read by the kernel alone, into a copy: a wrong address is
//!   an error there, and no crash.
//! - What cannot be done here is said ([`Mode`]), and the rest still works.

#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
#[path = "linux/mod.rs"]
mod imp;
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
#[path = "elsewhere.rs"]
mod imp;
mod types;

pub(crate) use self::imp::{Mode, Target, mode, mode_with, symbolize};
pub(crate) use self::types::{CallDetail, Captured, Doing, How, Resolved, SystemCall, Times, Wait};
