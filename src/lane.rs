//! [`Lane`]: calls that wait in a line of their own.

use crate::core::lane_state::LaneState;
use crate::offload::{Offload, WeakOffload};
use crate::pool::Kind;
use std::fmt;
use std::sync::Arc;

/// A line of their own for some calls of an [`Offload`].
///
/// Lanes that have jobs take turns, a job each, so a flood in one does not hold up another.
/// Within a lane it is first come, first served. Calls that name no lane share one. A lane
/// costs nothing while it has no jobs; dropping the handle changes nothing for those it has.
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
}

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

    fn limit(self, set: impl Fn(&LaneState)) -> Self {
        for lane in [&self.shared.io, &self.shared.cpu, &self.shared.dedicated] {
            set(lane);
        }
        // A larger limit may let jobs go that wait by now.
        if let Some(offload) = self.shared.owner.upgrade() {
            offload.look_again();
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
