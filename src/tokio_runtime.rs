//! What a call can tell about the tokio runtime it is made on (feature `tokio`).

use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::task::coop;
use tokio::time::Instant;

/// Most units of a task's budget. Today tokio gives each poll 128.
const BUDGET: usize = 1_024;

/// Whether a task's poll is under way on this thread: to block it would block the event loop.
///
/// Only such a poll has a bounded budget; code on the blocking pool, in `block_in_place`, or
/// beside a runtime has none. The units taken to find out are given back.
fn is_polling() -> bool {
    if Handle::try_current().is_err() {
        return false;
    }
    let mut cx = Context::from_waker(Waker::noop());
    let mut taken = Vec::new();
    let is_bounded = loop {
        match coop::poll_proceed(&mut cx) {
            Poll::Ready(unit) if taken.len() < BUDGET => taken.push(unit),
            Poll::Ready(_) => break false,
            Poll::Pending => break true,
        }
    };
    // The last one taken first, so that the budget is what it was.
    while taken.pop().is_some() {}
    is_bounded
}

/// Panics, with advice, where blocking this thread, by `what`, would block tokio's event loop.
#[track_caller]
pub(crate) fn refuse_to_block(what: &str) {
    assert!(
        !is_polling(),
        "`{what}` was called in an async task, where it would block the event loop and every \
         task on it: `.await` instead, or call `{what}` from `spawn_blocking` or \
         `block_in_place`"
    );
}

/// Keeps a paused clock where it is until it is dropped.
///
/// Tokio advances a paused clock when all its tasks wait; they may wait for one of our
/// jobs, which takes real time. It does not while one of its own blocking tasks runs.
#[derive(Debug)]
pub(crate) struct ClockHold {
    _alive: mpsc::Sender<()>,
}

/// The clock before a call was submitted.
pub(crate) struct ClockLook {
    runtime: Handle,
    before: Instant,
}

impl ClockLook {
    /// `None` outside of a runtime.
    pub(crate) fn new() -> Option<Self> {
        let runtime = Handle::try_current().ok()?;
        Some(Self {
            runtime,
            before: Instant::now(),
        })
    }

    /// After the submission. A clock that has not moved meanwhile is paused.
    pub(crate) fn hold_if_paused(self) -> Option<ClockHold> {
        if Instant::now() != self.before {
            return None;
        }
        // Some systems' clocks tick slowly.
        let start = std::time::Instant::now();
        while start.elapsed() < SLOWEST_TICK {
            std::hint::spin_loop();
        }
        if Instant::now() != self.before {
            return None;
        }
        let (alive, dropped) = mpsc::channel();
        drop(self.runtime.spawn_blocking(move || {
            // Ends with an error, when the other end is dropped.
            let _: Result<(), _> = dropped.recv();
        }));
        Some(ClockHold { _alive: alive })
    }
}

const SLOWEST_TICK: std::time::Duration = std::time::Duration::from_micros(2);
