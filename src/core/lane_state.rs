//! What callers and workers know of a lane without the scheduler's lock.

use crate::priority::Priority;
use crate::sync::{AtomicU64, AtomicUsize, Hint, OnceLock, Ordering, plain, planted};
use std::sync::Arc;

/// In nanoseconds.
const MICROSECOND: u64 = 1_000;

/// No place among the lanes: it holds no job.
const NOWHERE: usize = usize::MAX;

/// Of a named lane there is one, which its handles and jobs share. Of a tenant's lane each
/// call makes one; the first that comes to the lanes is the lane's, and the others, while it
/// lives, stand for it.
#[derive(Debug)]
pub(crate) struct LaneState {
    /// Hashed by the submitter.
    tenant: Option<u128>,
    /// The tenant's lane, if this is not it. Written under the lock, before the job starts.
    stands_for: OnceLock<Arc<LaneState>>,
    /// Its place among the lanes, or `NOWHERE`. Written and read under the lock.
    place: plain::AtomicUsize,
    /// Running jobs whose caller has left. Wraps below 0 for a moment, when one ends before
    /// its caller has counted it.
    orphans: AtomicUsize,
    /// No job of the lane starts while there are so many.
    most_orphans: plain::AtomicUsize,
    /// Jobs of a lane with a handle that were admitted and have not started.
    queued: plain::AtomicUsize,
    /// No more than so many are admitted.
    max_queued: plain::AtomicUsize,
    /// Its share, as against other lanes of its class.
    weight: plain::AtomicU64,
    /// A [`Priority`], as a number.
    class: plain::AtomicUsize,
    /// How long a job of it runs, on average, in nanoseconds; 0 before the first.
    average: plain::AtomicU64,
    /// What its jobs have run beyond what they were charged, in nanoseconds; wraps below 0.
    /// Fetched under the lock.
    owed: AtomicU64,
    /// Jobs that were taken from it and have not ended, nor lent their turn.
    running: AtomicUsize,
    /// No job of the lane starts while so many run.
    max_running: plain::AtomicUsize,
    /// Its jobs lend no turn: one at a time, whatever it waits for.
    is_exclusive: bool,
    /// The thread that runs a job of an exclusive lane; 0 for none.
    holder: plain::AtomicUsize,
}

impl LaneState {
    pub(crate) fn new(most_orphans: usize) -> Self {
        Self {
            tenant: None,
            stands_for: OnceLock::new(),
            place: plain::AtomicUsize::new(NOWHERE),
            orphans: AtomicUsize::new(0),
            most_orphans: plain::AtomicUsize::new(most_orphans),
            queued: plain::AtomicUsize::new(0),
            max_queued: plain::AtomicUsize::new(usize::MAX),
            weight: plain::AtomicU64::new(1),
            class: plain::AtomicUsize::new(Priority::Normal as usize),
            average: plain::AtomicU64::new(0),
            owed: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            max_running: plain::AtomicUsize::new(usize::MAX),
            is_exclusive: false,
            holder: plain::AtomicUsize::new(0),
        }
    }

    /// A lane that runs one job at a time.
    pub(crate) fn exclusive() -> Self {
        Self {
            max_running: plain::AtomicUsize::new(1),
            is_exclusive: true,
            ..Self::new(usize::MAX)
        }
    }

    /// For one call of a tenant.
    pub(crate) fn of_tenant(key: u128, class: Priority, most_orphans: usize) -> Self {
        Self {
            tenant: Some(key ^ class as u128),
            ..Self::of_class(class, most_orphans)
        }
    }

    /// The lane that calls of a class share.
    pub(crate) fn of_class(class: Priority, most_orphans: usize) -> Self {
        Self {
            class: plain::AtomicUsize::new(class as usize),
            ..Self::new(most_orphans)
        }
    }

    /// Whose lane it is; each of a tenant's classes counts as one.
    pub(super) fn tenant(&self) -> Option<u128> {
        self.tenant
    }

    /// The key of the tenant whose lane it is, the same for all its classes.
    pub(crate) fn key(&self) -> Option<u128> {
        let class = self.class.load(Ordering::Relaxed);
        self.tenant.map(|tenant| tenant ^ class as u128)
    }

    pub(crate) fn priority(&self) -> Priority {
        Priority::ALL[self.class()]
    }

    pub(super) fn stand_for(&self, lane: Arc<Self>) {
        let _ = self.stands_for.set(lane);
    }

    fn itself(&self) -> &Self {
        self.stands_for.get().map_or(self, Arc::as_ref)
    }

    pub(crate) fn is_exclusive(&self) -> bool {
        self.is_exclusive
    }

    /// Relaxed: who asks looks for its own thread, and only that one writes it.
    pub(crate) fn holder(&self) -> usize {
        self.holder.load(Ordering::Relaxed)
    }

    pub(crate) fn set_holder(&self, thread: usize) {
        self.holder.store(thread, Ordering::Relaxed);
    }

    pub(crate) fn set_most_orphans(&self, most: usize) {
        self.most_orphans.store(most, Ordering::Relaxed);
    }

    pub(crate) fn set_max_running(&self, max: usize) {
        self.max_running.store(max, Ordering::Relaxed);
    }

    pub(crate) fn set_max_queued(&self, max: usize) {
        self.max_queued.store(max, Ordering::Relaxed);
    }

    pub(crate) fn set_weight(&self, weight: u64) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    pub(crate) fn set_class(&self, class: Priority) {
        self.class.store(class as usize, Ordering::Relaxed);
    }

    pub(super) fn class(&self) -> usize {
        self.class.load(Ordering::Relaxed)
    }

    /// Takes up room for one more job that waits, or answers how many may.
    pub(super) fn admit(&self, is_exempt: bool) -> Result<(), usize> {
        if self.tenant.is_some() {
            return Ok(());
        }
        let max = if is_exempt {
            usize::MAX
        } else {
            self.max_queued.load(Ordering::Relaxed)
        };
        self.queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |queued| {
                (queued < max).then_some(queued + 1)
            })
            .map(drop)
            .map_err(|_| max)
    }

    /// Takes up room for as many of `jobs` that wait as there is.
    pub(super) fn admit_all(&self, is_exempt: bool, jobs: usize) -> usize {
        if self.tenant.is_some() {
            return jobs;
        }
        let max = if is_exempt {
            usize::MAX
        } else {
            self.max_queued.load(Ordering::Relaxed)
        };
        let room = |queued: usize| jobs.min(max.saturating_sub(queued));
        self.queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |queued| {
                Some(queued + room(queued))
            })
            .map_or(0, room)
    }

    /// Gives it up again.
    pub(super) fn leave(&self) {
        self.leave_all(1);
    }

    pub(super) fn leave_all(&self, jobs: usize) {
        if self.tenant.is_none() {
            self.queued.fetch_sub(jobs, Ordering::Relaxed);
        }
    }

    /// Whether it has a limit to what runs, so that its jobs start by its leave alone.
    pub(crate) fn is_capped(&self) -> bool {
        self.max_running.load(Ordering::Relaxed) != usize::MAX
    }

    /// Whether nothing may start: so many run, or so many orphans.
    pub(super) fn is_blocked(&self) -> bool {
        // ORDERING: nothing is missed by these loads: whoever asks holds the lock, and so does
        // whoever looks again when the last one too many has ended. Acquire, partner: the
        // Release in `ended` and `orphan_ended`: what that job did comes before the next one.
        let most = self.most_orphans.load(Ordering::Relaxed);
        let has_too_many =
            most != usize::MAX && self.orphans.load(Ordering::Acquire) as isize >= most as isize;
        let max = self.max_running.load(Ordering::Relaxed);
        let is_full = self.running.load(Ordering::Acquire) >= max;
        has_too_many || is_full && !planted("lanes: full and served")
    }

    /// A job of it was taken, to be run.
    pub(super) fn started(&self) {
        self.itself().running.fetch_add(1, Ordering::Relaxed);
    }

    /// It has ended. `true`: the lane may have been blocked until now.
    #[must_use]
    pub(super) fn ended(&self) -> bool {
        let max = self.max_running.load(Ordering::Relaxed);
        // ORDERING: Release, partner: the Acquire in `is_blocked` and `is_at_rest`.
        let before = self.itself().running.fetch_sub(1, Ordering::Release);
        debug_assert!(before > 0);
        before >= max
    }

    /// A job of it, for which `charged` was charged, has run for `ran`; `None`: it did not
    /// run. To be called before [`ended`](Self::ended): with its last job the lane may go.
    pub(super) fn settle(&self, charged: u64, ran: Option<u64>) {
        let lane = self.itself();
        let owed = ran.unwrap_or(0).wrapping_sub(charged);
        // ORDERING: Relaxed: ordered by the Release in `ended`, before which it comes.
        lane.owed.fetch_add(owed, Ordering::Relaxed);
        if let Some(ran) = ran {
            // Two at the same time: one of them does not count.
            let average = lane.average.load(Ordering::Relaxed);
            let now = match average {
                0 => ran,
                // One that lost its CPU, or is the odd one out, counts for two: where threads share a CPU
                // a few jobs take many times as long as all others.
                _ => average - average / 8 + ran.min(2 * average.max(MICROSECOND)) / 8,
            };
            lane.average.store(now.max(1), Ordering::Relaxed);
        }
    }

    /// What it is to be charged beyond what it was.
    pub(super) fn take_owed(&self) -> i64 {
        if self.owed.hint() == 0 {
            return 0;
        }
        self.owed.swap(0, Ordering::Relaxed) as i64
    }

    pub(super) fn average(&self) -> u64 {
        self.average.load(Ordering::Relaxed)
    }

    /// Whether nothing of it is left but what it owes: no job runs, not even as an orphan.
    pub(super) fn is_at_rest(&self) -> bool {
        // ORDERING: Acquire, partner: the Release in `ended`: with the last job's end its
        // `settle` is seen.
        let runs = self.running.load(Ordering::Acquire) > 0;
        !runs && self.orphans.load(Ordering::Relaxed) == 0
    }

    /// A job of it waits for another one, and another one of the lane may start meanwhile.
    /// `true`: the lane may have been blocked until now.
    #[must_use]
    pub(crate) fn lend(&self) -> bool {
        !self.is_exclusive && self.ended()
    }

    /// The job goes on.
    pub(crate) fn take_back(&self) {
        if !self.is_exclusive {
            self.started();
        }
    }

    pub(super) fn orphaned(&self) {
        self.itself().orphans.fetch_add(1, Ordering::Relaxed);
    }

    /// `true`: the lane may have been blocked until now.
    #[must_use]
    pub(super) fn orphan_ended(&self) -> bool {
        let most = self.most_orphans.load(Ordering::Relaxed);
        // ORDERING: Release, partner: the Acquire in `is_blocked`.
        let before = self.itself().orphans.fetch_sub(1, Ordering::Release);
        most != usize::MAX && before as isize >= most as isize
    }

    pub(super) fn place(&self) -> Option<usize> {
        let place = self.itself().place.load(Ordering::Relaxed);
        (place != NOWHERE).then_some(place)
    }

    pub(super) fn set_place(&self, place: Option<usize>) {
        self.place
            .store(place.unwrap_or(NOWHERE), Ordering::Relaxed);
    }
}
