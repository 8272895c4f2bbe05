//! One log line for a job that runs for too long.
//!
//! While jobs run an alarm is armed; when it rings, whoever is too old is logged. With the
//! pool's last thread it goes.

use crate::backend::Turns;
use crate::clock;
use crate::pool::Pool;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

/// An alarm's errand.
struct Look {
    pool: Weak<Pool>,
    /// Nothing ran at the look before, so nobody is said to watch any more. A job that had
    /// started by then, and believed so, shows by now.
    is_last: bool,
}

impl Wake for Look {
    fn wake(self: Arc<Self>) {
        let Some(turns) = Turns::upgrade(&self.pool) else {
            return;
        };
        let (pool, now) = (turns.pool(), clock::now());
        let any = pool.activity.log_overstays(pool.kind.name(), now);
        match (any, self.is_last) {
            (true, false) => turns.look_later(now, false),
            (true, true) => turns.watch(now),
            (false, false) => {
                pool.is_watched.store(false, Ordering::Relaxed);
                turns.look_later(now, true);
            }
            (false, true) => {}
        }
    }
}

impl Turns {
    /// A job starts: from now on somebody looks.
    pub(crate) fn watch(&self, now: u64) {
        let is_watched = &self.pool().is_watched;
        if self.pool().activity.overstay() == u64::MAX {
            return;
        }
        if !is_watched.load(Ordering::Relaxed) && !is_watched.swap(true, Ordering::Relaxed) {
            self.look_later(now, false);
        }
    }

    fn look_later(&self, now: u64, is_last: bool) {
        let pool = self.pool();
        // Twice, so that nobody is much older than asked for when it is logged.
        let due = now.saturating_add(pool.activity.overstay() / 2 + 1);
        let look = Waker::from(Arc::new(Look {
            pool: self.downgrade(),
            is_last,
        }));
        let alarm = pool.supervisor.wake_at(due, look);
        let former = pool.watch.lock().replace(alarm);
        if let Some(former) = former {
            pool.supervisor.disarm(&former);
        }
    }

    /// The pool's last thread has left.
    pub(crate) fn unwatch(&self) {
        let pool = self.pool();
        let alarm = pool.watch.lock().take();
        if let Some(alarm) = alarm {
            pool.is_watched.store(false, Ordering::Relaxed);
            pool.supervisor.disarm_now(&alarm);
        }
    }
}
