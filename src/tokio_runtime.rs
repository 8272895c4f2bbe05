//! What a call can tell about the tokio runtime it is made on (feature `tokio`).

use std::any::TypeId;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::task::coop;
use tokio::time::Instant;

/// More units than a task's budget has: tokio gives each poll 128, and counts them in a byte.
const BUDGET: usize = 256;

/// Whether a task's poll is under way on this thread: to block it would block the event loop.
///
/// Only such a poll has a bounded budget; code on the blocking pool, in `block_in_place`, in
/// one of our jobs, or beside a runtime has none. The units taken to find out are given back.
fn is_polling() -> bool {
    if Handle::try_current().is_err() {
        return false;
    }
    let mut cx = Context::from_waker(Waker::noop());
    // Dropped, it makes the budget what it was before.
    let Poll::Ready(_first) = coop::poll_proceed(&mut cx) else {
        return true;
    };
    (1..BUDGET).any(|_| match coop::poll_proceed(&mut cx) {
        Poll::Ready(unit) => {
            unit.made_progress();
            false
        }
        Poll::Pending => true,
    })
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

/// Runs `f` as code that may block, though a task's poll may be under way: the job is not
/// that task's.
pub(crate) fn run_blocking(f: impl FnOnce()) {
    let mut f = Some(f);
    let run = poll_fn(|_| {
        if let Some(f) = f.take() {
            f();
        }
        Poll::Ready(())
    });
    let _ready = pin!(coop::unconstrained(run)).poll(&mut Context::from_waker(Waker::noop()));
}

/// Whether tokio's clock can be paused at all: only with its feature `test-util`, which programs
/// have in their tests, as a rule. Here it is known by the function that it adds.
#[inline]
fn can_pause() -> bool {
    fn is_there<R: 'static>(_: fn() -> R) -> bool {
        TypeId::of::<R>() == TypeId::of::<()>()
    }
    // Names from here come before those outside of this function, if they are there.
    #[allow(
        unused_imports,
        clippy::wildcard_imports,
        reason = "`pause` may not be there"
    )]
    use tokio::time::*;
    is_there(pause)
}

/// What [`can_pause`] finds where tokio has none of its own.
#[allow(dead_code, reason = "unused where tokio has one")]
fn pause() -> bool {
    false
}

/// The clock before a call was submitted.
pub(crate) struct ClockLook {
    /// `None`: it cannot be paused, and two readings for each call are saved.
    before: Option<Instant>,
}

impl ClockLook {
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            before: can_pause().then(Instant::now),
        }
    }

    /// After the submission. A clock that has not moved meanwhile is paused.
    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        self.before.is_some_and(Self::stands_still)
    }

    fn stands_still(before: Instant) -> bool {
        if Instant::now() != before {
            return false;
        }
        // Some systems' clocks tick slowly.
        let start = std::time::Instant::now();
        while start.elapsed() < SLOWEST_TICK {
            std::hint::spin_loop();
        }
        Instant::now() == before
    }
}

/// Keeps a paused clock where it is until it is dropped.
///
/// Tokio advances a paused clock when all its tasks wait; they may wait for one of our
/// jobs, which takes real time. It does not while one of its own blocking tasks runs.
#[derive(Debug)]
pub(crate) struct ClockHold {
    _alive: mpsc::Sender<()>,
}

impl ClockHold {
    /// `None` outside of a runtime.
    pub(crate) fn new() -> Option<Self> {
        let runtime = Handle::try_current().ok()?;
        let (alive, dropped) = mpsc::channel();
        drop(runtime.spawn_blocking(move || {
            // Ends with an error, when the other end is dropped.
            let _: Result<(), _> = dropped.recv();
        }));
        Some(Self { _alive: alive })
    }
}

const SLOWEST_TICK: std::time::Duration = std::time::Duration::from_micros(2);
