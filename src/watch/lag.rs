//! The lag monitor: how late an event loop gets to its tasks.

use crate::builder::ConfigError;
use crate::clock;
use crate::core::alarms::Alarm;
use crate::core::unwind::contain;
use crate::supervisor::Supervisor;
use atomic_waker::AtomicWaker;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// How often a heartbeat asks to be woken: so often that a loop that is blocked for a tenth of a
/// second is seen by ten beats, so seldom that nobody feels it (a few microseconds for each).
pub const HEARTBEAT: Duration = Duration::from_millis(10);

/// From when on a late beat is worth a warning: what a user begins to notice.
pub const WARN_ABOVE: Duration = Duration::from_millis(100);

/// From when on a late beat is logged for debugging: a healthy loop is below a millisecond.
pub const DEBUG_ABOVE: Duration = Duration::from_millis(10);

/// Between two lines in the log; the worst of those meanwhile is in the next.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Recorded in microseconds, up to an hour, to two digits: some 20 KiB.
const MOST_MICROS: u64 = 3_600_000_000;
const DIGITS: u8 = 2;

/// Measures how late an event loop gets to its tasks, by a future that is woken again and again.
///
/// The time measured goes from the wake-up, by a thread of this crate, to the poll. So it holds
/// whatever delays tasks: one that blocks (which the [`Watchdog`](super::Watchdog) names), many
/// that are ready, a machine without a free CPU. It works on any runtime, one heartbeat for each
/// loop. On a runtime with several threads it tells how long a task waits for the first of them
/// that is free.
///
/// ```
/// use offramp::watch::LagMonitor;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let monitor = LagMonitor::builder("api").build()?;
/// tokio::spawn(monitor.heartbeat());
/// # while monitor.lag().beats == 0 { tokio::task::yield_now().await; }
/// // Some time later, for a metrics page:
/// println!("{}", monitor.lag());
/// # assert!(monitor.lag().max >= monitor.lag().p50);
/// # Ok::<_, offramp::ConfigError>(())
/// # }).unwrap();
/// ```
#[must_use = "the heartbeats end when the monitor is dropped"]
pub struct LagMonitor {
    shared: Arc<Shared>,
}

/// Settings of a [`LagMonitor`].
#[derive(Debug, Clone)]
#[must_use = "nothing is measured before `build`"]
pub struct LagMonitorBuilder {
    name: &'static str,
    every: Duration,
    warn_above: Duration,
    debug_above: Duration,
}

/// How late a loop was, since the monitor was built or last [`reset`](LagMonitor::reset).
///
/// A beat that is late by more than the time between beats stands for those that could not be
/// made meanwhile, so that the quantiles are of time, not of beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Lag {
    /// Beats measured.
    pub beats: u64,
    /// Half of the time it was no later than this.
    pub p50: Duration,
    /// And 99 of 100 parts of the time no later than this.
    pub p99: Duration,
    /// The worst, exactly.
    pub max: Duration,
}

struct Shared {
    settings: LagMonitorBuilder,
    is_over: AtomicBool,
    beats: Mutex<Beats>,
}

struct Beats {
    micros: Histogram<u64>,
    count: u64,
    max: Duration,
    logged: Option<u64>,
    /// The worst since the last line in the log.
    unlogged: Duration,
}

/// A [`LagMonitor`]'s future, to be spawned on the loop that it measures. It ends when the
/// monitor is dropped.
#[must_use = "futures do nothing unless they are spawned"]
pub struct Heartbeat {
    shared: Arc<Shared>,
    ring: Arc<Ring>,
    alarm: Option<Arc<Alarm>>,
}

/// Notes when it rings, and passes the wake-up on.
struct Ring {
    /// 0: it has not.
    rung: AtomicU64,
    task: AtomicWaker,
}

impl Wake for Ring {
    fn wake(self: Arc<Self>) {
        // ORDERING: Release, partner: the Acquire swap in `poll`; the waker orders them anyway.
        self.rung.store(clock::now().max(1), Ordering::Release);
        self.task.wake();
    }
}

/// One for all heartbeats of the process.
fn supervisor() -> &'static Arc<Supervisor> {
    static SUPERVISOR: OnceLock<Arc<Supervisor>> = OnceLock::new();
    SUPERVISOR.get_or_init(Supervisor::new)
}

impl LagMonitorBuilder {
    /// How often a heartbeat asks to be woken, 5 ms to a minute. Default: [`HEARTBEAT`].
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// From when on a late beat is logged as a warning, at most once a second. Default:
    /// [`WARN_ABOVE`].
    pub fn warn_above(mut self, lag: Duration) -> Self {
        self.warn_above = lag;
        self
    }

    /// From when on a late beat is logged for debugging, at most once a second. Default:
    /// [`DEBUG_ABOVE`].
    pub fn debug_above(mut self, lag: Duration) -> Self {
        self.debug_above = lag;
        self
    }

    /// The monitor.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the setting, its value, and what is allowed.
    pub fn build(self) -> Result<LagMonitor, ConfigError> {
        let range = Duration::from_millis(5)..=Duration::from_secs(60);
        if !range.contains(&self.every) {
            let value = format!("{:?}", self.every);
            return Err(ConfigError::out_of_range("every", value, &range));
        }
        let micros = Histogram::new_with_bounds(1, MOST_MICROS, DIGITS);
        let beats = Beats {
            micros: micros.expect("the bounds are constants"),
            count: 0,
            max: Duration::ZERO,
            logged: None,
            unlogged: Duration::ZERO,
        };
        Ok(LagMonitor {
            shared: Arc::new(Shared {
                settings: self,
                is_over: AtomicBool::new(false),
                beats: Mutex::new(beats),
            }),
        })
    }
}

impl LagMonitor {
    /// Settings for one; `name` is for the log.
    pub fn builder(name: &'static str) -> LagMonitorBuilder {
        LagMonitorBuilder {
            name,
            every: HEARTBEAT,
            warn_above: WARN_ABOVE,
            debug_above: DEBUG_ABOVE,
        }
    }

    /// A future to be spawned on the loop that is to be measured. Several add up.
    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            shared: Arc::clone(&self.shared),
            ring: Arc::new(Ring {
                rung: AtomicU64::new(0),
                task: AtomicWaker::new(),
            }),
            alarm: None,
        }
    }

    /// How late the loop was so far.
    #[must_use]
    pub fn lag(&self) -> Lag {
        let beats = self.shared.beats.lock();
        let at = |quantile| Duration::from_micros(beats.micros.value_at_quantile(quantile));
        Lag {
            beats: beats.count,
            // A bucket's upper end may be above the worst in it.
            p50: at(0.5).min(beats.max),
            p99: at(0.99).min(beats.max),
            max: beats.max,
        }
    }

    /// Forgets what was measured so far.
    pub fn reset(&self) {
        let mut beats = self.shared.beats.lock();
        beats.micros.reset();
        beats.count = 0;
        beats.max = Duration::ZERO;
    }
}

impl Drop for LagMonitor {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn record(&self, lag: Duration, now: u64) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let every = micros(self.settings.every);
        let worst = {
            let mut beats = self.beats.lock();
            beats.count += 1;
            beats.max = beats.max.max(lag);
            let value = micros(lag).clamp(1, MOST_MICROS);
            // It cannot be out of bounds.
            let _ = beats.micros.record_correct(value, every);
            beats.unlogged = beats.unlogged.max(lag);
            let is_soon = |then: u64| now.saturating_sub(then) < LOG_EVERY.as_nanos() as u64;
            if beats.unlogged < self.settings.debug_above.min(self.settings.warn_above)
                || beats.logged.is_some_and(is_soon)
            {
                return;
            }
            beats.logged = Some(now);
            std::mem::take(&mut beats.unlogged)
        };
        // Not under the lock: a logger is anybody's code.
        self.log(worst);
    }

    fn log(&self, worst: Duration) {
        let is_bad = worst >= self.settings.warn_above;
        let level = if is_bad {
            log::Level::Warn
        } else {
            log::Level::Debug
        };
        contain(|| {
            log::log!(
                target: "offramp::watch",
                level,
                "event loop `{}` is late: it took {worst:?} from a wake-up to the poll",
                self.settings.name
            );
        });
    }
}

impl Future for Heartbeat {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.shared.is_over.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        this.ring.task.register(cx.waker());
        // ORDERING: Acquire, partner: `wake`.
        let rung = this.ring.rung.swap(0, Ordering::Acquire);
        if rung == 0 && this.alarm.is_some() {
            return Poll::Pending;
        }
        let now = clock::now();
        if rung != 0 {
            let lag = Duration::from_nanos(now.saturating_sub(rung));
            this.shared.record(lag, now);
        }
        let due = now + this.shared.settings.every.as_nanos() as u64;
        let waker = Waker::from(Arc::clone(&this.ring));
        this.alarm = Some(supervisor().wake_at(due, waker));
        Poll::Pending
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            supervisor().disarm(alarm);
        }
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:?}, p99 {:?}, max {:?} of {} beats",
            self.p50, self.p99, self.max, self.beats
        )
    }
}

impl fmt::Debug for LagMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LagMonitor")
            .field("name", &self.shared.settings.name)
            .field("lag", &self.lag())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat")
            .field("name", &self.shared.settings.name)
            .finish_non_exhaustive()
    }
}
