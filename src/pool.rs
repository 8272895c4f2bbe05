//! A pool: one queue, its limits and statistics, and the backend that serves it.

use crate::backend::{Backend, Turns};
use crate::clock;
use crate::core::caller::{Caller, Cancelled};
use crate::core::job::{self, Extension, Failure, Work};
use crate::core::queue::Queue;
use crate::core::running::Running;
use crate::core::unwind::contain;
use crate::error::OffloadError;
use crate::stats::{Counters, PoolStats};
use parking_lot::Mutex;
use std::sync::atomic::{Ordering, fence};
use std::task::Waker;

/// Which of the two pools, with its name in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Io,
    Cpu,
}

pub(crate) struct Pool {
    pub(crate) kind: Kind,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
    /// Where `try_spawn` and the policy `Reject` refuse.
    pub(crate) capacity: usize,
    /// Where waiting is refused.
    pub(crate) max_pending: usize,
    pub(crate) backend: Box<dyn Backend>,
    /// Who waits for the shutdown.
    watchers: Mutex<Vec<Waker>>,
}

impl Pool {
    pub(crate) fn new(
        kind: Kind,
        capacity: usize,
        max_pending: usize,
        backend: Box<dyn Backend>,
    ) -> Self {
        Self {
            kind,
            queue: Queue::new(),
            counters: Counters::new(),
            capacity,
            max_pending,
            backend,
            watchers: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let threads = self.backend.threads();
        self.counters.snapshot(threads.present, threads.idle)
    }

    /// Runs a job that a turn took.
    pub(crate) fn run(&self, job: Running) {
        let start = clock::now();
        let waited = start.saturating_sub(job.header().queued_at);
        self.counters.started(waited);
        let (finished, ended) = match self.kind {
            Kind::Io => {
                // A `Job` lives until `complete`, and the guard ends before.
                let view: *const job::Job = job.header().as_job();
                // SAFETY: see above.
                let _entered = crate::cancel::enter(unsafe { &*view });
                job.run()
            }
            Kind::Cpu => job.run(),
        };
        self.counters
            .ended(ended, clock::now().saturating_sub(start));
        if finished.complete() {
            self.counters.orphan_ended();
        }
    }

    pub(crate) fn fail_all(&self, failure: fn() -> Failure) {
        self.queue.fail_all(failure, || self.counters.failed());
    }

    /// Whether the pool has been closed and all is over.
    pub(crate) fn is_ended(&self) -> bool {
        // ORDERING: SeqCst fence, partner: this same fence on another thread: of the
        // closer and the last thread to leave at least one sees both.
        fence(Ordering::SeqCst);
        self.queue.is_closed() && !self.queue.has_work() && self.backend.threads().present == 0
    }

    /// `true` when the pool has ended; else `waker` is woken when it has.
    pub(crate) fn poll_ended(&self, waker: &Waker) -> bool {
        if self.is_ended() {
            return true;
        }
        let waker = waker.clone();
        let mut watchers = self.watchers.lock();
        if !watchers.iter().any(|watcher| watcher.will_wake(&waker)) {
            watchers.push(waker);
        }
        drop(watchers);
        // After registering: an end that comes later wakes us.
        let ended = self.is_ended();
        self.notify_if_ended();
        ended
    }

    /// Called whenever the pool may have ended.
    pub(crate) fn notify_if_ended(&self) {
        if self.is_ended() {
            let watchers = std::mem::take(&mut *self.watchers.lock());
            for watcher in watchers {
                contain(|| watcher.wake());
            }
        }
    }
}

impl Turns {
    /// Submits `work`, or hands it back with the reason.
    pub(crate) fn submit<W: Work>(
        &self,
        work: W,
        limit: usize,
        waker: Option<Waker>,
        extension: Option<Box<Extension>>,
    ) -> Result<Caller<W::Output>, (W, OffloadError)> {
        let pool = self.pool();
        pool.counters.submitted();
        let Some(permit) = pool.queue.admit(limit) else {
            pool.counters.refused();
            contain(|| drop(waker));
            let reason = if pool.queue.is_closed() {
                OffloadError::ShutDown
            } else {
                OffloadError::Overloaded { limit }
            };
            return Err((work, reason));
        };
        let job = job::allocate(work, clock::now(), waker, extension);
        // SAFETY: a new job; its queue side goes to the queue, its caller side to
        // `Caller`. If the queue is sealed both are still ours.
        unsafe {
            if pool.queue.push(permit, job).is_err() {
                pool.counters.refused();
                return Err((job::dismantle::<W>(job), OffloadError::ShutDown));
            }
        }
        pool.backend.demand(self);
        // SAFETY: see above.
        Ok(unsafe { Caller::new(job) })
    }

    /// Accounts for a cancellation, and passes work on that it left behind.
    pub(crate) fn cancelled(&self, cancelled: Cancelled, dropped: bool) {
        let pool = self.pool();
        match cancelled {
            Cancelled::Queued(left) => {
                pool.counters.cancelled();
                if left {
                    pool.backend.demand(self);
                }
            }
            Cancelled::Running if dropped => pool.counters.orphaned(),
            Cancelled::Running | Cancelled::No => {}
        }
    }

    /// Closes the pool: later submissions are refused, earlier ones still run.
    pub(crate) fn close(&self) {
        let pool = self.pool();
        pool.queue.close();
        pool.backend.close(self);
        pool.notify_if_ended();
    }
}
