//! The worker's side of a job, from claim to release.

use super::job::{self, Ended, Failure, Header};
use super::job_ref::JobRef;
use super::lane_state::LaneState;
use super::state::Complete;
use super::unwind::contain;
use super::view::Job;

use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Waker;

/// A claimed job: its payload is ours.
#[must_use]
pub(crate) struct Running {
    job: NonNull<Header>,
    terms: Terms,
}

/// What there is to know of a claim, in one word: a job changes hands in two registers, for each
/// of which memory would have to be written and read.
#[derive(Clone, Copy)]
struct Terms(u64);

impl Terms {
    const UNWANTED: u64 = 1 << 63;

    fn new(unwanted: bool) -> Self {
        Self(if unwanted { Self::UNWANTED } else { 0 })
    }

    fn is_unwanted(self) -> bool {
        self.0 & Self::UNWANTED != 0
    }

    /// It counts as one that its lane runs, which was charged so much for it.
    fn charge(&mut self, charged: u64) {
        let charged = charged.min(Self::UNWANTED - 2);
        self.0 = self.0 & Self::UNWANTED | (charged + 1);
    }

    fn charged(self) -> Option<u64> {
        (self.0 & !Self::UNWANTED).checked_sub(1)
    }
}

/// The end of a job made room in its lane: to be told to
/// [`Queue::freed`](super::queue::Queue::freed).
#[must_use]
pub(crate) struct Freed {
    /// `None`: the lane of all calls that name none.
    pub(super) lane: Option<Arc<LaneState>>,
    /// Nobody waited for the job any more.
    pub(crate) is_orphan: bool,
    /// The lane ran as many as it may.
    pub(super) was_full: bool,
}

/// A job whose closure has ended and whose output nobody has seen yet.
#[must_use]
pub(crate) struct Finished {
    job: NonNull<Header>,
    terms: Terms,
}

// SAFETY: the claim made us the only owner of the payload, which is `Send`.
unsafe impl Send for Running {}

impl Running {
    /// # Safety
    ///
    /// The caller just claimed `job`.
    pub(crate) unsafe fn new(job: NonNull<Header>, unwanted: bool) -> Self {
        Self {
            job,
            terms: Terms::new(unwanted),
        }
    }

    /// It was its lane's turn: it counts there until it ends.
    #[inline]
    pub(super) fn count(mut self, charged: u64) -> Self {
        self.terms.charge(charged);
        if let Some(lane) = self.header().lane() {
            lane.started();
        }
        self
    }

    pub(crate) fn header(&self) -> JobRef<'_> {
        // SAFETY: a claimed job lives until it is completed.
        unsafe { JobRef::new(self.job) }
    }

    pub(super) fn charged(&self) -> Option<u64> {
        self.terms.charged()
    }

    /// Its caller left it to the pool to drop the closure.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.terms.is_unwanted()
    }

    /// Runs the closure here, with what `enter` answers held meanwhile. Panics stay
    /// inside. `origin` is for the closure's [`Job`].
    #[inline]
    pub(crate) fn run<G>(
        self,
        origin: *const (),
        enter: impl FnOnce(&Job) -> G,
    ) -> (Finished, Ended) {
        let finished = self.into_finished();
        let job = finished.job;
        // SAFETY: claimed; `Finished` comes after the view.
        let view = unsafe { Job::new(job, origin) };
        let entered = enter(&view);
        // SAFETY: claimed, and run once.
        let ended = unsafe { job::run(job, &view) };
        drop(entered);
        (finished, ended)
    }

    /// Drops the closure and completes the job with `failure`.
    pub(crate) fn fail(self, failure: Failure) -> Option<Freed> {
        let finished = self.into_finished();
        // SAFETY: claimed, and failed once.
        unsafe { job::fail(finished.job, failure) };
        finished.complete()
    }

    fn into_finished(self) -> Finished {
        let this = std::mem::ManuallyDrop::new(self);
        Finished {
            job: this.job,
            terms: this.terms,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A backend that takes a turn and does not use it must not lose the job.
        let again = Self { ..*self };
        let _ = again.fail(Failure::NoThreads);
    }
}

impl Finished {
    pub(crate) fn header(&self) -> JobRef<'_> {
        // SAFETY: alive until this side leaves, in `complete`.
        unsafe { JobRef::new(self.job) }
    }

    pub(super) fn lane(&self) -> Option<&Arc<LaneState>> {
        self.header().lane()
    }

    pub(super) fn charged(&self) -> Option<u64> {
        self.terms.charged()
    }

    /// Publishes the output and wakes the caller, or cleans up if there is none.
    pub(crate) fn complete(self) -> Option<Freed> {
        let (waker, freed) = self.publish();
        // Last, so that nothing of ours waits for the waker's code.
        if let Some(waker) = waker {
            contain(|| waker.wake());
        }
        freed
    }

    /// The same, with the caller's waker left to be called.
    #[inline]
    pub(crate) fn publish(self) -> (Option<Waker>, Option<Freed>) {
        let Self { job, terms } = self;
        // SAFETY: alive until this side leaves, which each arm does last.
        let header = unsafe { JobRef::new(job) };
        // Before the caller knows, whose next call may be for the same lane.
        let full = header
            .lane()
            .filter(|lane| terms.charged().is_some() && lane.ended());
        let freed = full.map(|lane| Freed {
            lane: Some(Arc::clone(lane)),
            is_orphan: false,
            was_full: true,
        });
        match header.state.complete() {
            Complete::Done => (None, freed),
            Complete::Wake => {
                // SAFETY: COMPLETING gives us the full waker slot; after
                // `release_queue` the job is touched only if we are the later side.
                let waker = unsafe { header.take_waker() };
                if header.state.release_queue() {
                    // SAFETY: the caller has left, and took the output.
                    unsafe { job::free(job) };
                }
                (Some(waker), freed)
            }
            Complete::Abandoned { waker, orphan } => {
                let freed = if orphan {
                    Some(Freed {
                        lane: header.lane().cloned(),
                        is_orphan: true,
                        was_full: freed.is_some(),
                    })
                } else {
                    freed
                };
                // SAFETY: the caller has left, so all of the job is ours.
                unsafe {
                    if waker {
                        let waker = header.take_waker();
                        contain(|| drop(waker));
                    }
                    job::drop_output(job);
                    job::free(job);
                }
                (None, freed)
            }
        }
    }
}
