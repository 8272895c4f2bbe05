//! A pool: one queue, its limits and statistics, and the backend that serves it.

use crate::backend::{Backend, Turns};
use crate::clock;
use crate::core::caller::{Caller, Cancelled, Overdue};
use crate::core::job::{self, Expired, Extension, Failure, Work};
use crate::core::queue::Queue;
use crate::core::running::Running;
use crate::core::unwind::contain;
use crate::error::OffloadError;
use crate::stats::{Counters, PoolStats};
use crate::supervisor::Supervisor;
use parking_lot::Mutex;
use std::sync::Arc;
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
    pub(crate) supervisor: Arc<Supervisor>,
    /// Who waits for the shutdown.
    watchers: Mutex<Vec<Waker>>,
}

impl Pool {
    pub(crate) fn new(
        kind: Kind,
        capacity: usize,
        max_pending: usize,
        backend: Box<dyn Backend>,
        supervisor: Arc<Supervisor>,
    ) -> Self {
        Self {
            kind,
            queue: Queue::new(),
            counters: Counters::new(),
            capacity,
            max_pending,
            backend,
            supervisor,
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
        let header = job.header();
        if header.deadline().is_some_and(|deadline| start >= deadline) {
            self.counters.expired();
            let expired = header.progress(start);
            return job.fail(Failure::Expired(expired));
        }
        header.set_started(start);
        self.counters
            .started(start.saturating_sub(header.queued_at));
        let (finished, ended) = match self.kind {
            Kind::Io => job.run(crate::cancel::enter),
            Kind::Cpu => job.run(|_| ()),
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
        let now = clock::now();
        pool.counters.submitted();
        let deadline = extension.as_ref().and_then(|extension| extension.deadline);
        if deadline.is_some_and(|deadline| now >= deadline) {
            pool.counters.expired();
            contain(|| drop(waker));
            let expired = Expired { waited: 0, ran: 0 };
            return Err((work, expired.into()));
        }
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
        let job = job::allocate(work, now, waker, extension);
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

    /// The deadline of `caller`'s job has passed: how it ends.
    pub(crate) fn expire<R>(&self, caller: Caller<R>, now: u64) -> Result<R, Failure> {
        let pool = self.pool();
        let expired = Failure::Expired(caller.progress(now));
        match caller.expire(&pool.queue) {
            Overdue::Output(output) => output,
            Overdue::Queued(left) => {
                pool.counters.expired();
                if left {
                    pool.backend.demand(self);
                }
                Err(expired)
            }
            Overdue::Running => {
                pool.counters.orphaned();
                Err(expired)
            }
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
