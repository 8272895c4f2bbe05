//! Which of a poll's blocking calls count.
//!
//! Names are looked up here, at the poll's end: within the call nothing may allocate.

use crate::calls::{Call, Calls};
use crate::options::Settings;
use crate::stack::{self, Frame};

/// The standard library and what stands in for its locks: never where a call is from.
const LIBRARY: [&str; 6] = [
    "std::",
    "core::",
    "alloc::",
    "parking_lot::",
    "parking_lot_core::",
    "lock_api::",
];

/// Runtimes and their parts. Their own locks are held for moments.
const RUNTIME: [&str; 22] = [
    "async_channel::",
    "async_executor::",
    "async_io::",
    "async_lock::",
    "async_task::",
    "blocking::",
    "concurrent_queue::",
    "crossbeam_",
    "event_listener::",
    "flume::",
    "futures_channel::",
    "futures_executor::",
    "futures_util::",
    "h2::",
    "hyper::",
    "mio::",
    "offramp::",
    "polling::",
    "rayon_core::",
    "smol::",
    "tokio::",
    "tokio_util::",
];

/// A blocking call that nothing allows.
pub(crate) struct Violation<'a> {
    pub(crate) call: &'a Call,
    pub(crate) frames: Vec<Frame>,
    /// The index of the first of the user's functions.
    pub(crate) user: Option<usize>,
}

/// Those among `calls`, in the order in which they were made first.
pub(crate) fn among<'a>(calls: &'a Calls, settings: &Settings) -> Vec<Violation<'a>> {
    let calls = calls.as_slice().iter();
    calls.filter_map(|call| judge(call, settings)).collect()
}

fn judge<'a>(call: &'a Call, settings: &Settings) -> Option<Violation<'a>> {
    let least = settings.wait_limit.min(settings.lock_limit);
    if call.waited.is_some_and(|waited| waited.total < least) {
        return None;
    }
    let frames = within_poll(stack::resolve(call.stack()), call.function);
    let allowed = settings.allowed.iter();
    let is_allowed = allowed
        .map(|prefix| [&**prefix])
        .any(|prefix| frames.iter().any(|frame| frame.is_of(&prefix)));
    if is_allowed {
        return None;
    }
    if let Some(waited) = call.waited {
        let counts = match waited_for(&frames) {
            WaitedFor::Thread => waited.total >= settings.wait_limit,
            WaitedFor::Lock => {
                waited.total >= settings.lock_limit && waited.blocked >= settings.lock_limit / 2
            }
            WaitedFor::RuntimesLock => false,
        };
        if !counts {
            return None;
        }
    }
    let user = users(&frames);
    Some(Violation { call, frames, user })
}

/// The index of the first function that is neither the library's nor a runtime's. In a
/// runtime's own tests those are the user's.
fn users(frames: &[Frame]) -> Option<usize> {
    let is_outside = |frame: &Frame| is_rust(frame) && !frame.is_of(&LIBRARY);
    let mut outside = frames
        .iter()
        .enumerate()
        .filter(|(_, frame)| is_outside(frame));
    let first = outside.clone().next();
    let user = outside.find(|(_, frame)| !frame.is_of(&RUNTIME)).or(first);
    user.map(|(index, _)| index)
}

/// A path of C's has no colons, and an address neither.
fn is_rust(frame: &Frame) -> bool {
    frame.path().contains("::")
}

/// Cuts off our own functions at both ends.
fn within_poll(mut frames: Vec<Frame>, function: &str) -> Vec<Frame> {
    let is_outer = |frame: &Frame| frame.is_of(&["offramp_strict::watched::"]);
    if let Some(end) = frames.iter().position(is_outer) {
        frames.truncate(end);
    }
    let is_inner = |frame: &Frame| {
        frame.is_of(&["offramp_strict::", "backtrace::"])
            || frame.name == function
            || frame.name == "syscall"
    };
    let inner = frames.iter().take_while(|frame| is_inner(frame)).count();
    frames.drain(..inner);
    frames
}

#[derive(Debug, PartialEq)]
enum WaitedFor {
    Thread,
    Lock,
    RuntimesLock,
}

/// By the names between libc and the one who called the library. Without names it is a lock,
/// which has the higher limit.
fn waited_for(frames: &[Frame]) -> WaitedFor {
    let caller = frames
        .iter()
        .position(|frame| is_rust(frame) && !frame.is_of(&LIBRARY));
    let library = &frames[..caller.unwrap_or(frames.len())];
    let names = |parts: &[&str]| {
        let in_name = |frame: &Frame| parts.iter().any(|part| frame.name.contains(part));
        library.iter().any(in_name)
    };
    let is_lock = !names(&["ondvar", "::join"])
        && (names(&[
            "mutex",
            "Mutex",
            "rwlock",
            "RwLock",
            "::once::",
            "lock_slow",
        ]) || !library.iter().any(is_rust));
    match caller {
        _ if !is_lock => WaitedFor::Thread,
        Some(caller) if frames[caller].is_of(&RUNTIME) => WaitedFor::RuntimesLock,
        _ => WaitedFor::Lock,
    }
}

#[cfg(test)]
#[path = "violation_tests.rs"]
mod tests;
