//! [`Lane`]: calls that wait in a line of their own.

use crate::core::lane_state::LaneState;
use crate::defaults;
use crate::offload::{Offload, WeakOffload};
use crate::pool::Kind;
use crate::priority::Priority;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A line of their own for some calls of an [`Offload`].
///
/// Within a lane it is first come, first served. Between lanes run time is shared out: the lane
/// whose jobs have run for the least time, by its [`weight`](Self::weight), is next, so a flood
/// in one does not hold up another. A lane that comes back after a while starts level with
/// those that were there: idling earns nothing, and what it has had too much is not forgotten.
/// Calls that name no lane share one, of weight 1.
///
/// When a job starts its lane is charged what its jobs take on average; when it ends the
/// difference is made up. The time that it [waits for other calls](crate::Job::block_on) is
/// not charged. In the I/O pool that is exact. In the CPU pool it is approximate: a job is
/// charged from its start to its end, though other threads may run pieces of it, and it may
/// run pieces of others.
///
/// A lane costs nothing while it has no jobs; dropping the handle changes nothing for those it
/// has.
///
/// Made by [`Offload::lane`], cheap to clone, used by [`lane`](crate::Offloaded::lane).
#[derive(Clone)]
pub struct Lane {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    name: String,
    owner: WeakOffload,
    io: Arc<LaneState>,
    cpu: Arc<LaneState>,
    dedicated: Arc<LaneState>,
    /// It keeps to half of a pool.
    is_slow: AtomicBool,
}

/// A thousand times the share of another lane is as good as all of it.
const MOST_WEIGHT: u32 = 1_000;

impl Lane {
    pub(crate) fn new(name: &str, owner: WeakOffload, most_orphans: usize) -> Self {
        Self::of(name, owner, || LaneState::new(most_orphans))
    }

    /// A lane that runs one job at a time.
    pub(crate) fn exclusive(owner: WeakOffload) -> Self {
        Self::of("of a `Blocking`", owner, LaneState::exclusive)
    }

    fn of(name: &str, owner: WeakOffload, state: impl Fn() -> LaneState) -> Self {
        let state = || Arc::new(state());
        Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                owner,
                io: state(),
                cpu: state(),
                dedicated: state(),
                is_slow: AtomicBool::new(false),
            }),
        }
    }

    /// `None`: the last handle to its pools is gone.
    pub(crate) fn owner(&self) -> Option<Offload> {
        self.shared.owner.upgrade()
    }

    pub(crate) fn io(&self) -> &Arc<LaneState> {
        &self.shared.io
    }

    pub(crate) fn downgrade(&self) -> std::sync::Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    pub(crate) fn upgrade(shared: &std::sync::Weak<Shared>) -> Option<Self> {
        let shared = shared.upgrade()?;
        Some(Self { shared })
    }

    /// No job of the lane starts while so many of its jobs run on for callers that have
    /// given up; at least 1. Without this it is what the builder's
    /// [`max_orphans`](crate::Builder::max_orphans) says. The limit is the lane's, for all
    /// handles of it, and holds in each pool.
    pub fn max_orphans(self, jobs: usize) -> Self {
        self.limit(|lane| lane.set_most_orphans(jobs.max(1)))
    }

    /// No job of the lane starts while so many of them run; at least 1. For what allows only
    /// so many at once: connections of a host, licences, memory. Those that wait take no
    /// thread. The limit is the lane's, for all handles of it, and holds in each pool.
    ///
    /// A job that waits in [`wait`](crate::Offloaded::wait) or
    /// [`Job::block_on`](crate::Job::block_on) does not count meanwhile, so that jobs that
    /// wait for jobs of their lane cannot hang it: when it goes on, one more than the limit
    /// may run.
    pub fn max_running(self, jobs: usize) -> Self {
        self.limit(|lane| lane.set_max_running(jobs.max(1)))
    }

    /// A call is [`Overloaded`](crate::OffloadError::Overloaded) while so many of the lane's
    /// wait, in each pool, for itself: the lane's part of
    /// [`max_pending`](crate::Builder::max_pending). Without this there is no such limit. Calls
    /// that [must run](crate::Offloaded::must_run) are exempt.
    pub fn max_queued(self, jobs: usize) -> Self {
        self.limit(|lane| lane.set_max_queued(jobs))
    }

    /// How large the lane's share is, as against other lanes and tenants of its
    /// [class](Priority), which have 1 unless they say otherwise: 1 to 1,000, and what is
    /// beyond counts as that. While all of them have jobs that wait, their jobs run for times
    /// in proportion to the weights, however many and however long they are.
    pub fn weight(self, weight: u32) -> Self {
        self.limit(|lane| lane.set_weight(weight.clamp(1, MOST_WEIGHT).into()))
    }

    /// The class of all calls of the lane. [`Priority::Normal`] if nothing is said.
    pub fn priority(self, class: Priority) -> Self {
        self.limit(|lane| lane.set_class(class))
    }

    pub(crate) fn slow(self, offload: &Offload) -> Self {
        self.shared.is_slow.store(true, Ordering::Relaxed);
        self.resized(offload);
        self
    }

    /// The pools of `offload` may have other sizes than before.
    pub(crate) fn resized(&self, offload: &Offload) {
        if !self.shared.is_slow.load(Ordering::Relaxed) {
            return;
        }
        let shared = &self.shared;
        for (lane, pool) in [(&shared.io, Kind::Io), (&shared.cpu, Kind::Cpu)] {
            let size = offload.turns(pool).pool().backend.size();
            let size = size.unwrap_or(defaults::IO_MAX_THREADS);
            lane.set_max_running((size / 2).max(1));
        }
        offload.unblock();
    }

    fn limit(self, set: impl Fn(&LaneState)) -> Self {
        for lane in [&self.shared.io, &self.shared.cpu, &self.shared.dedicated] {
            set(lane);
        }
        // A larger limit may let jobs go that wait by now.
        if let Some(offload) = self.shared.owner.upgrade() {
            offload.unblock();
        }
        self
    }

    /// What it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// `None`: it is another instance's.
    pub(crate) fn state(&self, offload: &Offload, pool: Kind) -> Option<Arc<LaneState>> {
        self.shared.owner.is(offload).then(|| {
            Arc::clone(match pool {
                Kind::Io => &self.shared.io,
                Kind::Cpu => &self.shared.cpu,
                Kind::Dedicated => &self.shared.dedicated,
            })
        })
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}
