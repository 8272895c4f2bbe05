//! [`Offload`], the handle to an I/O pool and a CPU pool, and the process-wide
//! default.

use crate::backend::Turns;
use crate::builder::{Builder, ConfigError, MOST_THREADS};
use crate::context::Hooks;
use crate::core::lane_state::LaneState;
use crate::error::OffloadError;
use crate::install;
use crate::lane::{self, Lane};
use crate::misuse::Misuse;
use crate::pool::Kind;
use crate::priority::Priority;
use crate::scoped::{Scope, Scoped};
use crate::shutdown::{Backlog, Shutdown};
use crate::stats::Stats;
use crate::submit::Limit;
use crate::supervisor::Supervisor;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What happens to an awaited call when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Policy {
    /// It waits its turn in the queue, up to
    /// [`max_pending`](Builder::max_pending) of them. The default.
    #[default]
    Wait,
    /// It resolves as [`Overloaded`](crate::OffloadError::Overloaded) where
    /// [`capacity`](Builder::capacity) jobs wait: to shed load early.
    Reject,
}

/// A pool for blocking calls, one for CPU work, and threads for endless jobs.
///
/// Cheap to clone; all clones are the same pools. A library takes an `&Offload`, an
/// application either uses the process-wide default or makes its own with
/// [`builder`](Self::builder). No thread is started before the first call needs one.
///
/// # Drop
///
/// When the last clone is gone, and the last future that was submitted to it, the
/// pools close: nothing more comes, jobs that were detached still run, and the threads
/// leave. Dropping never blocks. To wait, and to refuse new calls while clones are
/// still about, there is [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Offload {
    shared: Arc<Shared>,
}

struct Shared {
    io: Turns,
    cpu: Turns,
    dedicated: Turns,
    policy: Policy,
    hooks: Hooks,
    /// Jobs that wait for a shutdown of the pools they run in.
    shutdowns_inside: AtomicU64,
    /// By name, as long as there are handles.
    lanes: Mutex<HashMap<String, Weak<lane::Shared>>>,
    most_orphans: usize,
}

impl Shared {
    fn all(&self) -> [&Turns; 3] {
        [&self.io, &self.cpu, &self.dedicated]
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.io.pool().is_forked() {
            // Locks may have been held when the process was forked: leaked, untouched.
            for turns in self.all() {
                std::mem::forget(turns.clone());
            }
            return;
        }
        for turns in self.all() {
            turns.close();
        }
        self.io.pool().supervisor.close();
    }
}

/// Does not keep the pools open.
#[derive(Clone)]
pub(crate) struct WeakOffload {
    shared: Weak<Shared>,
}

impl WeakOffload {
    pub(crate) fn upgrade(&self) -> Option<Offload> {
        let shared = self.shared.upgrade()?;
        Some(Offload { shared })
    }

    pub(crate) fn is(&self, offload: &Offload) -> bool {
        self.shared.as_ptr() == Arc::as_ptr(&offload.shared)
    }
}

impl Offload {
    /// Starts a configuration.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(
        io: Turns,
        cpu: Turns,
        dedicated: Turns,
        policy: Policy,
        most_orphans: usize,
        hooks: Hooks,
    ) -> Self {
        let shared = Arc::new_cyclic(|weak| {
            for turns in [&io, &cpu, &dedicated] {
                let owner = WeakOffload {
                    shared: weak.clone(),
                };
                // New, it has none yet.
                let _ = turns.pool().owner.set(owner);
            }
            io.pool().supervisor.set_stand_in(&io);
            Shared {
                io,
                cpu,
                dedicated,
                policy,
                hooks,
                shutdowns_inside: AtomicU64::new(0),
                lanes: Mutex::default(),
                most_orphans,
            }
        });
        Self { shared }
    }

    /// The process-wide default: the [installed](crate::install) one, or else one made here from the
    /// environment and the default sizes.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the `OFFRAMP_*` variable whose value is not valid.
    pub fn global() -> Result<Self, ConfigError> {
        install::get_or_install(|| Self::builder().build())
    }

    /// A snapshot of what the pools have done and do.
    ///
    /// Costs some thousand loads; it stops nobody.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            io: self.shared.io.pool().stats(),
            cpu: self.shared.cpu.pool().stats(),
            dedicated: self.shared.dedicated.pool().stats(),
        }
    }

    /// Call sites whose jobs were seen to be in the wrong pool, or to run for far longer than
    /// usual: an I/O job that computes, a CPU job that sleeps. Each is logged once, too, at
    /// level `warn`, with the call site and what to do about it.
    ///
    /// A thread looks at its first job and then at every sixteenth, after one of less than
    /// 10 µs at the sixty-fourth, so what happens often is
    /// seen soon, and what happens once may not be. Jobs below 10 ms are never reported; what a
    /// job waits for in [`wait`](crate::Offloaded::wait) and [`Job::block_on`](crate::Job::block_on)
    /// does not count. CPU time is known on Unix, and who waited for a CPU on Linux:
    /// elsewhere less is reported.
    ///
    /// ```
    /// use offramp::{MisuseKind, Offload, offload_io};
    /// use std::time::{Duration, Instant};
    /// # futures::executor::block_on(async {
    /// let offload = Offload::builder().build()?;
    /// let spin = || {
    ///     let start = Instant::now();
    ///     while start.elapsed() < Duration::from_millis(50) {}
    /// };
    /// offload_io(spin).on(&offload).label("spin").await?;
    /// for misuse in offload.misuse() {
    ///     println!("{misuse}");
    ///     assert_eq!(misuse.kind, MisuseKind::BurnsCpu);
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn misuse(&self) -> Vec<Misuse> {
        let pools = [&self.shared.io, &self.shared.cpu];
        let of = |turns: &Turns| turns.pool().sites.all();
        pools.into_iter().flat_map(of).collect()
    }

    /// Refuses new calls from the first poll on, runs or discards what waits, and is ready
    /// when everything has ended and the pools' threads have left, or when the time is over.
    ///
    /// `within` is a `Duration` from the first poll, or `None` for as long as it takes. What
    /// has not ended by then goes on; the [`Report`](crate::Report) names it. Dedicated jobs are asked to
    /// stop. Dropping the future does not reopen the pools.
    ///
    /// Inside of a job of the same pools it does not wait for that job, nor for others that
    /// wait for a shutdown.
    ///
    /// ```
    /// use offramp::{Backlog, Offload};
    /// use std::time::Duration;
    /// # futures::executor::block_on(async {
    /// let offload = Offload::builder().build()?;
    /// let report = offload
    ///     .shutdown(Duration::from_secs(5), Backlog::Drain)
    ///     .await;
    /// assert!(report.is_complete(), "{report}");
    /// # Ok::<_, offramp::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn shutdown(&self, within: impl Into<Option<Duration>>, backlog: Backlog) -> Shutdown {
        Shutdown::new(self.clone(), within.into(), backlog)
    }

    /// For tests: calls without an [`on`](crate::Offloaded::on) that are first polled while
    /// `future` is go to this instance instead of the process-wide default. Those of tasks
    /// that `future` spawns do not.
    pub fn scoped<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::new(self.clone(), future)
    }

    /// [`scoped`](Self::scoped) for code that is not async.
    pub fn scoped_sync<R>(&self, f: impl FnOnce() -> R) -> R {
        let _scope = Scope::enter(self);
        f()
    }

    /// Where a call without an `on` goes.
    pub(crate) fn present() -> Result<Self, ConfigError> {
        Scope::present().map_or_else(Self::global, Ok)
    }

    /// Where a call without an `on` goes that waits in `lane`.
    pub(crate) fn of(lane: Option<&Lane>) -> Result<Self, OffloadError> {
        match lane {
            Some(lane) => lane.owner().ok_or(OffloadError::ShutDown),
            None => Self::present().map_err(OffloadError::Config),
        }
    }

    pub(crate) fn supervisor(&self) -> &Arc<Supervisor> {
        &self.shared.io.pool().supervisor
    }

    /// A job of these pools waits for a shutdown.
    pub(crate) fn enter_shutdown(&self) {
        self.shared.shutdowns_inside.fetch_add(1, Ordering::SeqCst);
        for turns in self.shared.all() {
            turns.pool().notify();
        }
    }

    pub(crate) fn leave_shutdown(&self) {
        self.shared.shutdowns_inside.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn shutdowns_inside(&self) -> u64 {
        self.shared.shutdowns_inside.load(Ordering::SeqCst)
    }

    /// The lane of this name: the same one for the same name, as long as a handle of it
    /// exists. Takes a lock; make the handle once, not for each call.
    ///
    /// ```
    /// use offramp::{Offload, offload_io};
    /// # futures::executor::block_on(async {
    /// let offload = Offload::builder().build()?;
    /// let reports = offload.lane("reports");
    /// let call = offload_io(|| std::fs::read("Cargo.toml")).lane(&reports).on(&offload);
    /// assert!(call.await?.is_ok());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn lane(&self, name: &str) -> Lane {
        let mut lanes = self.shared.lanes.lock();
        if let Some(lane) = lanes.get(name).and_then(Lane::upgrade) {
            return lane;
        }
        if lanes.len() == lanes.capacity() {
            // Before it grows.
            lanes.retain(|_, lane| lane.strong_count() > 0);
        }
        let lane = Lane::new(name, self.downgrade(), self.shared.most_orphans);
        lanes.insert(name.to_owned(), lane.downgrade());
        lane
    }

    /// A [lane](Self::lane) for calls that are slow by nature, and not worth more than half of
    /// a pool: name look-ups (`getaddrinfo`), calls to a service far away. Its jobs use at
    /// most half of a pool's threads at the same time, at least one: see
    /// [`max_running`](Lane::max_running), which this sets, also when the pool is
    /// [resized](Self::resize_io). Of a [backend](crate::backend) of unknown size it is half of
    /// [`IO_MAX_THREADS`](crate::defaults::IO_MAX_THREADS).
    ///
    /// ```
    /// use offramp::{Offload, offload_io};
    /// use std::net::ToSocketAddrs;
    /// # futures::executor::block_on(async {
    /// let offload = Offload::builder().build()?;
    /// let dns = offload.slow_lane("dns");
    /// let mut addresses = offload_io(|| ("localhost", 80).to_socket_addrs())
    ///     .lane(&dns)
    ///     .await??;
    /// assert!(addresses.next().is_some());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn slow_lane(&self, name: &str) -> Lane {
        self.lane(name).slow(self)
    }

    /// The lane of a tenant, for one call.
    pub(crate) fn tenant(&self, key: u128, class: Priority) -> Arc<LaneState> {
        let most_orphans = self.shared.most_orphans;
        Arc::new(LaneState::of_tenant(key, class, most_orphans))
    }

    pub(crate) fn downgrade(&self) -> WeakOffload {
        WeakOffload {
            shared: Arc::downgrade(&self.shared),
        }
    }

    /// Jobs may run that could not so far.
    pub(crate) fn unblock(&self) {
        for turns in self.shared.all() {
            turns.unblock(None);
        }
    }

    /// Changes the most I/O threads while the pool runs: 1 to 1024.
    ///
    /// Nothing is lost by it: threads above a smaller maximum leave as they finish their
    /// jobs, and above a larger one new threads start when jobs wait.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a number out of range, or if the pool runs on a
    /// [backend](crate::backend) whose size is not the crate's.
    pub fn resize_io(&self, max_threads: usize) -> Result<(), ConfigError> {
        let range = 1..=MOST_THREADS;
        let (field, value) = ("io_max_threads", max_threads.to_string());
        if !range.contains(&max_threads) {
            return Err(ConfigError::out_of_range(field, value, &range));
        }
        let io = self.turns(Kind::Io);
        if io.pool().is_forked() {
            return Ok(());
        }
        if !io.pool().backend.resize(io, max_threads) {
            let allowed = "left alone, because the backend cannot be resized";
            return Err(ConfigError::new(field, value, allowed));
        }
        let lanes = self.shared.lanes.lock();
        let lanes: Vec<_> = lanes.values().filter_map(Lane::upgrade).collect();
        for lane in lanes {
            lane.resized(self);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn turns(&self, pool: Kind) -> &Turns {
        match pool {
            Kind::Io => &self.shared.io,
            Kind::Cpu => &self.shared.cpu,
            Kind::Dedicated => &self.shared.dedicated,
        }
    }

    #[inline]
    pub(crate) fn hooks(&self) -> &Hooks {
        &self.shared.hooks
    }

    pub(crate) fn policy(&self) -> Policy {
        self.shared.policy
    }

    /// How many may wait before a call that is awaited is refused.
    #[inline]
    pub(crate) fn waiting_limit(&self) -> Limit {
        match self.policy() {
            Policy::Wait => Limit {
                jobs: self.max_pending(),
                by_lane: true,
            },
            Policy::Reject => self.spawning_limit(),
        }
    }

    /// How many may wait before a call that is not awaited is refused.
    pub(crate) fn spawning_limit(&self) -> Limit {
        Limit {
            jobs: self.capacity(),
            by_lane: false,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.shared.io.pool().capacity
    }

    pub(crate) fn max_pending(&self) -> usize {
        self.shared.io.pool().max_pending
    }
}

impl fmt::Debug for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload")
            .field("policy", &self.policy())
            .field("capacity", &self.capacity())
            .field("max_pending", &self.max_pending())
            .finish_non_exhaustive()
    }
}
