//! The options of a call.

use super::{Line, Offloaded};
use crate::adapt::interruption::Interruption;
use crate::builder::ConfigError;
use crate::clock;
use crate::closure::Closure;
use crate::core::view::Job;
use crate::handle::OnLeave;
use crate::lane::Lane;
use crate::offload::Offload;
use crate::priority::Priority;
use std::borrow::Cow;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

impl<F, R, Form> Offloaded<F, R, Form>
where
    F: Closure<R, Form>,
    R: Send + 'static,
    Form: 'static,
{
    /// Runs on `offload` instead of the process-wide default.
    ///
    /// Set before the first poll; later it changes nothing.
    #[inline]
    pub fn on(mut self, offload: &Offload) -> Self {
        self.place("on", "another `Offload`");
        self.on = Some(offload.clone());
        self
    }

    /// Names the call: in [`Panicked`](crate::Panicked), and for the closure in [`Job::label`].
    ///
    /// Costs no allocation: the first of label, lane, priority and deadline makes the job 64
    /// bytes larger.
    pub fn label(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Waits in `lane` instead of the line that all other calls share. What an I/O job calls
    /// on its own pool inherits its lane.
    ///
    /// The call runs on the lane's instance, and is [`ShutDown`](crate::OffloadError::ShutDown)
    /// if that is gone. If it is to run [`on`](Self::on) another one,
    /// that is an error ([`Config`](crate::OffloadError::Config)). Costs what a [`label`](Self::label) does.
    pub fn lane(mut self, lane: &Lane) -> Self {
        self.place("lane", lane.name());
        self.line = Some(Line::Lane(lane.clone()));
        self
    }

    /// Waits in the line of this tenant: a session, a customer, whoever's flood shall not
    /// hold up the others. Any value that can be hashed is a key; equal keys share a line. Of
    /// [`lane`](Self::lane) and this the last one counts.
    ///
    /// Between tenants, and lanes, run time is shared out, as [`Lane`] says; a tenant's weight
    /// is 1. A tenant's line costs nothing when it has no jobs: there is nothing to register or
    /// to remove. What an I/O job calls on its own pool inherits its tenant. Each tenant has an
    /// orphan limit of its own ([`max_orphans`](crate::Builder::max_orphans)).
    ///
    /// Costs one more allocation for the job, and hashing the key, twice.
    pub fn tenant(self, key: impl Hash) -> Self {
        self.by_tenant(hashed(&key))
    }

    /// For the attributes, which hash the key before the closure takes it.
    #[cfg(feature = "macros")]
    #[doc(hidden)]
    pub fn __tenant(self, key: u128) -> Self {
        self.by_tenant(key)
    }

    fn by_tenant(mut self, key: u128) -> Self {
        self.place("tenant", "a key");
        self.line = Some(Line::Tenant(key));
        self
    }

    /// For adapters, whose calls all have the same.
    pub(crate) fn in_line(mut self, line: Line) -> Self {
        self.line = Some(line);
        self
    }

    /// Which calls go before it, and which after: see [`Priority`]. Without this it is
    /// `Normal`, or what an I/O job that makes the call has itself.
    ///
    /// Calls of a class that have no tenant, named or inherited, share a lane; those of a
    /// tenant are a lane for each class. A [`lane`](Self::lane) has a class for all of its
    /// calls, so with one this is an error ([`Config`](crate::OffloadError::Config)), and one
    /// that would be inherited is not. Costs what a [`label`](Self::label) does.
    pub fn priority(mut self, class: Priority) -> Self {
        self.place("priority", "of a class");
        self.priority = Some(class);
        self
    }

    /// Gives the call so much time from now on, for waiting and running together.
    ///
    /// When it is over and there is no value yet, the future resolves as
    /// [`DeadlineExceeded`](crate::OffloadError::DeadlineExceeded), at most some 5 ms later, also
    /// if every worker is stuck. A job that waits then never starts: its closure is dropped
    /// by the poll. One that runs sees it at its checkpoints, and in [`Job::remaining`]
    /// beforehand; it goes on as an orphan, as after a [drop](Self#cancellation). Nobody
    /// needs to poll for a job not to start after its deadline.
    ///
    /// The earlier of several deadlines counts, also that of an I/O job which makes the
    /// call.
    ///
    /// # Overload
    ///
    /// A call that has no chance is refused at once:
    /// [`Overloaded`](crate::OffloadError::Overloaded), with the `expected` wait, and the
    /// closure back from [`try_spawn`](Self::try_spawn). So under overload a pool spends its
    /// time on calls that somebody still waits for, and the others learn it early. What is
    /// expected is measured: how fast jobs of the call's lane have started of late while others
    /// waited, times the jobs that wait there now, and a quarter more; and how long one runs
    /// on average. For how long none has started at all counts, too; an old measurement
    /// counts half after each second. A call in whose lane no other waits is never refused by
    /// this, nor is one whose submitter finds the scheduler busy.
    ///
    /// # Cost
    ///
    /// One more allocation, and the pools' timer thread while such calls are pending. A
    /// system call only where it sleeps for longer than this call may take.
    pub fn timeout(self, timeout: Duration) -> Self {
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.due(clock::now().saturating_add(nanos))
    }

    /// The same with a point in time.
    pub fn deadline(self, deadline: Instant) -> Self {
        self.due(clock::at(deadline))
    }

    /// Once this call has been submitted (by the first poll, or `try_spawn`) the closure
    /// runs, exactly once, unless the process dies: for a commit, a flush.
    ///
    /// Dropping the future, or the handle, lets it go on; `abort` does nothing. It waits
    /// where [`max_pending`](crate::Builder::max_pending) jobs do already, it is not
    /// discarded by a [shutdown](Offload::shutdown), and if no thread can be started it
    /// waits until one can. It does not inherit a deadline. What refuses it says so, before
    /// it is submitted: [`ShutDown`](crate::OffloadError::ShutDown),
    /// [`Forked`](crate::OffloadError::Forked), and
    /// [`Config`](crate::OffloadError::Config) for a call with a deadline of its own, which
    /// contradicts it. `try_spawn` still refuses at [`capacity`](crate::Builder::capacity),
    /// and hands the closure back.
    pub fn must_run(mut self) -> Self {
        self.on_leave = OnLeave::Run;
        self
    }

    /// If the call is cancelled, or its time is over, before it started, its closure is
    /// dropped by a thread of the pool: for captures whose destructors block.
    ///
    /// Until then it keeps its room in the queue. A [shutdown](Offload::shutdown) that
    /// discards drops it where it is awaited, though, like the others, and so does the call that
    /// [takes its room](crate::Builder::max_pending).
    pub fn drop_on_pool(mut self) -> Self {
        if self.on_leave == OnLeave::Cancel {
            self.on_leave = OnLeave::CancelOnPool;
        }
        self
    }

    /// Gives the call no more time than `job` has, which makes it: for calls of CPU jobs.
    /// Those of I/O jobs inherit the deadline by themselves.
    pub fn inherit(self, job: &Job) -> Self {
        match job.header().deadline() {
            Some(deadline) => self.due(deadline),
            None => self,
        }
    }

    /// It is for a value, which has its pools and its line: from here on they stay.
    pub(crate) fn in_its_place(mut self) -> Self {
        self.is_placed = true;
        self
    }

    #[inline]
    fn place(&mut self, field: &'static str, value: &str) {
        if self.is_placed {
            let allowed = "left alone for a call of a `Blocking`: its place is the value's";
            let error = ConfigError::new(field, value.to_owned(), allowed);
            self.invalid = Some(Box::new(error));
        }
    }

    /// It will not run, for this reason.
    pub(crate) fn refused(mut self, error: ConfigError) -> Self {
        self.invalid = Some(Box::new(error));
        self
    }

    /// What ends it from outside when its caller leaves it running.
    pub(crate) fn interrupted_by(mut self, interruption: Option<Arc<Interruption>>) -> Self {
        self.interruption = interruption;
        self
    }

    pub(crate) fn due(mut self, due: u64) -> Self {
        self.deadline = Some(self.deadline.map_or(due, |earlier| earlier.min(due)));
        self
    }
}

/// 128 bits, which nobody can make collide who does not know the seeds.
pub(crate) fn hashed(key: &impl Hash) -> u128 {
    static SEEDS: LazyLock<[RandomState; 2]> =
        LazyLock::new(|| [RandomState::new(), RandomState::new()]);
    let [high, low] = SEEDS.each_ref().map(|seed| u128::from(seed.hash_one(key)));
    high << 64 | low
}
