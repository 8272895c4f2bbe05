//! Interrupting a call from outside: the hook hits its own call, or nothing.
//!
//! A worker takes each call through these states, and an interrupter enters `HOOK` for the
//! time of one hook, so what the worker does after `end` no hook can hit.
//!
//! ```text
//!   NEW ──begin──▶ RUNNING ──end──▶ OVER      (NEW ──end──▶ OVER if it never begins)
//!                   ▲  │ try_enter   ▲
//!             leave │  ▼             │ leave
//!                   HOOK ──end──▶ ENDING     (the worker waits)
//! ```

use crate::sync::{AtomicUsize, Ordering, Parker, planted};

const NEW: usize = 0;
const RUNNING: usize = 1;
const HOOK: usize = 2;
const ENDING: usize = 3;
const OVER: usize = 4;

/// One call that can be interrupted.
#[derive(Debug)]
pub(crate) struct Interruptible {
    state: AtomicUsize,
    worker: Parker,
}

/// What an interrupter may do.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Call the hook, then `leave`.
    Hit,
    /// Come again: it has not begun, or somebody else is at it.
    Later,
    /// It has ended.
    Over,
}

impl Interruptible {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicUsize::new(NEW),
            worker: Parker::new(),
        }
    }

    /// The call begins on this thread. Called once.
    pub(crate) fn begin(&self) {
        // SAFETY: nobody unparks before the state says RUNNING, and this is called once.
        unsafe { self.worker.adopt() };
        // ORDERING: Release, partner: the Acquire in `try_enter`, for `worker`.
        self.state.store(RUNNING, Ordering::Release);
    }

    /// The call has ended on this thread, or will not begin; waits for a hook that runs.
    /// Called once, last.
    pub(crate) fn end(&self) {
        loop {
            // ORDERING: Acquire, here and below, partner: the Release in `leave`: what the
            // hook did comes before the next call.
            let over =
                self.state
                    .compare_exchange(RUNNING, OVER, Ordering::Acquire, Ordering::Relaxed);
            if over.is_ok() || planted("interrupt: over amidst the hook") {
                return;
            }
            if over == Err(NEW) {
                return self.state.store(OVER, Ordering::Relaxed);
            }
            let ending =
                self.state
                    .compare_exchange(HOOK, ENDING, Ordering::Relaxed, Ordering::Relaxed);
            if ending.is_ok() {
                self.worker.park(None);
                debug_assert_eq!(self.state.load(Ordering::Acquire), OVER);
                return;
            }
        }
    }

    pub(crate) fn try_enter(&self) -> Entry {
        // ORDERING: Acquire, partner: the Release in `begin`.
        let entered =
            self.state
                .compare_exchange(RUNNING, HOOK, Ordering::Acquire, Ordering::Relaxed);
        match entered {
            Ok(_) => Entry::Hit,
            Err(OVER) => Entry::Over,
            Err(_) => Entry::Later,
        }
    }

    /// The hook has returned.
    pub(crate) fn leave(&self) {
        // ORDERING: Release, here and below, partner: the Acquire in `end`.
        let back = self
            .state
            .compare_exchange(HOOK, RUNNING, Ordering::Release, Ordering::Relaxed);
        if back.is_err() && !planted("interrupt: the worker left asleep") {
            self.state.store(OVER, Ordering::Release);
            // SAFETY: `begin` came before `try_enter`, and only one can be in `HOOK`.
            unsafe { self.worker.unpark() };
        }
    }
}
