//! A call's way into its pool, or back to its caller.

use crate::backend::Turns;
use crate::clock;
use crate::core::admission::{Full, Permit};
use crate::core::caller::Caller;
use crate::core::chain::Chain;
use crate::core::extension::{Expired, Extension};
use crate::core::job::{self, Work};
use crate::core::lane_state::LaneState;
use crate::core::unwind::contain;
use crate::current;
use crate::error::OffloadError;
use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// How many jobs may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) jobs: usize,
    /// Beyond it the lane pays that has most of them.
    pub(crate) by_lane: bool,
}

impl Limit {
    pub(crate) const NONE: Self = Self {
        jobs: usize::MAX,
        by_lane: false,
    };
}

/// What holds for all calls that are made together.
pub(crate) struct Alike<'a> {
    pub(crate) limit: Limit,
    pub(crate) label: Option<&'a Cow<'static, str>>,
    pub(crate) deadline: Option<u64>,
    pub(crate) lane: Option<Arc<LaneState>>,
    pub(crate) call_site: &'static Location<'static>,
}

impl Alike<'_> {
    /// For one of them.
    fn extension(&self) -> Option<Extension> {
        let is_plain = self.label.is_none() && self.deadline.is_none() && self.lane.is_none();
        (!is_plain).then(|| {
            let (label, lane) = (self.label.cloned(), self.lane.clone());
            Extension::new(label, self.deadline, false, lane)
        })
    }
}

impl Turns {
    /// Submits `work`, or hands it back with the reason.
    #[inline]
    pub(crate) fn submit<W: Work>(
        &self,
        work: W,
        limit: Limit,
        waker: Option<Waker>,
        extension: Option<Extension>,
        call_site: &'static Location<'static>,
    ) -> Result<Caller<W::Output>, (W, OffloadError)> {
        let pool = self.pool();
        if pool.is_forked() {
            return Err((work, OffloadError::Forked));
        }
        let now = clock::now();
        let deadline = extension.as_ref().and_then(|extension| extension.deadline);
        if deadline.is_some_and(|deadline| now >= deadline) {
            pool.counters.turned_away();
            pool.counters.expired();
            contain(|| drop(waker));
            let expired = Expired { waited: 0, ran: 0 };
            return Err((work, expired.into()));
        }
        let lane = extension.as_ref().and_then(|own| own.lane.as_ref());
        let inline = current::inline(self).filter(|_| current::may_run_inside(lane));
        // What runs right here waits for nobody.
        let time = deadline.filter(|_| inline.is_none());
        let time = time.map(|deadline| deadline.saturating_sub(now));
        let permit = match self.admit(limit, lane, time, now) {
            Ok(permit) => permit,
            Err(reason) => {
                pool.counters.turned_away();
                pool.counters.refused(1);
                contain(|| drop(waker));
                if pool.queue.is_closed() {
                    // Until it was counted it may have looked like one that waits.
                    pool.notify();
                    return Err((work, OffloadError::ShutDown));
                }
                return Err((work, reason));
            }
        };
        let job = job::allocate(work, now, waker, extension, call_site);
        // SAFETY: a new job; its queue side goes to the queue, its caller side to
        // `Caller`. If the queue is sealed both are still ours.
        unsafe {
            if let Some(inline) = inline {
                inline.keep(pool.queue.keep(permit, job));
                return Ok(Caller::new(job));
            }
            if pool.queue.push(permit, job).is_err() {
                pool.counters.refused(1);
                pool.notify();
                return Err((job::dismantle::<W>(job), OffloadError::ShutDown));
            }
        }
        pool.backend.demand(self);
        // SAFETY: see above.
        Ok(unsafe { Caller::new(job) })
    }

    /// Submits as many of `works` as there is room for, up to `most`, with one push and one
    /// [`demand`](crate::backend::Backend::demand), and tells their callers in order. How many:
    /// none, too, where calls are not taken or kept, which [`submit`](Self::submit) tells the
    /// reason of. `works` must not panic.
    ///
    /// # Errors
    ///
    /// So many of those told were refused after all, because the pool has been shut down
    /// meanwhile. Their closures are dropped.
    pub(crate) fn submit_all<W: Work>(
        &self,
        alike: &Alike<'_>,
        most: usize,
        mut works: impl FnMut() -> W,
        mut told: impl FnMut(Caller<W::Output>),
    ) -> Result<usize, usize> {
        let pool = self.pool();
        if pool.is_forked() || pool.queue.is_closed() || current::inline(self).is_some() {
            return Ok(0);
        }
        let now = clock::now();
        let lane = alike.lane.as_ref();
        if let Some(deadline) = alike.deadline {
            let time = deadline.saturating_sub(now);
            let expected = pool.queue.expect(lane, now);
            let fits = expected.is_none_or(|expected| expected.fits(time));
            if time == 0 || !fits {
                self.demand_if_needed();
                return Ok(0);
            }
        }
        let permit = pool.queue.admit_all(alike.limit.jobs, lane, most);
        let jobs = permit.jobs();
        if jobs == 0 {
            return Ok(0);
        }
        let mut chain = Chain::new();
        for _ in 0..jobs {
            let job = job::allocate(works(), now, None, alike.extension(), alike.call_site);
            // SAFETY: a new job; its queue side goes to the chain, its caller side to
            // `Caller`.
            unsafe {
                chain.add(job);
                told(Caller::new(job));
            }
        }
        // SAFETY: so many, which have the same lane.
        if let Err(mut chain) = unsafe { pool.queue.push_all(permit, chain) } {
            while let Some(job) = chain.take_newest() {
                // SAFETY: its caller side is given up by the contract of this function's
                // error; so both are ours.
                let work = unsafe { job::dismantle::<W>(job) };
                contain(|| drop(work));
            }
            pool.counters.refused(jobs);
            pool.notify();
            return Err(jobs);
        }
        pool.backend.demand(self);
        Ok(jobs)
    }

    /// Room for one more job of `lane`, which has so much `time`.
    #[inline]
    fn admit(
        &self,
        limit: Limit,
        lane: Option<&Arc<LaneState>>,
        time: Option<u64>,
        now: u64,
    ) -> Result<Permit, OffloadError> {
        let pool = self.pool();
        if let Some(time) = time {
            let expected = pool.queue.expect(lane, now);
            if let Some(expected) = expected.filter(|expected| !expected.fits(time)) {
                self.demand_if_needed();
                return Err(OffloadError::Overloaded {
                    limit: expected.ahead,
                    expected: Some(Duration::from_nanos(expected.wait)),
                });
            }
        }
        let mut permit = pool.queue.admit(limit.jobs, lane);
        if limit.by_lane && permit.is_err() {
            let (room, evicted) = pool.queue.make_room(limit.jobs, lane);
            for freed in evicted.fail(|| pool.counters.refused(1), limit.jobs) {
                self.freed(&freed);
            }
            permit = room;
        }
        permit.map_err(|full| {
            if limit.by_lane || time.is_some() {
                self.demand_if_needed();
            }
            OffloadError::Overloaded {
                limit: match full {
                    Full::Pool => limit.jobs,
                    Full::Lane(jobs) => jobs,
                },
                expected: None,
            }
        })
    }

    fn demand_if_needed(&self) {
        if !self.is_empty() {
            self.pool().backend.demand(self);
        }
    }
}
