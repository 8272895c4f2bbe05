//! [`Offload`], the handle to an I/O pool and a CPU pool, and the process-wide
//! default.

use crate::backend::Turns;
use crate::builder::{Builder, ConfigError, MOST_THREADS};
use crate::pool::Kind;
use crate::stats::Stats;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

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

/// A pool for blocking calls and one for CPU work.
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
    policy: Policy,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.io.close();
        self.cpu.close();
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
}

static GLOBAL: OnceLock<Offload> = OnceLock::new();

impl Offload {
    /// Starts a configuration.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(io: Turns, cpu: Turns, policy: Policy) -> Self {
        let shared = Arc::new_cyclic(|weak| {
            for turns in [&io, &cpu] {
                let owner = WeakOffload {
                    shared: weak.clone(),
                };
                // New, it has none yet.
                let _ = turns.pool().owner.set(owner);
            }
            Shared { io, cpu, policy }
        });
        Self { shared }
    }

    /// The process-wide default: the [`install`]ed one, or else one made here from the
    /// environment and the default sizes.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the `OFFRAMP_*` variable whose value is not valid.
    pub fn global() -> Result<Self, ConfigError> {
        if let Some(offload) = GLOBAL.get() {
            return Ok(offload.clone());
        }
        let offload = Self::builder().build()?;
        // Should another thread be faster, ours has started nothing yet.
        Ok(GLOBAL.get_or_init(|| offload).clone())
    }

    /// A snapshot of what both pools have done and do.
    ///
    /// Costs a few thousand loads; it stops nobody.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            io: self.shared.io.pool().stats(),
            cpu: self.shared.cpu.pool().stats(),
        }
    }

    /// Refuses new calls from the first poll on, runs what was submitted before, and
    /// is ready when both pools' threads have left.
    ///
    /// A job that never returns keeps it pending. Dropping the future does not reopen
    /// the pools. Awaited inside of a job of the same pools it waits for that job, and so
    /// for ever.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown {
            offload: self.clone(),
            is_closed: false,
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
        if !io.pool().backend.resize(io, max_threads) {
            let allowed = "left alone, because the backend cannot be resized";
            return Err(ConfigError::new(field, value, allowed));
        }
        Ok(())
    }

    pub(crate) fn turns(&self, pool: Kind) -> &Turns {
        match pool {
            Kind::Io => &self.shared.io,
            Kind::Cpu => &self.shared.cpu,
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        self.shared.policy
    }

    /// How many may wait before a call that is awaited is refused.
    pub(crate) fn waiting_limit(&self) -> usize {
        match self.policy() {
            Policy::Wait => self.max_pending(),
            Policy::Reject => self.capacity(),
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

/// The future made by [`Offload::shutdown`].
#[derive(Debug)]
#[must_use = "the pools go on until this is awaited"]
pub struct Shutdown {
    offload: Offload,
    is_closed: bool,
}

impl Future for Shutdown {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let pools = [Kind::Io, Kind::Cpu];
        if !self.is_closed {
            self.is_closed = true;
            for pool in pools {
                self.offload.turns(pool).close();
            }
        }
        for pool in pools {
            if !self.offload.turns(pool).pool().poll_ended(cx.waker()) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

/// Makes `offload` the process-wide default.
///
/// # Errors
///
/// [`AlreadyInstalled`] gives it back if there is a default: also one that the first
/// call without an [`on`](crate::Offloaded::on) has made.
pub fn install(offload: Offload) -> Result<(), AlreadyInstalled> {
    GLOBAL.set(offload).map_err(AlreadyInstalled)
}

/// There is a process-wide default already.
#[derive(Debug)]
pub struct AlreadyInstalled(Offload);

impl AlreadyInstalled {
    /// The one that was not installed.
    #[must_use]
    pub fn into_inner(self) -> Offload {
        self.0
    }
}

impl fmt::Display for AlreadyInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a process-wide `Offload` exists already: \
             install yours before the first call, and only once",
        )
    }
}

impl Error for AlreadyInstalled {}
