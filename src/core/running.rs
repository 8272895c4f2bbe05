//! The worker's side of a job, from claim to release.

use super::job::{self, Ended, Failure, Header};
use super::lane_state::LaneState;
use super::state::Complete;
use super::unwind::contain;
use super::view::Job;

use std::ptr::NonNull;
use std::sync::Arc;

/// A claimed job: its payload is ours.
#[must_use]
pub(crate) struct Running {
    job: NonNull<Header>,
    unwanted: bool,
}

/// A job has ended that nobody waited for any more: to be counted by
/// [`Queue::orphan_ended`](super::queue::Queue::orphan_ended).
#[must_use]
pub(crate) struct Orphan {
    pub(super) lane: Option<Arc<LaneState>>,
}

/// A job whose closure has ended and whose output nobody has seen yet.
#[must_use]
pub(crate) struct Finished {
    job: NonNull<Header>,
}

// SAFETY: the claim made us the only owner of the payload, which is `Send`.
unsafe impl Send for Running {}

impl Running {
    /// # Safety
    ///
    /// The caller just claimed `job`.
    pub(crate) unsafe fn new(job: NonNull<Header>, unwanted: bool) -> Self {
        Self { job, unwanted }
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: a claimed job lives until it is completed.
        unsafe { self.job.as_ref() }
    }

    /// Its caller left it to the pool to drop the closure.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.unwanted
    }

    /// Runs the closure here, with what `enter` answers held meanwhile. Panics stay
    /// inside. `origin` is for the closure's [`Job`].
    pub(crate) fn run<G>(
        self,
        origin: *const (),
        enter: impl FnOnce(&Job) -> G,
    ) -> (Finished, Ended) {
        let job = self.into_job();
        // SAFETY: claimed; `Finished` comes after the view.
        let view = unsafe { Job::new(job, origin) };
        let entered = enter(&view);
        // SAFETY: claimed, and run once.
        let ended = unsafe { job::run(job, &view) };
        drop(entered);
        (Finished { job }, ended)
    }

    /// Drops the closure and completes the job with `failure`.
    pub(crate) fn fail(self, failure: Failure) -> Option<Orphan> {
        let job = self.into_job();
        // SAFETY: claimed, and failed once.
        unsafe { job::fail(job, failure) };
        Finished { job }.complete()
    }

    fn into_job(self) -> NonNull<Header> {
        std::mem::ManuallyDrop::new(self).job
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A backend that takes a turn and does not use it must not lose the job.
        // SAFETY: the same claim, given up by the original.
        let _ = unsafe { Self::new(self.job, false) }.fail(Failure::NoThreads);
    }
}

impl Finished {
    /// Publishes the output and wakes the caller, or cleans up if there is none.
    pub(crate) fn complete(self) -> Option<Orphan> {
        let Self { job } = self;
        // SAFETY: alive until this side leaves, which each arm does last.
        let header = unsafe { job.as_ref() };
        match header.state.complete() {
            Complete::Done => None,
            Complete::Wake => {
                // SAFETY: COMPLETING gives us the full waker slot; after
                // `release_queue` the job is touched only if we are the later side.
                let waker = unsafe { header.take_waker() };
                if header.state.release_queue() {
                    // SAFETY: the caller has left, and took the output.
                    unsafe { job::free(job) };
                }
                // Last, so that nothing of ours waits for the waker's code.
                contain(|| waker.wake());
                None
            }
            Complete::Abandoned { waker, orphan } => {
                let orphan = orphan.then(|| Orphan {
                    lane: header.lane().cloned(),
                });
                // SAFETY: the caller has left, so all of the job is ours.
                unsafe {
                    if waker {
                        let waker = header.take_waker();
                        contain(|| drop(waker));
                    }
                    job::drop_output(job);
                    job::free(job);
                }
                orphan
            }
        }
    }
}
