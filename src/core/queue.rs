//! The queue: admission, inbox, lanes and graveyard behind one interface.
//!
//! Submitters `admit` and `push`, workers call `next`, cancellers `bury`. See
//! the README beside this file for the protocol.

use super::admission::{Admission, Permit};
use super::host::Length;
use super::inbox::{Inbox, Sealed};
use super::job::{Failure, Header};
use super::job_ref::JobRef;
use super::lane_state::LaneState;
use super::lanes::Lanes;
use super::running::{Finished, Freed, Running};
use super::state::Claim;
use crate::priority::{CLASSES, Priority};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, Mutex, Ordering, plain, planted};
use crossbeam_utils::CachePadded;
use std::ops::DerefMut;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// A lane that was charged so much more than its job ran, a millisecond, comes forward in the
/// line at once. For less the lock is not worth taking: that is made up for by and by.
pub(super) const OVERCHARGE: u64 = 1_000_000;

/// In groups by who writes them, because each change by one takes the cache line from all
/// others: submitters; workers, under the lock; and hardly anybody.
pub(crate) struct Queue {
    pub(super) admission: CachePadded<Admission>,
    pub(super) inbox: CachePadded<Inbox>,
    pub(super) lanes: CachePadded<Mutex<Lanes>>,
    pub(super) told: CachePadded<Told>,
    pub(super) seldom: CachePadded<Seldom>,
}

/// What those with the lock tell those without. Written under it.
pub(super) struct Told {
    /// Whether the lanes, or what is on its way to them, hold jobs.
    left: AtomicBool,
    /// Of the jobs admitted, how many were taken to be run.
    pub(super) taken: AtomicU64,
}

/// What is read with each job, and seldom written.
pub(super) struct Seldom {
    /// What the last job taken is expected to take: a [`Length`], as a number. Written under
    /// the lock.
    length: plain::AtomicUsize,
    /// The queue is being closed, or is. For who may learn it late.
    is_closing: plain::AtomicBool,
    /// Of the jobs admitted, how many were cancelled, failed, or never pushed.
    pub(super) given_up: AtomicU64,
    /// A call has named a lane: from then on there may be several.
    pub(super) has_lanes: plain::AtomicBool,
    /// The lanes of calls that name none, by class.
    shared: [Arc<LaneState>; CLASSES],
    /// Shells of cancelled jobs, to be unlinked; a push-only stack like the inbox.
    pub(super) graveyard: AtomicPtr<Header>,
    /// Shells in the graveyard, the inbox or a lane.
    pub(super) shells: plain::AtomicUsize,
}

/// A job that was admitted and not pushed: its submitter runs it itself.
#[must_use]
pub(crate) struct Kept {
    job: NonNull<Header>,
}

/// A job taken from the queue.
#[must_use]
pub(crate) struct Taken {
    pub(crate) job: Running,
    /// Jobs are left behind: whoever took this one sees to it that another
    /// worker looks.
    pub(crate) more: bool,
}

impl Queue {
    /// `ageing` in nanoseconds: see [`Priority`].
    pub(crate) fn new(most_orphans: usize, ageing: u64) -> Self {
        let shared = Priority::ALL.map(|class| Arc::new(LaneState::of_class(class, most_orphans)));
        let normal = Arc::clone(&shared[Priority::Normal as usize]);
        Self {
            admission: CachePadded::new(Admission::new()),
            inbox: CachePadded::new(Inbox::new()),
            lanes: CachePadded::new(Mutex::new(Lanes::new(normal, ageing))),
            told: CachePadded::new(Told {
                left: AtomicBool::new(false),
                taken: AtomicU64::new(0),
            }),
            seldom: CachePadded::new(Seldom {
                length: plain::AtomicUsize::new(Length::Brief as usize),
                is_closing: plain::AtomicBool::new(false),
                given_up: AtomicU64::new(0),
                has_lanes: plain::AtomicBool::new(false),
                shared,
                graveyard: AtomicPtr::new(ptr::null_mut()),
                shells: plain::AtomicUsize::new(0),
            }),
        }
    }

    /// The lane that calls of a class share, for them to name; `None`: they need not.
    pub(crate) fn shared(&self, class: Priority) -> Option<&Arc<LaneState>> {
        (class != Priority::Normal).then(|| &self.seldom.shared[class as usize])
    }

    fn lane<'a>(&'a self, named: Option<&'a Arc<LaneState>>) -> &'a Arc<LaneState> {
        named.unwrap_or(&self.seldom.shared[Priority::Normal as usize])
    }

    /// How long jobs run, as a rule. As [`pending`](Self::pending).
    pub(crate) fn length(&self) -> Length {
        const ALL: [Length; 3] = [Length::Tiny, Length::Brief, Length::Long];
        ALL[self.seldom.length.load(Ordering::Relaxed)]
    }

    /// Hands a job over. The caller makes sure afterwards that a worker looks
    /// (`Crew::demand`).
    ///
    /// # Safety
    ///
    /// The caller owns the queue side of `job`; on `Err` it still does.
    #[inline]
    pub(crate) unsafe fn push(&self, permit: Permit, job: NonNull<Header>) -> Result<(), Sealed> {
        // SAFETY: by contract.
        let pushed = unsafe { self.inbox.push(job) };
        if pushed.is_err() {
            // SAFETY: still the caller's.
            self.cancel_permit(permit, unsafe { JobRef::new(job) }.lane());
        }
        pushed
    }

    /// Keeps a job out of the queue. It counts as pending until it is claimed or cancelled.
    ///
    /// # Safety
    ///
    /// The job is new, both of its sides are the caller's, who hands over the queue side.
    pub(crate) unsafe fn keep(&self, permit: Permit, job: NonNull<Header>) -> Kept {
        let Permit(_) = permit;
        Kept { job }
    }

    /// Claims a kept job. `None`: it has been cancelled.
    pub(crate) fn claim(&self, kept: Kept) -> Option<Running> {
        let Kept { job } = kept;
        // SAFETY: its queue side is ours until `let_go`.
        let header = unsafe { JobRef::new(job) };
        match header.state.claim() {
            Claim::Run { unwanted } => {
                self.leave(header.lane());
                // SAFETY: just claimed.
                Some(unsafe { Running::new(job, unwanted) })
            }
            Claim::Cancelled => {
                let mut lanes = self.lanes.lock();
                // SAFETY: cancelled, in no list, and its queue side handed on.
                unsafe { lanes.let_go(job.as_ptr()) };
                let _ = self.unlock(lanes);
                None
            }
        }
    }

    /// Takes the next job in turn, which starts `now`.
    #[inline]
    pub(crate) fn next(&self, now: u64) -> Option<Taken> {
        let mut lanes = self.lanes.lock();
        self.empty_graveyard(&mut lanes);
        let mut more = false;
        let job = loop {
            // Where all jobs are in one lane those in the inbox come after those in the lane,
            // which do without a look: it would take the inbox from the submitters each time.
            let is_known = lanes.has_waiting() && !self.seldom.has_lanes.load(Ordering::Relaxed);
            if !is_known {
                lanes.drain(&self.inbox, usize::MAX);
            }
            let Some(popped) = lanes.pop(now) else {
                // Its lane may be blocked: who asks whether there is work must not be told of
                // jobs in the inbox that may not run either.
                if is_known && lanes.drain(&self.inbox, usize::MAX) {
                    continue;
                }
                lanes.rest();
                break None;
            };
            // SAFETY: linked until a moment ago, so the queue side is alive; a
            // shell stays so until its burial, which needs the lock.
            match unsafe { popped.job.as_ref().state.claim() } {
                Claim::Run { unwanted } => {
                    // SAFETY: the claim gave us the payload.
                    let running = unsafe { Running::new(popped.job, unwanted) };
                    self.count_taken(running.header().lane());
                    let (charged, has_next) = lanes.charge(&popped, now);
                    let running = running.count(charged);
                    let length = Length::of(charged);
                    if self.length() != length {
                        self.seldom.length.store(length as usize, Ordering::Relaxed);
                    }
                    // Unless that was the last one of its lane that may run.
                    let is_blocked = running.header().lane().is_some_and(|lane| lane.is_capped());
                    more = has_next && !is_blocked;
                    break Some(running);
                }
                Claim::Cancelled => {}
            }
        };
        let more = self.unlock_with(lanes, more);
        Some(Taken { job: job?, more })
    }

    /// Whether a worker would find something. Callers fence first.
    pub(crate) fn has_work(&self) -> bool {
        !self.inbox.is_empty() || self.told.left.load(Ordering::Relaxed)
    }

    /// A running job's caller has left; its lane, if it named one.
    pub(super) fn orphaned(&self, lane: Option<Arc<LaneState>>) {
        self.lane(lane.as_ref()).orphaned();
    }

    /// A job has `ran`, and its lane is charged for that instead of what was estimated. To be
    /// called before it is completed.
    #[inline]
    pub(crate) fn settle(&self, finished: &Finished, ran: u64) {
        self.charge(finished.lane(), finished.charged(), Some(ran));
    }

    /// A job that was taken does not run: its lane gets back what it was charged.
    pub(crate) fn give_back(&self, job: &Running) {
        self.charge(job.header().lane(), job.charged(), None);
    }

    #[inline]
    fn charge(&self, lane: Option<&Arc<LaneState>>, charged: Option<u64>, ran: Option<u64>) {
        let (lane, Some(charged)) = (self.lane(lane), charged) else {
            return;
        };
        lane.settle(charged, ran);
        let has_others = self.seldom.has_lanes.load(Ordering::Relaxed);
        if has_others && charged >= ran.unwrap_or(0) + OVERCHARGE {
            let mut lanes = self.lanes.lock();
            lanes.refund(lane);
            let _ = self.unlock(lanes);
        }
    }

    /// A job's end made room in its lane. `true`: others waited for that, and a worker has
    /// to look; the one that ran it may not.
    #[must_use]
    pub(crate) fn freed(&self, freed: &Freed) -> bool {
        let lane = self.lane(freed.lane.as_ref());
        let is_orphan = freed.is_orphan && !planted("queue: an orphan for ever");
        let was_full = freed.was_full && !planted("queue: full for ever");
        let was_blocked = is_orphan && lane.orphan_ended();
        (was_blocked || was_full) && self.unblock(Some(lane))
    }

    /// A lane may not be blocked any more, or (`None`) none of them: whether there is
    /// something to run.
    #[must_use]
    pub(crate) fn unblock(&self, lane: Option<&LaneState>) -> bool {
        let mut lanes = self.lanes.lock();
        match lane {
            Some(lane) => lanes.unblock(lane),
            None => lanes.unblock_all(),
        }
        self.unlock(lanes)
    }

    /// Tells those without the lock what it has come to; `true`: jobs are left.
    pub(super) fn unlock(&self, lanes: impl DerefMut<Target = Lanes>) -> bool {
        self.unlock_with(lanes, false)
    }

    /// The same for who may know already that jobs are `left`.
    #[inline]
    fn unlock_with(&self, mut lanes: impl DerefMut<Target = Lanes>, left: bool) -> bool {
        let left = left || lanes.has_runnable();
        self.set_left(left);
        self.forget_shells(&mut lanes);
        drop(lanes);
        self.look_at_graveyard_again();
        left
    }

    /// Fails every job that waits, but those that must run (unless `all`). What
    /// that freed: callers may have left when their jobs had just been claimed.
    pub(crate) fn fail_all(
        &self,
        all: bool,
        mut failure: impl FnMut() -> Failure,
        mut failed: impl FnMut(),
    ) -> Vec<Freed> {
        let mut jobs = Vec::new();
        let mut lanes = self.lanes.lock();
        self.empty_graveyard(&mut lanes);
        lanes.drain(&self.inbox, usize::MAX);
        // SAFETY: popped and claimed under the lock, as in `next`.
        lanes.retain(|job| unsafe {
            let header = JobRef::new(job);
            let keep = !all && header.must_run() && !planted("queue: must run, and discarded");
            if keep {
                return true;
            }
            if let Claim::Run { unwanted } = header.state.claim() {
                jobs.push(Running::new(job, unwanted));
            }
            false
        });
        let _ = self.unlock(lanes);
        let mut freed = Vec::new();
        for job in jobs {
            self.leave(job.header().lane());
            failed();
            freed.extend(job.fail(failure()));
        }
        freed
    }

    /// Refuses later pushes; what was pushed before waits to be run.
    pub(crate) fn close(&self) {
        self.seldom.is_closing.store(true, Ordering::Relaxed);
        let mut lanes = self.lanes.lock();
        if !planted("queue: closed and seemingly empty") {
            // Before the seal shows: between the sealed inbox and the lanes the jobs are
            // in our hands, and a worker that finds nothing in a closed queue leaves.
            self.set_left(true);
        }
        lanes.seal(&self.inbox);
        let _ = self.unlock(lanes);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.is_sealed()
    }

    /// The same without a look at the inbox, and `true` a moment before.
    pub(crate) fn is_closing(&self) -> bool {
        self.seldom.is_closing.load(Ordering::Relaxed)
    }

    /// A queued job of `lane` was cancelled: its room is free from here on.
    pub(crate) fn cancelled(&self, lane: Option<&Arc<LaneState>>) {
        self.leave(lane);
    }

    pub(super) fn set_left(&self, left: bool) {
        // ORDERING: Relaxed: under the lock; readers fence first.
        if self.told.left.load(Ordering::Relaxed) != left {
            self.told.left.store(left, Ordering::Relaxed);
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Nobody pushes or takes any more, but jobs may be left whose backend
        // never came: their callers still get an answer.
        let _ = self.fail_all(true, || Failure::ShutDown, || {});
    }
}

#[cfg(all(test, not(offramp_loom)))]
#[path = "queue_tests.rs"]
mod tests;
