//! The caller's side of a job: what a future or a handle holds.

use super::extension::Expired;
use super::job::{self, Ended, Failure, Header};
use super::job_ref::JobRef;
use super::lane_state::LaneState;
use super::queue::Queue;
use super::state::{Cancel, Leave, Poll};
use super::unwind::contain;
use super::view::Job;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Waker;

/// The caller side of a job with output `R`. Ended by `poll` answering an output,
/// by `abandon` or by `detach`; forgetting it leaks the job, nothing worse.
#[must_use]
pub(crate) struct Caller<R> {
    job: NonNull<Header>,
    output: PhantomData<fn() -> R>,
}

// SAFETY: the two sides agree by the state word alone. The output is handed out
// by value, and closures and outputs are `Send`; `&Caller` only cancels and looks.
unsafe impl<R: Send> Send for Caller<R> {}
// SAFETY: as above.
unsafe impl<R: Send> Sync for Caller<R> {}

/// How a job stood when its caller left.
#[must_use]
pub(crate) enum Left<R> {
    /// It had finished.
    Output(Result<R, Failure>),
    /// It had not started, and never will. The flag as in [`Cancelled::Queued`].
    Queued(bool),
    /// It had not started: a worker drops its closure.
    OnPool,
    /// It runs, as an orphan from now on.
    Running,
}

/// A job that was taken back from the queue by its caller, who runs it.
#[must_use]
pub(crate) struct TakenBack<R> {
    caller: Caller<R>,
    /// As in [`Cancelled::Queued`].
    pub(crate) left: bool,
}

/// What a cancellation left to do outside of the job.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// The closure was dropped unrun. With `true` jobs are left in the queue and a
    /// worker has to look.
    Queued(bool),
    /// It runs, and its token is set.
    Running,
    /// It had finished.
    No,
}

impl<R> Caller<R> {
    /// # Safety
    ///
    /// The caller side of `job`, whose output is `R`, is handed over.
    pub(crate) unsafe fn new(job: NonNull<Header>) -> Self {
        Self {
            job,
            output: PhantomData,
        }
    }

    fn header(&self) -> JobRef<'_> {
        // SAFETY: the caller side keeps the job alive.
        unsafe { JobRef::new(self.job) }
    }

    /// The lane it waits in, if it named one.
    pub(crate) fn lane(&self) -> Option<&Arc<LaneState>> {
        self.header().lane()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.header().state.is_finished()
    }

    /// The output, or `None` after storing `waker` to be woken by the end. After
    /// an output the caller side has ended and nothing may be called any more.
    #[inline]
    pub(crate) fn poll(&mut self, waker: &Waker) -> Option<Result<R, Failure>> {
        let header = self.header();
        let state = &header.state;
        let mut found = state.poll();
        if found == Poll::Set {
            // SAFETY: stored, and only read.
            if unsafe { self.header().stored_waker_wakes(waker) } {
                return None;
            }
            found = state.unset_waker();
            if found == Poll::Unset {
                // SAFETY: the transition gave us the full slot.
                let old = unsafe { self.header().take_waker() };
                contain(|| drop(old));
            }
        }
        if found == Poll::Unset {
            let waker = waker.clone();
            // SAFETY: without WAKER the slot is ours, and empty.
            unsafe { self.header().put_waker(waker) };
            found = state.set_waker();
            if found != Poll::Set {
                // SAFETY: the slot stayed ours, and is full.
                let unused = unsafe { self.header().take_waker() };
                contain(|| drop(unused));
            }
        }
        match found {
            Poll::Output => {
                // SAFETY: finished: the output is ours, taken once.
                let output = unsafe { job::take_output(self.job) };
                self.leave();
                Some(output)
            }
            Poll::Cancelled => {
                self.leave();
                Some(Err(Failure::Cancelled))
            }
            Poll::Set | Poll::Unset => None,
        }
    }

    /// Cancels and stays: a later poll tells how it ended.
    pub(crate) fn cancel(&self, queue: &Queue) -> Cancelled {
        match self.header().state.cancel() {
            Cancel::Won { waker } => {
                // The caller of `abort` need not be the one that polls.
                let stored = self.cancelled_waker(waker);
                let left = self.clear(queue);
                if let Some(waker) = stored {
                    contain(|| waker.wake());
                }
                Cancelled::Queued(left)
            }
            Cancel::Running => Cancelled::Running,
            Cancel::Finished => Cancelled::No,
        }
    }

    /// The caller leaves, by drop or because the deadline has passed, with the output if
    /// there is one.
    pub(crate) fn abandon(mut self, queue: &Queue) -> Left<R> {
        let lane = self.header().lane().cloned();
        match self.header().state.abandon() {
            Leave::Cancelled { waker } => {
                let stored = self.cancelled_waker(waker);
                contain(|| drop(stored));
                let left = self.clear(queue);
                self.leave();
                Left::Queued(left)
            }
            left => self.left(left, queue, lane),
        }
    }

    /// The same for a job whose closure the pool drops: one that has not started stays
    /// queued, with its room, until a worker takes it.
    pub(crate) fn abandon_to_pool(self, queue: &Queue) -> Left<R> {
        let lane = self.header().lane().cloned();
        let left = self.header().state.abandon_to_pool();
        self.left(left, queue, lane)
    }

    fn left(mut self, left: Leave, queue: &Queue, lane: Option<Arc<LaneState>>) -> Left<R> {
        match left {
            Leave::Queued => Left::OnPool,
            Leave::Left => {
                // The job may be gone by now, hence the lane from before.
                queue.orphaned(lane);
                Left::Running
            }
            Leave::Output => {
                // SAFETY: finished: the output is ours, taken once.
                let output = unsafe { job::take_output(self.job) };
                self.leave();
                Left::Output(output)
            }
            Leave::Shell => {
                self.leave();
                Left::Output(Err(Failure::Cancelled))
            }
            Leave::Cancelled { .. } => unreachable!("the closure was not left behind"),
        }
    }

    /// Takes the job out of the queue, to be run here: as a cancellation does, but its
    /// closure lives on. The caller back if the job has started.
    pub(crate) fn take_back(self, queue: &Queue) -> Result<TakenBack<R>, Self> {
        let Cancel::Won { waker } = self.header().state.cancel_queued() else {
            return Err(self);
        };
        let stored = self.cancelled_waker(waker);
        contain(|| drop(stored));
        queue.cancelled(self.header().lane());
        // SAFETY: the cancellation was won once, here; the slot is empty.
        let left = unsafe { queue.bury(self.job) };
        Ok(TakenBack { caller: self, left })
    }

    /// How far the job has got by `now`.
    pub(crate) fn progress(&self, now: u64) -> Expired {
        self.header().progress(now)
    }

    /// The caller leaves, the job goes on.
    pub(crate) fn detach(mut self) {
        match self.header().state.detach() {
            Leave::Queued | Leave::Left => {}
            Leave::Output => self.drop_output(),
            Leave::Shell => self.leave(),
            Leave::Cancelled { .. } => unreachable!("detach does not cancel"),
        }
    }

    fn cancelled_waker(&self, stored: bool) -> Option<Waker> {
        // SAFETY: winning the cancellation gave us the slot.
        stored.then(|| unsafe { self.header().take_waker() })
    }

    /// After winning the cancellation: room first, then the closure, then the
    /// shell.
    fn clear(&self, queue: &Queue) -> bool {
        queue.cancelled(self.header().lane());
        // SAFETY: the cancellation was won once, here; the slot is empty.
        unsafe {
            job::drop_work(self.job);
            queue.bury(self.job)
        }
    }

    fn drop_output(&mut self) {
        // SAFETY: finished: the output is ours, dropped once.
        unsafe { job::drop_output(self.job) };
        self.leave();
    }

    /// Ends the caller side.
    fn leave(&mut self) {
        if self.header().state.release_caller() {
            // SAFETY: the queue side left before us.
            unsafe { job::free(self.job) };
        }
    }
}

impl<R> TakenBack<R> {
    pub(crate) fn header(&self) -> JobRef<'_> {
        self.caller.header()
    }

    /// Runs the closure here, as [`Running::run`](super::running::Running::run) does.
    pub(crate) fn run<G>(
        mut self,
        origin: *const (),
        enter: impl FnOnce(&Job) -> G,
    ) -> (Result<R, Failure>, Ended) {
        let job = self.caller.job;
        // SAFETY: cancelled by us: the payload is ours, closure and output, each taken
        // once; the caller side keeps the job alive for longer than the view.
        let (ended, output) = unsafe {
            let view = Job::new(job, origin);
            let entered = enter(&view);
            let ended = job::run(job, &view);
            drop(entered);
            (ended, job::take_output(job))
        };
        self.caller.leave();
        (output, ended)
    }

    /// Drops the closure unrun.
    pub(crate) fn give_up(mut self) {
        // SAFETY: as in `run`.
        unsafe { job::drop_work(self.caller.job) };
        self.caller.leave();
    }
}
