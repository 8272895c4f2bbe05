//! A thread's mark: which poll it is in, for a watcher that looks from another thread.
//!
//! The polling thread writes two words at a poll's begin and one at its end. It reads no
//! clock, takes no lock and waits for nobody. The watcher keeps the time: it looks every
//! now and then, and the same odd turn seen twice is a poll that has lasted from the first
//! look to the second.
//!
//! | cell | written by | read by the watcher |
//! |---|---|---|
//! | `turn` | its thread: odd from an outermost poll's begin to its end; each poll has its own | first, and again after all that should belong to that poll |
//! | `task` | its thread, before the turn becomes odd; by a nested poll while it is odd, and put back | between the two looks at `turn` |
//! | `span` | its thread: odd while its event loop is at work (a hook of the runtime's) | as `turn` |
//! | `pauses` | its thread: counts what may block inside of polls, and ends of it | never |
//! | `is_alive` | its thread's last act, under the lock | under the lock, held for as long as the thread is looked at |
//!
//! A nested poll changes `task` alone, so the turn goes on: a poll that polls a thousand
//! others is one stay on the event loop. What is read between two looks at the same turn
//! belongs to that turn, because a later poll's `task` comes after the turn's end:
//!
//! ```text
//!   thread:   turn = 1 │ .. │ turn = 2 │ task = b (release)  │ turn = 3
//!   watcher:  turn: 1  │ task: b (acquire) │ turn: 2 or later, so not the same
//! ```

use crate::sync::{AtomicPtr, AtomicU64, Mutex, Ordering, planted};
use std::ptr;

/// One thread's. On cache lines of its own, as two of them are fetched together.
#[repr(align(128))]
pub(crate) struct Mark<T: 'static> {
    turn: AtomicU64,
    task: AtomicPtr<T>,
    span: AtomicU64,
    is_alive: Mutex<bool>,
    pauses: AtomicU64,
}

/// Above it in a turn: how many pauses there were when it went on after one. Below it there is
/// room for some hours of the fastest polls; then they run over into it, and nothing is wrong as
/// long as no number comes twice in a row.
const PAUSE_SHIFT: u32 = 40;

/// A poll, for the one that ends it.
#[must_use]
pub(crate) struct Begun<T: 'static> {
    /// The turn before it; odd in a nested poll.
    turn: u64,
    /// What `task` was.
    outer: *mut T,
}

impl<T> Begun<T> {
    /// Of a poll that is not marked.
    pub(crate) fn none() -> Self {
        Self {
            turn: 0,
            outer: ptr::null_mut(),
        }
    }
}

/// A poll that is interrupted by what shall not count as one.
#[must_use]
pub(crate) struct Paused<T: 'static> {
    turn: u64,
    task: *mut T,
}

/// What a watcher saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight<T: 'static> {
    /// Odd: of the poll that is under way.
    pub(crate) turn: u64,
    /// The innermost of the tasks being polled.
    pub(crate) task: &'static T,
}

impl<T> Mark<T> {
    pub(crate) fn new() -> Self {
        Self {
            turn: AtomicU64::new(0),
            task: AtomicPtr::new(ptr::null_mut()),
            span: AtomicU64::new(0),
            is_alive: Mutex::new(true),
            pauses: AtomicU64::new(0),
        }
    }

    /// A poll of `task` begins on this mark's thread, which calls `end` after it.
    #[inline(always)]
    pub(crate) fn begin(&self, task: &'static T) -> Begun<T> {
        let turn = self.turn.load(Ordering::Relaxed);
        let outer = self.task.load(Ordering::Relaxed);
        let task = ptr::from_ref(task).cast_mut();
        // ORDERING: Release, partner: the Acquire load of `task` in `look`: who sees this
        // task sees that the poll before is over.
        self.task.store(
            task,
            if planted("mark: task published late") {
                Ordering::Relaxed
            } else {
                Ordering::Release
            },
        );
        // In a nested poll it is odd already; the same again is cheaper than to ask.
        // ORDERING: Release, partner: the first load in `look`: who sees the turn sees its
        // task, or a later one.
        self.turn.store(turn | 1, Ordering::Release);
        Begun { turn, outer }
    }

    /// Also when it ends by a panic.
    #[inline(always)]
    pub(crate) fn end(&self, begun: &Begun<T>) {
        if begun.turn % 2 == 0 {
            // Not from the turn as it is now: to load what was just stored is what takes most
            // of the time here.
            // ORDERING: Release, partner: the second load in `look`.
            self.turn.store(begun.turn + 2, Ordering::Release);
        } else if !planted("mark: inner task kept") {
            // ORDERING: Release, as in `begin`.
            self.task.store(begun.outer, Ordering::Release);
        }
    }

    /// For a runtime that tells of the begin and the end of outermost polls, and tells of an
    /// end also where the begin was not seen.
    #[cfg(not(offramp_loom))]
    #[cfg(all(feature = "tokio", tokio_unstable))]
    pub(crate) fn end_if_begun(&self) {
        let turn = self.turn.load(Ordering::Relaxed);
        // ORDERING: Release, as in `end`.
        self.turn.store(turn + turn % 2, Ordering::Release);
    }

    /// What follows is no poll, until `resume`. `None`: it is none anyway.
    pub(crate) fn pause(&self) -> Option<Paused<T>> {
        let turn = self.turn.load(Ordering::Relaxed);
        if turn % 2 == 0 {
            return None;
        }
        let task = self.task.load(Ordering::Relaxed);
        // ORDERING: Release, as in `end`.
        self.turn
            .store(self.renumbered(turn - 1), Ordering::Release);
        Some(Paused { turn, task })
    }

    /// The poll goes on, as a new turn.
    pub(crate) fn resume(&self, paused: &Paused<T>) {
        if !planted("mark: task of the pause kept") {
            // ORDERING: Release, as in `begin`. Polls in the pause left their task there.
            self.task.store(paused.task, Ordering::Release);
        }
        let turn = self.renumbered(paused.turn);
        // ORDERING: Release, as in `begin`.
        self.turn.store(turn, Ordering::Release);
    }

    /// The same turn in its lower half, so that `end` need not know, and another one in all.
    fn renumbered(&self, turn: u64) -> u64 {
        let number = self.pauses.load(Ordering::Relaxed) + 1;
        // ORDERING: Relaxed: this thread's own.
        self.pauses.store(number, Ordering::Relaxed);
        (number << PAUSE_SHIFT) | (turn & ((1 << PAUSE_SHIFT) - 1))
    }

    /// Which poll is under way.
    pub(crate) fn look(&self) -> Option<Sight<T>> {
        // ORDERING: Acquire, partner: `begin`.
        let turn = self.turn.load(Ordering::Acquire);
        if turn % 2 == 0 {
            return None;
        }
        let task = self.task.load(Ordering::Acquire);
        if !self.is_in(turn) && !planted("mark: no second look") {
            return None;
        }
        // SAFETY: set before the turn first became odd, to a reference for ever.
        let task = unsafe { &*task };
        Some(Sight { turn, task })
    }

    /// Whether the poll of `turn` still goes on. What was read after an earlier look that
    /// showed it, and before this one, is of that poll.
    pub(crate) fn is_in(&self, turn: u64) -> bool {
        // ORDERING: Relaxed: what was read before it was read with Acquire, or is the
        // kernel's, which orders by itself.
        self.turn.load(Ordering::Relaxed) == turn
    }

    /// As it is: whether there was a poll since the last look.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// The event loop on this mark's thread goes to work.
    #[cfg_attr(not(offramp_loom), cfg(feature = "tokio"))]
    pub(crate) fn work(&self) {
        // ORDERING: Relaxed, here and below: nothing is published with it.
        self.span
            .store(self.span.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
    }

    /// It waits for events.
    #[cfg_attr(not(offramp_loom), cfg(feature = "tokio"))]
    pub(crate) fn rest(&self) {
        let span = self.span.load(Ordering::Relaxed);
        self.span
            .store(span.wrapping_add(span % 2), Ordering::Relaxed);
    }

    /// Odd while the loop is at work.
    pub(crate) fn span(&self) -> u64 {
        self.span.load(Ordering::Relaxed)
    }

    /// Runs `f` while the thread cannot end. `None`: it has.
    pub(crate) fn hold<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let is_alive = self.is_alive.lock();
        is_alive.then(f)
    }

    /// The thread's last act here: waits for a `hold`.
    pub(crate) fn leave(&self) {
        if planted("mark: gone amidst a capture") {
            return;
        }
        *self.is_alive.lock() = false;
    }
}
