//! The signal handler, and what it shares with the one that asks.
//!
//! One request at a time. `STATE` is a request's number and its phase:
//!
//! ```text
//!   IDLE ──arm──▶ ARMED ──handler──▶ COPYING ──handler──▶ DONE
//!    ▲              │ give up                               │
//!    └──────────────┴───────────────────────────────────────┘ taken
//! ```
//!
//! | phase   | who may touch `COPY`            |
//! |---------|---------------------------------|
//! | IDLE    | the one that asks, under its lock |
//! | ARMED   | nobody                          |
//! | COPYING | the handler that entered it     |
//! | DONE    | the one that asks               |
//!
//! A signal that comes late finds another number, or another phase, and does nothing.

use super::registers::Registers;
use super::snapshot::{MOST_BYTES, Snapshot, length_to_copy};
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

const IDLE: usize = 0;
const ARMED: usize = 1;
const COPYING: usize = 2;
const DONE: usize = 3;
const PHASE_MASK: usize = 3;
const ONE_REQUEST: usize = 4;

static STATE: AtomicUsize = AtomicUsize::new(IDLE);
static COPY: Shared = Shared(UnsafeCell::new(Copied {
    stack: 0..0,
    registers: Registers {
        address: 0,
        stack_pointer: 0,
        frame_pointer: None,
        link: None,
    },
    length: 0,
    bytes: [0; MOST_BYTES],
}));

struct Shared(UnsafeCell<Copied>);

// SAFETY: by the table above one thread touches it at a time, and `STATE` hands it over.
unsafe impl Sync for Shared {}

struct Copied {
    /// The thread's whole stack, as the one that asks knows it.
    stack: Range<u64>,
    registers: Registers,
    length: usize,
    bytes: [u8; MOST_BYTES],
}

/// A request that the handler of the thread that is signalled next may answer.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request(usize);

/// What became of a request so far.
#[derive(Debug)]
pub(super) enum Answer {
    Waiting,
    Copying,
    Done(Snapshot),
}

impl Request {
    /// For a thread with this stack. `None`: an earlier handler has not finished yet.
    ///
    /// # Safety
    /// One thread at a time makes requests and looks for answers.
    pub(super) unsafe fn arm(stack: &Range<u64>) -> Option<Self> {
        // ORDERING: Acquire, partner: the Release of DONE in `answer`.
        let state = STATE.load(Ordering::Acquire);
        if state & PHASE_MASK == COPYING {
            return None;
        }
        let request = Self((state & !PHASE_MASK).wrapping_add(ONE_REQUEST));
        // SAFETY: IDLE, or DONE and given up: ours, by the caller's contract.
        unsafe { (*COPY.0.get()).stack = stack.clone() };
        // ORDERING: Release, partner: the Acquire in `answer`, for `stack`.
        STATE.store(request.0 | ARMED, Ordering::Release);
        Some(request)
    }

    /// What the signal carries.
    pub(super) fn token(self) -> usize {
        self.0
    }

    /// # Safety
    /// As for `arm`, which was called by this thread.
    pub(super) unsafe fn look(self) -> Answer {
        // ORDERING: Acquire, partner: the Release of DONE in `answer`.
        match STATE.load(Ordering::Acquire) {
            state if state == self.0 | COPYING => Answer::Copying,
            state if state == self.0 | DONE => {
                // SAFETY: DONE: ours.
                let copied = unsafe { &*COPY.0.get() };
                let snapshot = Snapshot {
                    registers: copied.registers,
                    bytes: copied.bytes[..copied.length].to_vec(),
                };
                STATE.store(self.0 | IDLE, Ordering::Relaxed);
                Answer::Done(snapshot)
            }
            _ => Answer::Waiting,
        }
    }

    /// Takes it back; `false`: the handler is at it, or has done it.
    pub(super) fn give_up(self) -> bool {
        // ORDERING: Relaxed: what follows touches nothing that a handler touched.
        STATE
            .compare_exchange(
                self.0 | ARMED,
                self.0 | IDLE,
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .is_ok()
    }
}

/// Answers the request that the signal carries.
///
/// Interrupts this thread anywhere, with any lock held: no allocation, no lock, no
/// thread-local but `errno`, nothing that can panic.
pub(super) extern "C" fn on_signal(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's arguments of a handler with SA_SIGINFO, on this thread alone; of
    // its system calls the handler restores the error number.
    unsafe {
        let error = libc::__errno_location();
        let before = *error;
        let info = &*info;
        if info.si_code == libc::SI_QUEUE && info.si_pid() == libc::getpid() {
            let request = info.si_value().sival_ptr as usize;
            answer(request, &*context.cast::<libc::ucontext_t>());
        }
        *error = before;
    }
}

/// # Safety
/// In the handler of a signal that interrupted `context`.
unsafe fn answer(request: usize, context: &libc::ucontext_t) {
    // ORDERING: Acquire, partner: the Release in `arm`: `stack` is this request's.
    let entered = STATE.compare_exchange(
        request | ARMED,
        request | COPYING,
        Ordering::Acquire,
        Ordering::Relaxed,
    );
    if entered.is_err() {
        return;
    }
    // SAFETY: COPYING, entered by us: ours.
    let copied = unsafe { &mut *COPY.0.get() };
    copied.registers = Registers::interrupted(context);
    let from = copied.registers.stack_pointer;
    let length = length_to_copy(from, &copied.stack);
    if copied.stack.contains(&from) {
        // SAFETY: on this thread's stack all is mapped from the pointer to the end, and
        // `length` is at most that and the buffer's.
        unsafe { copy_own_stack(from, copied.bytes.as_mut_ptr(), length) };
        copied.length = length;
    } else {
        copied.length = read_foreign(from, &mut copied.bytes);
    }
    // ORDERING: Release, partner: the Acquires in `look` and `arm`.
    STATE.store(request | DONE, Ordering::Release);
}

/// Byte by byte, whatever they are: by instructions that neither the compiler nor a
/// sanitizer takes for accesses to somebody's variables.
///
/// # Safety
/// There are `length` bytes at either address, and they do not overlap.
#[cfg(target_arch = "x86_64")]
unsafe fn copy_own_stack(from: u64, to: *mut u8, length: usize) {
    // SAFETY: by the contract; the direction flag is clear in all Rust code.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn copy_own_stack(from: u64, to: *mut u8, length: usize) {
    // SAFETY: by the contract.
    unsafe {
        std::arch::asm!(
            "2:",
            "cbz {length}, 3f",
            "ldrb {byte:w}, [{from}], #1",
            "strb {byte:w}, [{to}], #1",
            "sub {length}, {length}, #1",
            "b 2b",
            "3:",
            length = inout(reg) length => _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            byte = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Another stack than the thread's own: where it ends nobody knows, so the kernel reads.
fn read_foreign(from: u64, into: &mut [u8; MOST_BYTES]) -> usize {
    const PIECE: usize = 4096;
    let mut done = 0;
    while done < MOST_BYTES {
        let at = from.wrapping_add(done as u64);
        let wanted = (PIECE - (at as usize) % PIECE).min(MOST_BYTES - done);
        let local = libc::iovec {
            // SAFETY: `done` is less than the buffer's length.
            iov_base: unsafe { into.as_mut_ptr().add(done) }.cast(),
            iov_len: wanted,
        };
        let remote = libc::iovec {
            iov_base: std::ptr::with_exposed_provenance_mut(at as usize),
            iov_len: wanted,
        };
        // SAFETY: the kernel writes `wanted` bytes into the buffer, which has them, and
        // refuses what it cannot read.
        let got = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
        if got != wanted as isize {
            break;
        }
        done += wanted;
    }
    done
}
