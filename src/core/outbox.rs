//! The outbox: wakers of finished jobs, called a few at a time.
//!
//! To wake a task whose executor sleeps makes the kernel switch to it, as a rule at once and
//! on the CPU of the one who wakes: some microseconds, for one task's sake. Where jobs take little
//! longer than that, and others wait, workers leave wakers here; README, "Outbox", says who calls
//! them. Interrupts of network cards are put off for the same reason (J. Mogul and K. Ramakrishnan,
//! "Eliminating receive livelock in an interrupt-driven kernel", 1997).

use super::unwind::contain;
use crate::sync::{Mutex, Ordering, plain, planted};
use std::collections::VecDeque;
use std::task::Waker;

/// So many wakers are called when they have gathered: to switch to and fro takes some five
/// microseconds, a thirty-second of which is little beside a brief job.
const MOST: usize = if cfg!(offramp_loom) { 3 } else { 32 };

/// A waker waits for one part in so many of its call's age, which makes no call much longer; and for
/// the end of the job that runs then.
const PART: u64 = 8;
/// That is at least, in nanoseconds,
const LEAST: u64 = 100_000;
/// and at most.
const LONGEST: u64 = 1_000_000;

pub(crate) struct Outbox {
    /// How many wakers there are, and when the first of them is to be called, at the latest; for
    /// those without the lock.
    len: plain::AtomicUsize,
    until: plain::AtomicU64,
    held: Mutex<Held>,
}

struct Held {
    /// The oldest first.
    wakers: VecDeque<Waker>,
    /// Somebody will [look](Outbox::look). Always so while there are wakers.
    is_guarded: bool,
    /// A waker was put in since the last look.
    is_used: bool,
}

/// What [`Outbox::put`] leaves to do.
#[must_use]
#[derive(Debug)]
pub(crate) enum Put {
    Held,
    /// [`Outbox::look`] is to be called in a while.
    Guard,
    /// [`Outbox::flush`] is to be called.
    Full,
    /// This waker is to be called.
    Busy(Waker),
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            len: plain::AtomicUsize::new(0),
            until: plain::AtomicU64::new(0),
            held: Mutex::new(Held {
                wakers: VecDeque::with_capacity(MOST),
                is_guarded: false,
                is_used: false,
            }),
        }
    }

    /// A job has ended whose caller can wait for some more to end. `age`: since its submission.
    pub(crate) fn put(&self, waker: Waker, age: u64, now: u64) -> Put {
        // Nobody waits here: a thread that loses its CPU in there would hold all of them up.
        let Some(mut held) = self.held.try_lock() else {
            return Put::Busy(waker);
        };
        let until = now + (age / PART).clamp(LEAST, LONGEST);
        if held.wakers.is_empty() || until < self.until.load(Ordering::Relaxed) {
            self.until.store(until, Ordering::Relaxed);
        }
        held.wakers.push_back(waker);
        held.is_used = true;
        self.count(&held);
        let is_guarded = std::mem::replace(&mut held.is_guarded, true);
        if !is_guarded && !planted("outbox: unguarded") {
            Put::Guard
        } else if held.wakers.len() >= MOST || self.is_due(now) {
            Put::Full
        } else {
            Put::Held
        }
    }

    /// A job has ended that has no waker.
    #[inline]
    pub(crate) fn flush_due(&self, now: u64) {
        if self.is_due(now) {
            self.flush();
        }
    }

    /// Whether the first of them, if there are any, may wait no longer.
    fn is_due(&self, now: u64) -> bool {
        now >= self.until.load(Ordering::Relaxed)
    }

    /// Under the lock.
    fn count(&self, held: &Held) {
        self.len.store(held.wakers.len(), Ordering::Relaxed);
    }

    /// Whether there may be wakers. Who has put one in and is told "no" knows that somebody has
    /// taken it out.
    fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Calls all wakers. One at a time is taken out: the others are anybody's, should this
    /// thread lose its CPU to the one it wakes.
    #[inline]
    pub(crate) fn flush(&self) {
        if !self.is_empty() {
            self.flush_all();
        }
    }

    #[cold]
    fn flush_all(&self) {
        while !self.is_empty() {
            let mut held = self.held.lock();
            let waker = held.take(|_| true);
            self.count(&held);
            drop(held);
            if let Some(waker) = waker {
                contain(|| waker.wake());
            }
        }
    }

    /// Calls wakers from a poll with the waker `own`: those of the same kind of executor, because one
    /// of another kind may hold a lock in its polls that it takes to be woken. Several are
    /// taken out at a time: they are on the CPU already that the others would wake.
    #[inline]
    pub(crate) fn help(&self, own: &Waker) {
        if !self.is_empty() {
            self.help_some(own);
        }
    }

    #[cold]
    fn help_some(&self, own: &Waker) {
        // Else somebody is at it.
        let Some(mut held) = self.held.try_lock() else {
            return;
        };
        let is_own = |waker: &Waker| std::ptr::eq(waker.vtable(), own.vtable());
        let wakers: [_; MOST] = std::array::from_fn(|_| held.take(is_own));
        self.count(&held);
        drop(held);
        for waker in wakers.into_iter().flatten() {
            contain(|| waker.wake());
        }
    }

    /// The guard's: calls all wakers. `true`: it is to come again.
    #[must_use]
    pub(crate) fn look(&self) -> bool {
        let mut held = self.held.lock();
        // While wakers are put in all the time it stays, which is cheaper than to be called.
        let again = std::mem::take(&mut held.is_used);
        held.is_guarded = again || planted("outbox: guarded for ever");
        let wakers = if held.wakers.is_empty() {
            VecDeque::new()
        } else {
            std::mem::replace(&mut held.wakers, VecDeque::with_capacity(MOST))
        };
        self.count(&held);
        drop(held);
        for waker in wakers {
            contain(|| waker.wake());
        }
        again
    }
}

impl Held {
    fn take(&mut self, may_take: impl Fn(&Waker) -> bool) -> Option<Waker> {
        let is_taken = self.wakers.front().is_some_and(may_take);
        is_taken.then(|| self.wakers.pop_front()).flatten()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(all(test, not(offramp_loom)))]
#[path = "outbox_tests.rs"]
mod tests;
