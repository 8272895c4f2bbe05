//! When the caller of a finished job is woken: at once, or with others.

use crate::backend::Turns;
use crate::clock;
use crate::core::host::Length;
use crate::core::outbox::Put;
use crate::core::unwind::contain;
use crate::pool::Pool;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

/// How long a waker lies in the outbox at most, but for a [tick](crate::supervisor::TICK), if nobody
/// else comes by.
const GUARD: Duration = Duration::from_millis(1);

/// About what it takes to wake a thread and have it run, in nanoseconds.
const SWITCH: u64 = 5_000;

/// The guard of a pool's outbox.
struct Guard(Weak<Pool>);

impl Wake for Guard {
    fn wake(self: Arc<Self>) {
        // With the pool all wakers are called.
        if let Some(turns) = Turns::upgrade(&self.0) {
            if turns.pool().outbox.look() {
                turns.guard();
            }
        }
    }
}

impl Turns {
    /// Wakes the caller of a job that ended `now`, after so long since it was submitted (`age`). If
    /// others waited when it started (`more`), and they are brief, that may be put off: see the
    /// core's README, "Outbox".
    pub(crate) fn send(&self, waker: Option<Waker>, more: bool, ran: u64, age: u64, now: u64) {
        let pool = self.pool();
        // An empty job that lost its CPU makes its lane look brief: those after it still are not.
        let may_wait = more
            && ran >= Length::TINY / 2
            && !pool.is_inline
            && pool.queue.length() == Length::Brief
            && !pool.queue.is_closing()
            && !pool.supervisor.is_forsaken();
        match waker {
            Some(waker) if may_wait => self.put(waker, age, now),
            // Who awaits several calls in order has left a waker with one of them. If they are shorter
            // than that he finds that more have ended by the time that he is awake.
            None if may_wait && ran >= SWITCH => pool.outbox.flush_due(now),
            waker => {
                pool.outbox.flush();
                if let Some(waker) = waker {
                    contain(|| waker.wake());
                }
            }
        }
    }

    #[cold]
    fn put(&self, waker: Waker, age: u64, now: u64) {
        let outbox = &self.pool().outbox;
        match outbox.put(waker, age, now) {
            Put::Held => {}
            Put::Guard => self.guard(),
            Put::Full => outbox.flush(),
            Put::Busy(waker) => {
                outbox.flush();
                contain(|| waker.wake());
            }
        }
    }

    /// Has the outbox looked at in a while.
    fn guard(&self) {
        let guard = Waker::from(Arc::new(Guard(self.downgrade())));
        let due = clock::now() + GUARD.as_nanos() as u64;
        self.pool().supervisor.wake_at(due, guard);
        if self.pool().supervisor.is_forsaken() {
            self.pool().outbox.flush();
        }
    }
}
