//! A pool: one queue, its limits and statistics, and the backend that serves it.

use crate::backend::{Backend, Turns};
use crate::clock;
use crate::core::caller::{Caller, Cancelled, Overdue};
use crate::core::job::{self, Ended, Expired, Extension, Failure, Header, Job, Work};
use crate::core::queue::Queue;
use crate::core::running::Running;
use crate::core::unwind::contain;
use crate::current::{self, Entered};
use crate::error::OffloadError;
use crate::offload::{Offload, WeakOffload};
use crate::stats::{Counters, PoolStats};
use crate::supervisor::Supervisor;
use parking_lot::Mutex;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, OnceLock};
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
    /// Whose pool it is.
    pub(crate) owner: OnceLock<WeakOffload>,
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
            owner: OnceLock::new(),
            watchers: Mutex::new(Vec::new()),
        }
    }

    /// `None` if the last handle to it is gone.
    pub(crate) fn offload(&self) -> Option<Offload> {
        self.owner.get()?.upgrade()
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let threads = self.backend.threads();
        self.counters.snapshot(threads.present, threads.idle)
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
    /// Runs a job that was claimed.
    pub(crate) fn run(&self, job: Running) {
        match self.begin(job.header()) {
            Ok(start) => {
                let (finished, ended) = job.run(self.origin(), |view| self.enter(view));
                self.end(ended, start);
                if finished.complete() {
                    self.pool().counters.orphan_ended();
                }
            }
            Err(expired) => job.fail(Failure::Expired(expired)),
        }
    }

    /// Runs the job of `caller` right here, if it has not started.
    pub(crate) fn run_here<R>(&self, caller: Caller<R>) -> Result<Result<R, Failure>, Caller<R>> {
        let job = caller.take_back(&self.pool().queue)?;
        if job.left {
            self.pool().backend.demand(self);
        }
        Ok(match self.begin(job.header()) {
            Ok(start) => {
                let (output, ended) = job.run(self.origin(), |view| self.enter(view));
                self.end(ended, start);
                output
            }
            Err(expired) => {
                job.give_up();
                Err(Failure::Expired(expired))
            }
        })
    }

    /// A job starts, now, unless its time is over.
    fn begin(&self, header: &Header) -> Result<u64, Expired> {
        let (start, counters) = (clock::now(), &self.pool().counters);
        if header.deadline().is_some_and(|deadline| start >= deadline) {
            counters.expired();
            return Err(header.progress(start));
        }
        header.set_started(start);
        counters.started(start.saturating_sub(header.queued_at));
        Ok(start)
    }

    fn end(&self, ended: Ended, start: u64) {
        let ran = clock::now().saturating_sub(start);
        self.pool().counters.ended(ended, ran);
    }

    fn enter(&self, view: &Job) -> Entered {
        let job = match self.pool().kind {
            Kind::Io => Some(view),
            Kind::Cpu => None,
        };
        current::enter_job(job, self)
    }

    /// For [`Job::turns`].
    fn origin(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

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
            if let Some(inline) = current::inline(self) {
                inline.keep(pool.queue.keep(permit, job));
                return Ok(Caller::new(job));
            }
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

    /// Ends a call that would wait for ever.
    pub(crate) fn would_deadlock<R>(&self, caller: Caller<R>) -> Result<R, Failure> {
        let pool = self.pool();
        match caller.expire(&pool.queue) {
            Overdue::Output(output) => return output,
            Overdue::Queued(left) => {
                pool.counters.cancelled();
                if left {
                    pool.backend.demand(self);
                }
            }
            Overdue::Running => pool.counters.orphaned(),
        }
        Err(Failure::WouldDeadlock)
    }

    /// Closes the pool: later submissions are refused, earlier ones still run.
    pub(crate) fn close(&self) {
        let pool = self.pool();
        pool.queue.close();
        pool.backend.close(self);
        pool.notify_if_ended();
    }
}

impl Job {
    /// The pool that runs it.
    pub(crate) fn turns(&self) -> &Turns {
        // SAFETY: what `run` and `run_here` gave it; they outlast the job's run.
        unsafe { &*self.origin().cast::<Turns>() }
    }
}
