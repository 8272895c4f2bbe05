//! Configuration: explicit values before the environment's before the defaults, all
//! of them validated when the pools are built.

mod backends;

use crate::backend::threads::{Hook, Spawner, ThreadTask};
use crate::backend::{Backend, Turns};
use crate::context::Hooks;
use crate::defaults;
use crate::environment;
use crate::offload::{Offload, Policy};
use crate::pool::{Kind, Lanes, Pool};
use crate::supervisor::Supervisor;
use std::error::Error;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Configures an [`Offload`].
///
/// Every value has a default, which a variable in the environment overrides, which
/// the builder overrides:
///
/// | method | variable | default |
/// |---|---|---|
/// | [`io_min_threads`](Self::io_min_threads) | `OFFRAMP_IO_MIN_THREADS` | [`IO_MIN_THREADS`](crate::defaults::IO_MIN_THREADS) |
/// | [`io_max_threads`](Self::io_max_threads) | `OFFRAMP_IO_MAX_THREADS` | [`IO_MAX_THREADS`](crate::defaults::IO_MAX_THREADS) |
/// | [`io_extra_threads`](Self::io_extra_threads) | `OFFRAMP_IO_EXTRA_THREADS` | [`IO_EXTRA_THREADS`](crate::defaults::IO_EXTRA_THREADS) |
/// | [`io_keep_alive`](Self::io_keep_alive) | `OFFRAMP_IO_KEEP_ALIVE_MS` | [`IO_KEEP_ALIVE`](crate::defaults::IO_KEEP_ALIVE) |
/// | [`io_stack_size`](Self::io_stack_size) | `OFFRAMP_IO_STACK_SIZE` | the platform's, 2 MiB as a rule |
/// | [`cpu_threads`](Self::cpu_threads) | `OFFRAMP_CPU_THREADS` | as many as the process may use CPUs |
/// | [`capacity`](Self::capacity) | `OFFRAMP_CAPACITY` | [`CAPACITY`](crate::defaults::CAPACITY) |
/// | [`max_pending`](Self::max_pending) | `OFFRAMP_MAX_PENDING` | [`MAX_PENDING`](crate::defaults::MAX_PENDING) |
/// | [`max_orphans`](Self::max_orphans) | `OFFRAMP_MAX_ORPHANS` | none |
/// | [`ageing`](Self::ageing) | `OFFRAMP_AGEING_MS` | [`AGEING`](crate::defaults::AGEING) |
/// | [`warn_after`](Self::warn_after) | `OFFRAMP_WARN_AFTER_MS` | [`WARN_AFTER`](crate::defaults::WARN_AFTER) |
/// | [`policy`](Self::policy) | `OFFRAMP_POLICY`: `wait` or `reject` | [`Policy::Wait`] |
#[derive(Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    io_min_threads: Option<usize>,
    io_max_threads: Option<usize>,
    io_extra_threads: Option<usize>,
    io_keep_alive: Option<Duration>,
    io_stack_size: Option<usize>,
    io_spawner: Option<Spawner>,
    io_backend: Option<Box<dyn Backend>>,
    cpu_threads: Option<usize>,
    cpu_backend: Option<Box<dyn Backend>>,
    capacity: Option<usize>,
    max_pending: Option<usize>,
    max_orphans: Option<usize>,
    ageing: Option<Duration>,
    warn_after: Option<Duration>,
    warns_never: bool,
    policy: Option<Policy>,
    thread_name: Option<String>,
    pub(crate) context_hooks: Hooks,
    on_thread_start: Option<Hook>,
    on_thread_stop: Option<Hook>,
}

/// Most threads of a pool.
pub(crate) const MOST_THREADS: usize = 1024;
/// Most jobs that may be made to wait: some 100 GB of them.
const MOST_JOBS: usize = 1 << 30;
/// Rust's own start-up of a thread needs some stack.
const SMALLEST_STACK: usize = 64 << 10;
const LARGEST_STACK: usize = 1 << 30;
/// Longest time in a setting: a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Builder {
    /// I/O threads that stay when there is nothing to do: 0 to 1024, at most
    /// `io_max_threads`. They are started on demand like the others.
    pub fn io_min_threads(mut self, threads: usize) -> Self {
        self.io_min_threads = Some(threads);
        self
    }

    /// Most I/O threads: 1 to 1024. As many blocking calls make progress at once.
    pub fn io_max_threads(mut self, threads: usize) -> Self {
        self.io_max_threads = Some(threads);
        self
    }

    /// Threads beyond the maximum that stand in for those whose jobs wait for other jobs of
    /// the pool: 0 to 1024. Beyond them such a wait is
    /// [`WouldDeadlock`](crate::OffloadError::WouldDeadlock), or what it waits for runs
    /// right there: see [`Job::block_on`](crate::Job::block_on).
    pub fn io_extra_threads(mut self, threads: usize) -> Self {
        self.io_extra_threads = Some(threads);
        self
    }

    /// How long an I/O thread beyond the minimum sleeps before it leaves: 1 ms to 1
    /// day.
    pub fn io_keep_alive(mut self, keep_alive: Duration) -> Self {
        self.io_keep_alive = Some(keep_alive);
        self
    }

    /// Stack of an I/O thread in bytes: 64 KiB to 1 GiB. Memory is used only as far as
    /// the stack is.
    pub fn io_stack_size(mut self, bytes: usize) -> Self {
        self.io_stack_size = Some(bytes);
        self
    }

    /// Starts I/O threads in a way of your own.
    ///
    /// `spawner` is called on the thread that needs the worker, which may be an event
    /// loop: it must not block. It makes a new thread call [`ThreadTask::run`], or
    /// answers an error and drops the task: the pool then goes on with the threads it
    /// has and tries again after a pause, and with none it fails the waiting jobs with
    /// [`NoThreads`](crate::OffloadError::NoThreads).
    pub fn io_spawner(
        mut self,
        spawner: impl Fn(ThreadTask) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.io_spawner = Some(Arc::new(spawner));
        self
    }

    /// Runs I/O jobs on `backend` instead of threads of the crate's own. Excludes the
    /// other `io_` settings.
    pub fn io_backend(mut self, backend: impl Backend) -> Self {
        self.io_backend = Some(Box::new(backend));
        self
    }

    /// Threads of the CPU pool: 1 to 1024. All are started with the first CPU job.
    pub fn cpu_threads(mut self, threads: usize) -> Self {
        self.cpu_threads = Some(threads);
        self
    }

    /// Runs CPU jobs on `backend`, for example on a rayon pool of your own
    /// ([`backend::Rayon`](crate::backend::Rayon)). Excludes `cpu_threads`.
    pub fn cpu_backend(mut self, backend: impl Backend) -> Self {
        self.cpu_backend = Some(Box::new(backend));
        self
    }

    /// Jobs that may wait in each pool before [`try_spawn`](crate::Offloaded::try_spawn),
    /// and under [`Policy::Reject`] every call, is refused: 1 to 2^30, at most
    /// `max_pending`.
    pub fn capacity(mut self, jobs: usize) -> Self {
        self.capacity = Some(jobs);
        self
    }

    /// Jobs that may wait in each pool at all: 1 to 2^30. Bounds the pool's memory.
    ///
    /// Under [`Policy::Wait`] the lane pays that has most jobs waiting, of [lanes](crate::Lane)
    /// and [tenants](crate::Offloaded::tenant): a call that comes to a full pool is refused
    /// ([`Overloaded`](crate::OffloadError::Overloaded)) if with it its own lane would have as many
    /// as any, else that lane's newest call is, whose closure is dropped by the one that
    /// comes. Calls that [must run](crate::Offloaded::must_run) are neither refused nor made
    /// to pay. If the scheduler is kept busy for some 10 µs, the call that comes is refused.
    pub fn max_pending(mut self, jobs: usize) -> Self {
        self.max_pending = Some(jobs);
        self
    }

    /// No job of a [lane](crate::Lane) starts while so many of its jobs are *orphans*, running
    /// on though their callers have given up: 1 to 2^30; by default there is no limit. Calls
    /// that name no lane share one.
    ///
    /// For a dependency that hangs while its callers time out and try again: it does not
    /// get more than so many calls at once. Those whose callers leave together may all have
    /// been running, so there can be more for a while.
    pub fn max_orphans(mut self, jobs: usize) -> Self {
        self.max_orphans = Some(jobs);
        self
    }

    /// For how long a class of calls may be passed over for higher ones, see
    /// [`Priority`](crate::Priority): 1 ms to 1 day. Then a job of it is next.
    pub fn ageing(mut self, time: Duration) -> Self {
        self.ageing = Some(time);
        self
    }

    /// A job that runs for longer is logged, once, with its label and call site: 1 ms to 1
    /// day. Such jobs belong on [threads of their own](crate::offload_dedicated).
    pub fn warn_after(mut self, age: Duration) -> Self {
        self.warn_after = Some(age);
        self
    }

    /// However long a job runs. Saves the timer thread.
    pub(crate) fn warn_never(mut self) -> Self {
        self.warns_never = true;
        self
    }

    /// What happens to an awaited call when the queue is full.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// First part of the threads' names, without a NUL: `NAME-io-0`, `NAME-cpu-0`.
    /// Linux shows 15 bytes of a name. The default is `offramp`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = Some(name.into());
        self
    }

    /// Called on each new pool thread before its first job. A panic in it ends nothing
    /// but the hook.
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_thread_start = Some(Arc::new(hook));
        self
    }

    /// Called on each pool thread after its last job. A panic in it ends nothing but
    /// the hook.
    pub fn on_thread_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_thread_stop = Some(Arc::new(hook));
        self
    }

    /// Validates all of it and makes the pools. No thread is started yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the setting, its value, and what is allowed.
    pub fn build(mut self) -> Result<Offload, ConfigError> {
        let max_pending = environment::number(
            "max_pending",
            self.max_pending,
            defaults::MAX_PENDING,
            1..=MOST_JOBS,
        )?;
        let capacity = environment::number(
            "capacity",
            self.capacity,
            defaults::CAPACITY.min(max_pending),
            1..=max_pending,
        )?;
        let max_orphans =
            environment::optional_number("max_orphans", self.max_orphans, 1..=MOST_JOBS)?;
        let max_orphans = max_orphans.unwrap_or(usize::MAX);
        let ageing = environment::millis(
            "ageing",
            self.ageing,
            defaults::AGEING,
            Duration::from_millis(1)..=LONGEST,
        )?;
        let lanes = Lanes {
            max_orphans,
            ageing: u64::try_from(ageing.as_nanos()).unwrap_or(u64::MAX),
        };
        let policy = environment::policy(self.policy)?;
        let name = self.thread_name.take();
        let name = name.unwrap_or_else(|| defaults::THREAD_NAME.to_owned());
        if name.contains('\0') {
            return Err(ConfigError::new("thread_name", name, "text without a NUL"));
        }
        let warn_after = environment::millis(
            "warn_after",
            self.warn_after,
            defaults::WARN_AFTER,
            Duration::from_millis(1)..=LONGEST,
        )?;
        let warn_after = if self.warns_never {
            Duration::MAX
        } else {
            warn_after
        };
        let mut hooks = Hooks::new();
        #[cfg(feature = "tracing")]
        hooks.push(Arc::new(crate::tracing_span::CurrentSpan));
        hooks.append(&mut self.context_hooks);
        let dedicated = self.dedicated_threads(&name);
        let io = self.io_pool(&name)?;
        let cpu = self.cpu_pool(&name)?;
        let supervisor = Supervisor::new();
        let turns = |kind, backend, warn_after| {
            let supervisor = Arc::clone(&supervisor);
            Turns::new(Pool::new(
                kind,
                capacity,
                max_pending,
                lanes,
                warn_after,
                backend,
                supervisor,
            ))
        };
        Ok(Offload::new(
            turns(Kind::Io, io, warn_after),
            turns(Kind::Cpu, cpu, warn_after),
            // What goes on for ever is meant to.
            turns(Kind::Dedicated, dedicated, Duration::MAX),
            policy,
            max_orphans,
            hooks,
        ))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closure = |is_set: bool| is_set.then_some("<closure>");
        f.debug_struct("Builder")
            .field("io_min_threads", &self.io_min_threads)
            .field("io_max_threads", &self.io_max_threads)
            .field("io_extra_threads", &self.io_extra_threads)
            .field("io_keep_alive", &self.io_keep_alive)
            .field("io_stack_size", &self.io_stack_size)
            .field("io_spawner", &closure(self.io_spawner.is_some()))
            .field("io_backend", &closure(self.io_backend.is_some()))
            .field("cpu_threads", &self.cpu_threads)
            .field("cpu_backend", &closure(self.cpu_backend.is_some()))
            .field("capacity", &self.capacity)
            .field("max_pending", &self.max_pending)
            .field("max_orphans", &self.max_orphans)
            .field("ageing", &self.ageing)
            .field("warn_after", &self.warn_after)
            .field("policy", &self.policy)
            .field("thread_name", &self.thread_name)
            .field("on_thread_start", &closure(self.on_thread_start.is_some()))
            .field("on_thread_stop", &closure(self.on_thread_stop.is_some()))
            .finish()
    }
}

/// A setting with a value that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    setting: String,
    value: String,
    allowed: String,
}

impl ConfigError {
    pub(crate) fn new(
        setting: impl Into<String>,
        value: String,
        allowed: impl Into<String>,
    ) -> Self {
        Self {
            setting: setting.into(),
            value,
            allowed: allowed.into(),
        }
    }

    pub(crate) fn out_of_range<T: fmt::Debug>(
        setting: impl Into<String>,
        value: String,
        range: &RangeInclusive<T>,
    ) -> Self {
        let allowed = format!("from {:?} to {:?}", range.start(), range.end());
        Self::new(setting, value, allowed)
    }

    /// The builder's method, or the variable in the environment.
    #[must_use]
    pub fn setting(&self) -> &str {
        &self.setting
    }

    /// The value it has.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What it may be.
    #[must_use]
    pub fn allowed(&self) -> &str {
        &self.allowed
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is {}, but must be {}",
            self.setting, self.value, self.allowed
        )
    }
}

impl Error for ConfigError {}
