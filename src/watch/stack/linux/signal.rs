//! Asking a thread that runs to copy its stack.

use super::handler::{self, Answer, Request};
use super::snapshot::Snapshot;
use super::target::WENT_ON;
use std::ffi::c_int;
use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread has for its answer: one that runs is interrupted within microseconds,
/// one that waits for a CPU within some slices of the scheduler.
const ANSWERS_WITHIN: Duration = Duration::from_millis(100);

/// How long a handler that has begun is waited for, beyond that. It copies for microseconds,
/// if it gets a CPU.
const FINISHES_WITHIN: Duration = Duration::from_secs(1);

/// The number of the signal that has our handler; 0: none has.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Requests go one after the other.
static ASKING: Mutex<()> = Mutex::new(());

/// Which signal is taken if nothing else is said. In the middle of the real-time ones:
/// debuggers, runtimes and C libraries take theirs from either end.
pub(super) fn default_signal() -> c_int {
    libc::SIGRTMIN() + (libc::SIGRTMAX() - libc::SIGRTMIN()) / 2 + 4
}

/// Takes `signal`, for the rest of the process's life. The error says why not.
pub(super) fn take(signal: c_int) -> Result<(), &'static str> {
    if !(libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal) {
        return Err("it is no real-time signal");
    }
    let _asking = ASKING.lock().unwrap_or_else(|e| e.into_inner());
    match (current_handler(signal), SIGNAL.load(Ordering::Relaxed)) {
        (Some(handler), ours) if ours == signal && handler == our_handler() => return Ok(()),
        (Some(libc::SIG_DFL), 0) => {}
        (Some(libc::SIG_DFL), _) => return Err("another one was taken before"),
        _ => return Err("it has a handler already"),
    }
    // SAFETY: all zeroes is an action without flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = our_handler();
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the handler may interrupt any code, and the action is whole.
    let installed = unsafe {
        libc::sigfillset(&mut action.sa_mask);
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    if installed != 0 {
        return Err("the system refused the handler");
    }
    SIGNAL.store(signal, Ordering::Relaxed);
    Ok(())
}

/// The one that is taken.
pub(super) fn taken() -> Option<c_int> {
    Some(SIGNAL.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

fn our_handler() -> libc::sighandler_t {
    handler::on_signal as extern "C" fn(_, _, _) as usize
}

fn current_handler(signal: c_int) -> Option<libc::sighandler_t> {
    // SAFETY: all zeroes is an action, which the call overwrites; it changes nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let asked = libc::sigaction(signal, std::ptr::null(), &mut action);
        (asked == 0).then_some(action.sa_sigaction)
    }
}

/// A copy by `thread` itself. `may_signal` is asked last, right before the signal.
pub(super) fn ask(
    thread: c_int,
    stack: &Range<u64>,
    may_signal: impl FnOnce() -> bool,
) -> Result<Snapshot, &'static str> {
    let Some(signal) = taken() else {
        return Err("no signal is used");
    };
    let _asking = ASKING.lock().unwrap_or_else(|e| e.into_inner());
    if current_handler(signal) != Some(our_handler()) {
        return Err("somebody else has taken the signal");
    }
    // SAFETY: here and below: `ASKING` is held.
    let Some(request) = (unsafe { Request::arm(stack) }) else {
        return Err("an earlier request is still being answered");
    };
    if !may_signal() {
        request.give_up();
        return Err(WENT_ON);
    }
    if send(thread, signal, request.token()).is_err() {
        request.give_up();
        return Err("the system refused the signal");
    }
    let asked = Instant::now();
    let mut pause = Duration::from_micros(20);
    loop {
        // Asleep, so that on a full machine there is a CPU to answer with.
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(2));
        // SAFETY: as above.
        match unsafe { request.look() } {
            Answer::Done(snapshot) => return Ok(snapshot),
            Answer::Waiting if asked.elapsed() > ANSWERS_WITHIN => {
                if request.give_up() {
                    return Err("it did not answer the signal");
                }
            }
            Answer::Copying if asked.elapsed() > ANSWERS_WITHIN + FINISHES_WITHIN => {
                return Err("it did not finish its answer");
            }
            Answer::Waiting | Answer::Copying => {}
        }
    }
}

/// To that thread of this process alone, with `token` beside it.
fn send(thread: c_int, signal: c_int, token: usize) -> io::Result<()> {
    /// What the kernel reads of a `siginfo_t` that is sent by a process.
    #[repr(C)]
    struct Sent {
        signal: c_int,
        error: c_int,
        code: c_int,
        padding: c_int,
        process: libc::pid_t,
        user: libc::uid_t,
        value: usize,
    }
    const {
        assert!(size_of::<Sent>() <= size_of::<libc::siginfo_t>());
        assert!(align_of::<Sent>() <= align_of::<libc::siginfo_t>());
    }
    // SAFETY: all zeroes is a `siginfo_t`, and there is room for ours in it; the kernel reads
    // it during the call, and checks thread and signal.
    let sent = unsafe {
        let process = libc::getpid();
        let mut info: libc::siginfo_t = std::mem::zeroed();
        (&raw mut info).cast::<Sent>().write(Sent {
            signal,
            error: 0,
            code: libc::SI_QUEUE,
            padding: 0,
            process,
            user: libc::getuid(),
            value: token,
        });
        let call = libc::SYS_rt_tgsigqueueinfo;
        libc::syscall(call, process, thread, signal, &raw const info)
    };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
