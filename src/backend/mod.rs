//! Backends: who runs the jobs.
//!
//! Bounds, lanes, cancellation and statistics live in the core and are the same
//! for every pool. A [`Backend`] only supplies *turns*: it sees to it that some
//! thread that may block takes the next job and runs it. The two defaults are threads
//! of the crate's own for I/O, and a rayon pool of its own for CPU work.
//!
//! None ever changes its strategy silently. What each does when it gets no thread:
//!
//! | | a thread more is refused | there is none at all |
//! |---|---|---|
//! | own threads (I/O) | jobs wait for those that exist; another attempt after a pause | [`NoThreads`](crate::OffloadError::NoThreads) |
//! | own rayon pool (CPU) | the pool is given up as a whole; another attempt with the next call | `NoThreads` |
//! | [`Rayon`] on a pool of yours | rayon starts none later | the pool could not be built |
//! | `Tokio` (feature `tokio`) | the runtime's matter: jobs wait for the threads it has; if it has none, its `spawn_blocking` panics, in the call | of a runtime that has ended: `NoThreads` |
//! | [`Inline`] | needs none | needs none |
//!
//! A backend of your own can be run through the suite that these pass:
//! `testing::conformance` (feature `testing`); the repository's `examples/backend.rs` is
//! one, in a hundred lines.

mod inline;
mod rayon;
pub(crate) mod threads;
mod tickets;
#[cfg(feature = "tokio")]
mod tokio;

pub use self::inline::Inline;
pub use self::rayon::Rayon;
pub(crate) use self::rayon::{OwnRayon, Settings as RayonSettings};
pub use self::threads::ThreadTask;
#[cfg(feature = "tokio")]
pub use self::tokio::Tokio;

use crate::clock;
use crate::core::job::Failure;
use crate::core::queue::Taken;
use crate::core::running::Running;
use crate::pool::Pool;
use crate::stats::Counters;
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

/// When a backend without threads is asked again, in nanoseconds.
const RETRY: u64 = 1_000_000_000;

/// Supplies turns to one pool.
///
/// An implementation keeps this promise: after a call of [`demand`](Self::demand),
/// as long as [`Turns::is_empty`] is `false`, some thread will call [`Turns::next`],
/// unless as many threads as the backend is willing to have are running jobs, and
/// then each of them calls `next` again after its job. If it can keep the promise
/// no longer because it has no thread and gets none, it calls [`Turns::fail_all`].
///
/// The race to watch: a thread that finds no job and is about to sleep must announce
/// that first, and then look at [`Turns::is_empty`] once more, because a job may
/// have come in between. `is_empty` contains the fence that this needs.
///
/// And its counterpart: a thread whose turn says that there are [`more`](Turn::more) sees
/// to another thread, as `demand` does, before it runs the turn. While it took its job
/// from the queue the others were in its hands, and one that looked saw nothing.
///
/// One backend serves one pool.
pub trait Backend: Send + Sync + 'static {
    /// A job was pushed, or several at once, or left behind by somebody who cannot run it.
    ///
    /// Called on any thread, also on an event loop: it must not block. Called
    /// without any lock held.
    fn demand(&self, turns: &Turns);

    /// No more jobs will come. Threads leave when [`Turns::next`] has no more for
    /// them; after the last one has left the backend calls [`Turns::left`].
    fn close(&self, turns: &Turns);

    /// How many threads take turns now.
    fn threads(&self) -> Threads;

    /// How many jobs it runs at the same time at most; `None`, the default: it does not know.
    /// For [`Offload::slow_lane`](crate::Offload::slow_lane).
    fn size(&self) -> Option<usize> {
        None
    }

    /// The calling thread runs a job, in which it is going to wait for another job. The
    /// backend may let one more job run until [`take_back`](Self::take_back) is called as
    /// often. `false`: all of its threads wait, and it adds none; then what it would wait
    /// for runs right there, or is answered
    /// [`WouldDeadlock`](crate::OffloadError::WouldDeadlock).
    ///
    /// The default answers `true` and does nothing: jobs that wait for jobs can then hang
    /// the pool.
    fn lend(&self, turns: &Turns) -> bool {
        let _ = turns;
        true
    }

    /// A turn that was lent is taken back.
    fn take_back(&self) {}

    /// Whether [`demand`](Self::demand) itself runs the jobs, on the thread that submits
    /// them, as [`Inline`]'s does. Then no timer thread is started for jobs that run for
    /// too long. Asked once, when the pool is made.
    fn runs_inline(&self) -> bool {
        false
    }

    /// Changes how many jobs run at most at the same time. `false`, the default: it
    /// cannot.
    fn resize(&self, turns: &Turns, max: usize) -> bool {
        let _ = (turns, max);
        false
    }
}

/// A backend's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Threads {
    /// Threads (or promised turns) that exist or are being started. While it is
    /// not 0 a shutdown waits.
    pub present: usize,
    /// Those of them that sleep.
    pub idle: usize,
}

/// Where a backend gets its jobs from.
///
/// A clone keeps the pool alive, and the pool its backend: let threads hold one while
/// they live, but never the backend itself.
#[derive(Clone)]
pub struct Turns {
    pool: Arc<Pool>,
}

impl Turns {
    pub(crate) fn new(pool: Pool) -> Self {
        Self {
            pool: Arc::new(pool),
        }
    }

    pub(crate) fn downgrade(&self) -> Weak<Pool> {
        Arc::downgrade(&self.pool)
    }

    pub(crate) fn upgrade(pool: &Weak<Pool>) -> Option<Self> {
        Some(Self {
            pool: pool.upgrade()?,
        })
    }

    /// Calls [`Backend::demand`] at this time of the clock, if jobs wait then.
    pub(crate) fn demand_at(&self, time: u64) {
        let waker = Waker::from(Arc::new(Demand(self.downgrade())));
        self.pool.supervisor.wake_at(time, waker);
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pool, &other.pool)
    }

    pub(crate) fn lend(&self) -> bool {
        self.pool.backend.lend(self)
    }

    pub(crate) fn take_back(&self) {
        self.pool.backend.take_back();
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Takes the next job in turn, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Turn<'_>> {
        self.next_at(clock::now())
    }

    /// The same for who has just looked at the clock.
    pub(crate) fn next_at(&self, now: u64) -> Option<Turn<'_>> {
        let Taken { job, more } = self.take(now)?;
        Some(Turn {
            turns: self,
            at: now,
            job: Some(job),
            more,
        })
    }

    /// The same for who [runs](Self::run) it at once. In line, so that it need not go through memory.
    #[inline(always)]
    pub(crate) fn take(&self, now: u64) -> Option<Taken> {
        let taken = self.pool.queue.next(now);
        if !taken.as_ref().is_some_and(|taken| taken.more) {
            // Who runs the last one that waits may be the last to come by for long.
            self.pool.outbox.flush();
        }
        taken
    }

    /// Whether no job waits. Contains a sequentially consistent fence, see
    /// [`Backend`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // ORDERING: SeqCst fence, partner: the fence in `demand`'s implementations,
        // which is this one.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        !self.pool.queue.has_work()
    }

    /// Whether the pool has been closed: no job will come any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.pool.queue.is_closed()
    }

    /// Completes every waiting job with [`NoThreads`](crate::OffloadError::NoThreads).
    ///
    /// Those that [must run](crate::Offloaded::must_run) stay, and the backend is asked
    /// again after a second.
    pub fn fail_all(&self) {
        self.fail_waiting(|| Failure::NoThreads, Counters::failed);
        if !self.is_empty() {
            self.demand_at(clock::now() + RETRY);
        }
    }

    /// A thread has left: [`Backend::threads`] counts it no more.
    pub fn left(&self) {
        if self.pool.backend.threads().present == 0 {
            self.unwatch();
        }
        self.pool.notify_if_ended();
    }
}

/// A look at the pool at a later time, if it still exists: an alarm that nobody rings
/// must not keep it.
struct Demand(Weak<Pool>);

impl Wake for Demand {
    fn wake(self: Arc<Self>) {
        if let Some(turns) = Turns::upgrade(&self.0) {
            if !turns.is_empty() {
                turns.pool().backend.demand(&turns);
            }
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns")
            .field("pool", &self.pool.kind)
            .finish_non_exhaustive()
    }
}

/// One job, taken from the queue and to be run on this thread.
///
/// Dropped unrun it resolves the job as
/// [`NoThreads`](crate::OffloadError::NoThreads).
#[must_use = "a turn that is not run fails its job"]
pub struct Turn<'a> {
    turns: &'a Turns,
    /// `None` once it is used.
    job: Option<Running>,
    /// When it was taken.
    at: u64,
    more: bool,
}

impl Turn<'_> {
    /// Runs the job and completes it. Panics of the closure stay inside.
    pub fn run(self) {
        let _ = self.run_to_its_end();
    }

    /// Answers when that was; `None`: it did not run.
    pub(crate) fn run_to_its_end(mut self) -> Option<u64> {
        self.turns.run(self.job.take()?, self.at, false, self.more)
    }

    pub(crate) fn queued_at(&self) -> u64 {
        self.job.as_ref().map_or(0, |job| job.header().queued_at)
    }

    /// Whether jobs were left behind when this one was taken. Then another thread has to
    /// look, see [`Backend`].
    #[must_use]
    pub fn more(&self) -> bool {
        self.more
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            self.turns.pool().counters.failed();
            self.turns.fail(job, Failure::NoThreads);
        }
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("more", &self.more)
            .finish_non_exhaustive()
    }
}
