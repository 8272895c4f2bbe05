//! What a submitter needs before it pushes: room, and time.
//!
//! Room is a matter of counters, unless there is none: then a job of another lane may have
//! to give up its own. Who that is, and how long a job would have to wait, is known
//! behind the scheduler's lock, for which submitters never sleep: they try, a while if they have
//! to, and then go on without.

use super::job::{Failure, Header};
use super::job_ref::JobRef;
use super::lane_state::LaneState;
use super::lanes::Lanes;
use super::queue::Queue;
use super::running::{Freed, Running};
use super::state::Claim;
use crate::sync::{AtomicU64, Hint, Ordering, plain, planted};
use std::hint;
use std::ptr::NonNull;
use std::sync::Arc;

/// Steps from inbox to lanes (two a job) that one submitter takes at most, so that its event
/// loop goes on.
const STEPS: usize = 256;

/// How often one that needs room tries the lock: for some 10 µs, many times as long as it is
/// held, unless its holder is kept from running.
const TRIES: usize = if cfg!(offramp_loom) { 1 } else { 1_000 };

/// So many shells more than `limit` may be about before `admit` refuses. They pile up
/// only while the lock's holder is kept from running and others go on cancelling.
pub(crate) const SPARE_SHELLS: usize = 1024;

/// Which limit a job would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Pool,
    /// Its lane's, of so many.
    Lane(usize),
}

/// What submitters write with each job.
pub(super) struct Admission {
    /// Jobs that were ever admitted.
    admitted: AtomicU64,
    /// How many of them had left when somebody looked: never more than have. What it
    /// misses can only make somebody find less room, who then looks himself.
    seen: plain::AtomicU64,
}

impl Admission {
    pub(super) fn new() -> Self {
        Self {
            admitted: AtomicU64::new(0),
            seen: plain::AtomicU64::new(0),
        }
    }
}

/// The right to push so many jobs of a lane.
#[must_use]
#[derive(Debug)]
pub(crate) struct Permit(pub(super) usize);

impl Permit {
    pub(crate) fn jobs(&self) -> usize {
        self.0
    }
}

/// Jobs that lost their room, to be failed with no lock held.
#[must_use]
pub(crate) struct Evicted(Vec<Running>);

impl Evicted {
    pub(crate) fn fail(self, mut failed: impl FnMut(), limit: usize) -> Vec<Freed> {
        let mut freed = Vec::new();
        for job in self.0 {
            failed();
            freed.extend(job.fail(Failure::Overloaded { limit }));
        }
        freed
    }
}

impl Queue {
    /// Takes up room for one job in its lane, if it names one, and in the pool.
    ///
    /// # Errors
    ///
    /// Which limit it was.
    #[inline]
    pub(crate) fn admit(
        &self,
        limit: usize,
        lane: Option<&Arc<LaneState>>,
    ) -> Result<Permit, Full> {
        if let Some(lane) = lane {
            self.note_lane();
            lane.admit(limit == usize::MAX).map_err(Full::Lane)?;
        }
        let admitted = self.admit_to_pool(limit, 1);
        if let (0, Some(lane)) = (admitted, lane) {
            lane.leave();
        }
        if admitted == 0 {
            return Err(Full::Pool);
        }
        Ok(Permit(admitted))
    }

    /// Takes up room for as many of `jobs` jobs as there is, in their lane, if they name one,
    /// and in the pool. Maybe for none.
    pub(crate) fn admit_all(
        &self,
        limit: usize,
        lane: Option<&Arc<LaneState>>,
        mut jobs: usize,
    ) -> Permit {
        if let Some(lane) = lane {
            self.note_lane();
            jobs = lane.admit_all(limit == usize::MAX, jobs);
        }
        let admitted = self.admit_to_pool(limit, jobs);
        if let (true, Some(lane)) = (admitted < jobs, lane) {
            lane.leave_all(jobs - admitted);
        }
        Permit(admitted)
    }

    fn note_lane(&self) {
        if !self.seldom.has_lanes.load(Ordering::Relaxed) {
            self.seldom.has_lanes.store(true, Ordering::Relaxed);
        }
    }

    /// The pool's part: so many of `jobs` that no more than `limit` are pending, and none if
    /// more shells than that wait to be freed.
    fn admit_to_pool(&self, limit: usize, jobs: usize) -> usize {
        if self.seldom.shells.load(Ordering::Relaxed) >= limit.saturating_add(SPARE_SHELLS) {
            return 0;
        }
        // What has left is known to workers; as long as what was seen of it last leaves room,
        // their line is left alone.
        let mut left = self.admission.seen.load(Ordering::Relaxed);
        // ORDERING: Relaxed: the count publishes nothing; jobs travel by the inbox.
        let mut admitted = self.admission.admitted.hint();
        loop {
            let room = jobs.min(limit.saturating_sub((admitted - left) as usize));
            if room < jobs {
                let now = self.left();
                if now != left && !planted("queue: never looks at what was taken") {
                    left = now;
                    self.admission.seen.store(left, Ordering::Relaxed);
                    if !planted("queue: what was taken looked at last") {
                        admitted = self.admission.admitted.hint();
                    }
                    continue;
                }
            }
            if room == 0 {
                return 0;
            }
            if planted("queue: admit in two steps") {
                self.admission
                    .admitted
                    .fetch_add(room as u64, Ordering::Relaxed);
                return room;
            }
            match self.admission.admitted.compare_exchange_weak(
                admitted,
                admitted + room as u64,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return room,
                Err(seen) => admitted = seen,
            }
        }
    }

    /// How many jobs wait. No decision may depend on its being exact.
    pub(crate) fn pending(&self) -> usize {
        let left = self.left();
        (self.admission.admitted.hint() - left) as usize
    }

    /// How many were ever admitted.
    pub(crate) fn admitted(&self) -> u64 {
        self.admission.admitted.hint()
    }

    /// How many were ever taken, roughly.
    pub(crate) fn taken(&self) -> u64 {
        self.told.taken.hint()
    }

    /// A job of `lane` was taken: its room is free. Needs the scheduler's lock, by which only
    /// one writes at a time.
    pub(super) fn count_taken(&self, lane: Option<&Arc<LaneState>>) {
        if let Some(lane) = lane {
            lane.leave_all(1);
        }
        let taken = self.told.taken.hint();
        // ORDERING: Release, partner: `left`.
        self.told.taken.store(taken + 1, Ordering::Release);
    }

    /// How many wait no longer. To be looked at before `admitted`, and then never more than that:
    /// else jobs that came and went in between would make what is pending a negative number. Too
    /// little is no harm: who misses one that has left finds less room.
    fn left(&self) -> u64 {
        // ORDERING: Acquire, partner: the Release in `count_taken` and `cancel_permit`: the
        // admission of what has left is seen.
        self.told.taken.load(Ordering::Acquire) + self.seldom.given_up.load(Ordering::Acquire)
    }

    /// Gives up room: the job was started, cancelled, failed, or never pushed.
    pub(super) fn leave(&self, lane: Option<&Arc<LaneState>>) {
        self.cancel_permit(Permit(1), lane);
    }

    pub(super) fn cancel_permit(&self, permit: Permit, lane: Option<&Arc<LaneState>>) {
        let Permit(jobs) = permit;
        if let Some(lane) = lane {
            lane.leave_all(jobs);
        }
        if planted("queue: room never given up") {
            return;
        }
        // ORDERING: Release, partner: `left`.
        self.seldom
            .given_up
            .fetch_add(jobs as u64, Ordering::Release);
    }

    /// The pool is full for a job of `lane`: the lane with most jobs pays, by its newest,
    /// unless that would be the job itself. Whoever is refused makes sure that a worker looks.
    ///
    /// # Errors
    ///
    /// It is the job itself, or the lock's holder was kept from running.
    pub(crate) fn make_room(
        &self,
        limit: usize,
        lane: Option<&Arc<LaneState>>,
    ) -> (Result<Permit, Full>, Evicted) {
        let mut evicted = Evicted(Vec::new());
        if self.is_closed() || !self.seldom.has_lanes.load(Ordering::Relaxed) {
            return (Err(Full::Pool), evicted);
        }
        let tries = (0..TRIES).find_map(|_| {
            let lanes = self.lanes.try_lock();
            if lanes.is_none() {
                hint::spin_loop();
            }
            lanes
        });
        let Some(mut lanes) = tries else {
            return (self.admit(limit, lane), evicted);
        };
        self.empty_graveyard(&mut lanes);
        lanes.drain(&self.inbox, STEPS);
        let mut permit = self.admit(limit, lane);
        // Else one job less would make no room: more than may wait do, because they must run.
        while matches!(permit, Err(Full::Pool)) && self.pending() == limit {
            let Some(job) = lanes.evict(lane, limit) else {
                break;
            };
            self.leave(job.header().lane());
            evicted.0.push(job);
            permit = self.admit(limit, lane);
        }
        let _ = self.unlock(lanes);
        (permit, evicted)
    }

    /// How long a job of `lane` would have to wait, as far as is known: how fast the lane's
    /// jobs start, times how many wait, and how long one runs. `None`: none waits, so nothing
    /// is to be expected. Whoever is refused makes sure that a worker looks.
    pub(crate) fn expect(&self, lane: Option<&Arc<LaneState>>, now: u64) -> Option<Expected> {
        if !self.has_work() {
            return None;
        }
        let mut lanes = self.lanes.try_lock()?;
        self.empty_graveyard(&mut lanes);
        lanes.drain(&self.inbox, STEPS);
        // Workers leave jobs of the one lane there is in the inbox, until it is their turn.
        let only = !self.seldom.has_lanes.load(Ordering::Relaxed);
        let known = if only { self.pending() } else { 0 };
        let expected = lanes.expect(lane, known, now);
        let _ = self.unlock(lanes);
        expected
    }
}

/// What a job has to expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Jobs of the lane that wait.
    pub(crate) ahead: usize,
    /// Until it starts, in nanoseconds.
    pub(crate) wait: u64,
    /// From then on.
    pub(crate) run: u64,
}

impl Expected {
    /// Whether it will be over in `time`. A quarter more than expected may come between: a
    /// queue that was let grow to the very limit would make each job in it late.
    pub(crate) fn fits(&self, time: u64) -> bool {
        let wait = self.wait.saturating_add(self.wait / 4);
        wait.saturating_add(self.run) <= time
    }
}

impl Lanes {
    /// Of `all` that wait claims the newest job of the lane with most of them, unless with one
    /// more that of `newcomer` would have as many. `None`, too, if none of that lane's may be
    /// taken.
    fn evict(&mut self, newcomer: Option<&Arc<LaneState>>, all: usize) -> Option<Running> {
        let own = self.find(newcomer).map_or(0, |place| self.seats[place].len);
        if own >= all.div_ceil(2) {
            // Whoever floods the pool is refused without a look at the other lanes.
            return None;
        }
        let fattest = self.seats.iter_mut().max_by_key(|seat| seat.len)?;
        if fattest.len <= own + 1 {
            return None;
        }
        // SAFETY: `&mut self` is the lock; jobs are alive while they are linked.
        let claimed = |job: NonNull<Header>| unsafe {
            let header = JobRef::new(job);
            if header.must_run() {
                return None;
            }
            if planted("room: evicted unclaimed") {
                return Some(Running::new(job, false));
            }
            match header.state.claim() {
                Claim::Run { unwanted } => Some(Running::new(job, unwanted)),
                // Its burial is on the way.
                Claim::Cancelled => None,
            }
        };
        // SAFETY: as above.
        let evicted = unsafe { fattest.jobs.take_newest(claimed) }?;
        fattest.len -= 1;
        Some(evicted)
    }

    /// At least `known` jobs wait in the lane.
    fn expect(&self, lane: Option<&Arc<LaneState>>, known: usize, now: u64) -> Option<Expected> {
        let seat = &self.seats[self.find(lane)?];
        if seat.len == 0 {
            return None;
        }
        let ahead = seat.len.max(known);
        let line = &self.lines[seat.class];
        let shared = || Some(line.pace.interval(now)?.saturating_mul(line.share_of(seat)));
        let interval = seat.pace.interval(now).or_else(shared).unwrap_or(0);
        let in_turn = interval.saturating_mul(ahead as u64);
        Some(Expected {
            ahead,
            wait: in_turn.max(seat.pace.stall(now)),
            run: seat.average(self.typical),
        })
    }
}
