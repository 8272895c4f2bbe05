//! A pool: one queue, its limits and statistics, and the backend that serves it.

mod sending;

use crate::activity::{Activity, Post, Shown};
use crate::backend::{Backend, Turns};
use crate::clock;
use crate::core::alarms::Alarm;
use crate::core::caller::{Caller, Cancelled, Left};
use crate::core::job::{Ended, Failure};
use crate::core::job_ref::JobRef;
use crate::core::lane_state::LaneState;
use crate::core::outbox::Outbox;
use crate::core::queue::Queue;
use crate::core::running::{Freed, Running};
use crate::core::unwind::contain;
use crate::core::view::Job;
use crate::current::{self, Entered};
use crate::fork;
use crate::future::at_once;
use crate::misuse::{Sample, Sites};
use crate::offload::{Offload, WeakOffload};
use crate::stats::{Counters, PoolStats};
use crate::supervisor::Supervisor;
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

/// Which of the two pools, with its name in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Io,
    Cpu,
    /// A thread for each job.
    Dedicated,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Cpu => "cpu",
            Self::Dedicated => "dedicated",
        }
    }
}

pub(crate) struct Pool {
    pub(crate) kind: Kind,
    /// Of forks, see there.
    generation: u32,
    pub(crate) queue: Queue,
    pub(crate) counters: Counters,
    /// Where `try_spawn` and the policy `Reject` refuse.
    pub(crate) capacity: usize,
    /// Where waiting is refused.
    pub(crate) max_pending: usize,
    pub(crate) backend: Box<dyn Backend>,
    /// The backend's [`Backend::runs_inline`].
    pub(crate) is_inline: bool,
    /// Its threads and its submitters share one.
    pub(crate) is_on_one_cpu: bool,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) outbox: Outbox,
    pub(crate) activity: Activity,
    pub(crate) sites: Sites,
    /// An alarm is armed for jobs that overstay.
    pub(crate) is_watched: AtomicBool,
    pub(crate) watch: Mutex<Option<Arc<Alarm>>>,
    /// Whose pool it is.
    pub(crate) owner: OnceLock<WeakOffload>,
    /// Who waits for the shutdown.
    watchers: Mutex<Vec<Waker>>,
}

/// What holds for all lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes {
    pub(crate) max_orphans: usize,
    /// In nanoseconds, see [`Priority`](crate::Priority).
    pub(crate) ageing: u64,
}

impl Pool {
    pub(crate) fn new(
        kind: Kind,
        capacity: usize,
        max_pending: usize,
        lanes: Lanes,
        warn_after: Duration,
        backend: Box<dyn Backend>,
        supervisor: Arc<Supervisor>,
    ) -> Self {
        fork::watch();
        let is_inline = backend.runs_inline();
        // No timer for what holds up its own submitter.
        let warn_after = if is_inline { Duration::MAX } else { warn_after };
        Self {
            kind,
            generation: fork::generation(),
            queue: Queue::new(lanes.max_orphans, lanes.ageing),
            counters: Counters::new(),
            capacity,
            max_pending,
            backend,
            is_inline,
            is_on_one_cpu: at_once::is_on_one_cpu(),
            supervisor,
            outbox: Outbox::new(),
            activity: Activity::new(warn_after),
            sites: Sites::new(kind),
            is_watched: AtomicBool::new(false),
            watch: Mutex::new(None),
            owner: OnceLock::new(),
            watchers: Mutex::new(Vec::new()),
        }
    }

    /// Whether this process is a child of the pool's.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.generation != fork::generation()
    }

    /// `None` if the last handle to it is gone.
    pub(crate) fn offload(&self) -> Option<Offload> {
        self.owner.get()?.upgrade()
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let (queue, threads) = (&self.queue, self.backend.threads());
        self.activity
            .stats(&self.counters, || queue.admitted(), threads)
    }

    /// Whether the pool has been closed and all is over.
    pub(crate) fn is_ended(&self) -> bool {
        // ORDERING: SeqCst fence, partner: this same fence on another thread: of the
        // closer and the last thread to leave at least one sees both.
        fence(Ordering::SeqCst);
        self.queue.is_closed() && !self.queue.has_work() && self.backend.threads().present == 0
    }

    /// `waker` is woken when the pool may have ended, and when a job ends in a closed one.
    pub(crate) fn notify_me(&self, waker: &Waker) {
        let waker = waker.clone();
        let mut watchers = self.watchers.lock();
        if !watchers.iter().any(|watcher| watcher.will_wake(&waker)) {
            watchers.push(waker);
        }
    }

    /// Called whenever the pool may have ended.
    pub(crate) fn notify_if_ended(&self) {
        if self.is_ended() {
            self.notify();
        }
    }

    /// Those who wait for the shutdown look again.
    pub(crate) fn notify(&self) {
        let watchers = std::mem::take(&mut *self.watchers.lock());
        for watcher in watchers {
            contain(|| watcher.wake());
        }
    }
}

impl Turns {
    /// Runs a job that was claimed. `is_inline`: not in a turn of its own; `more`: others were left
    /// behind. When it ended; `None`: it did not run.
    pub(crate) fn run(&self, job: Running, now: u64, is_inline: bool, more: bool) -> Option<u64> {
        let post = self.pool().activity.post();
        match self.begin(&post, job.header(), job.is_unwanted(), now) {
            Ok(start) => {
                let (lent, sample) = (Cell::new(0), Sample::start());
                let (finished, ended) = job.run(self.origin(), |view| {
                    self.enter(&post, view, start, is_inline, &lent)
                });
                if self.pool().is_forked() && !is_inline {
                    fork::end_child();
                }
                let now = clock::now();
                let ran = end(&post, ended, start, now).saturating_sub(lent.get());
                drop(post);
                self.pool().queue.settle(&finished, ran);
                if let Some(sample) = sample {
                    self.pool().sites.look(&sample, finished.header(), ran);
                }
                let age = now.saturating_sub(finished.header().queued_at);
                let (waker, freed) = finished.publish();
                // Last, so that nothing of ours waits for the waker's code.
                self.send(waker, more && !is_inline, ran, age, now);
                if let Some(freed) = freed {
                    self.freed(&freed);
                }
                if self.pool().queue.is_closing() {
                    self.pool().notify();
                }
                Some(now)
            }
            Err(failure) => {
                self.fail(job, failure);
                None
            }
        }
    }

    /// Drops the closure of a claimed job, which has been counted.
    pub(crate) fn fail(&self, job: Running, failure: Failure) {
        self.pool().queue.give_back(&job);
        if let Some(freed) = job.fail(failure) {
            self.freed(&freed);
        }
    }

    /// Fails every job that waits, but those that must run.
    pub(crate) fn fail_waiting(&self, failure: fn() -> Failure, count: fn(&Counters)) {
        let pool = self.pool();
        let freed = pool
            .queue
            .fail_all(false, failure, || count(&pool.counters));
        for freed in freed {
            self.freed(&freed);
        }
    }

    pub(crate) fn freed(&self, freed: &Freed) {
        let pool = self.pool();
        if freed.is_orphan {
            pool.counters.orphan_ended();
        }
        if pool.queue.freed(freed) {
            pool.backend.demand(self);
        }
    }

    /// Runs the job of `caller` right here, if it has not started.
    pub(crate) fn run_here<R>(&self, caller: Caller<R>) -> Result<Result<R, Failure>, Caller<R>> {
        if !current::may_run_inside(caller.lane()) {
            return Err(caller);
        }
        let job = caller.take_back(&self.pool().queue)?;
        if job.left {
            self.pool().backend.demand(self);
        }
        let post = self.pool().activity.post();
        Ok(match self.begin(&post, job.header(), false, clock::now()) {
            Ok(start) => {
                // Its parent pays, whose turn it is.
                let lent = Cell::new(0);
                let (output, ended) = job.run(self.origin(), |view| {
                    self.enter(&post, view, start, true, &lent)
                });
                end(&post, ended, start, clock::now());
                output
            }
            Err(failure) => {
                job.give_up();
                Err(failure)
            }
        })
    }

    /// A job starts `now`, or a little later, unless its time is over or nobody wants it.
    #[inline]
    fn begin(
        &self,
        post: &Post,
        header: JobRef<'_>,
        is_unwanted: bool,
        now: u64,
    ) -> Result<u64, Failure> {
        let counters = &self.pool().counters;
        // The wait for the lock must not make one start too late.
        let start = if header.deadline().is_some() {
            clock::now()
        } else {
            now
        };
        if header.deadline().is_some_and(|deadline| start >= deadline) {
            counters.expired();
            return Err(Failure::Expired(header.progress(start)));
        }
        if is_unwanted {
            counters.cancelled();
            return Err(Failure::Cancelled);
        }
        header.set_started(start);
        post.tally().started(start.saturating_sub(header.queued_at));
        self.watch(start);
        Ok(start)
    }

    /// `lent` gets for how long the job's turn was lent.
    #[inline]
    fn enter<'a>(
        &self,
        post: &'a Post,
        view: &Job,
        start: u64,
        is_inline: bool,
        lent: &Cell<u64>,
    ) -> (Entered, Shown<'a>) {
        let is_seen = self.pool().kind != Kind::Cpu;
        let shown = post.show(view.header(), start);
        (
            current::enter_job(view, is_seen, is_inline, self, lent),
            shown,
        )
    }

    /// For [`Job::turns`].
    fn origin(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    /// Jobs of `lane`, or of any (`None`), may run that could not so far.
    pub(crate) fn unblock(&self, lane: Option<&LaneState>) {
        if self.pool().queue.unblock(lane) {
            self.pool().backend.demand(self);
        }
    }

    /// Accounts for a cancellation, and passes work on that it left behind.
    pub(crate) fn cancelled(&self, cancelled: Cancelled) {
        let pool = self.pool();
        if let Cancelled::Queued(left) = cancelled {
            pool.counters.cancelled();
            if left {
                pool.backend.demand(self);
            }
        }
    }

    /// `caller` leaves. A job that had not started counts as `count` says; with `to_pool` a
    /// worker drops its closure.
    pub(crate) fn abandon<R>(
        &self,
        caller: Caller<R>,
        to_pool: bool,
        count: fn(&Counters),
    ) -> Left<R> {
        let pool = self.pool();
        let left = if to_pool {
            caller.abandon_to_pool(&pool.queue)
        } else {
            caller.abandon(&pool.queue)
        };
        match left {
            Left::Queued(left) => {
                count(&pool.counters);
                if left {
                    pool.backend.demand(self);
                }
            }
            Left::Running => pool.counters.orphaned(),
            Left::Output(_) | Left::OnPool => {}
        }
        left
    }

    /// Closes the pool: later submissions are refused, earlier ones still run.
    pub(crate) fn close(&self) {
        let pool = self.pool();
        pool.queue.close();
        pool.backend.close(self);
        pool.notify_if_ended();
    }
}

/// A job has ended. How long it has run.
fn end(post: &Post, ended: Ended, start: u64, now: u64) -> u64 {
    let ran = now.saturating_sub(start);
    post.tally().ended(ended, ran);
    ran
}

impl Job {
    /// The pool that runs it.
    pub(crate) fn turns(&self) -> &Turns {
        // SAFETY: what `run` and `run_here` gave it; they outlast the job's run.
        unsafe { &*self.origin().cast::<Turns>() }
    }

    /// A dedicated job goes on until it is asked to stop, and so with its pool.
    pub(crate) fn is_asked_by_its_pool(&self) -> bool {
        let turns = self.turns();
        turns.pool().kind == Kind::Dedicated && turns.is_closed()
    }
}
