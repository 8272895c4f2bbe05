//! The watchdog: configuration, start and stop.

use super::counters::{Counters, WatchStats};
use super::limit::Limit;
use super::outputs::to_log;
use super::patrol::{Event, Patrol};
use super::report::Report;
use super::reporter::{Output, Reporter};
use super::{slot, stack};
use crate::builder::ConfigError;
use crate::fork;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, Thread};
use std::time::Duration;

/// From when on a poll counts as blocked: far above what polls take, and above a scheduler's
/// time slice on a busy machine; far below what a user notices.
pub const THRESHOLD: Duration = Duration::from_millis(25);

/// So many reports may be written per minute, of all places together.
pub const REPORTS_PER_MINUTE: usize = 30;

/// An incident at the same place is reported again after this time.
pub const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Sightings that may wait for the reporter: more at once are more than anybody reads.
const WAITING_REPORTS: usize = 64;

/// Below it the watchdog would be a load of its own.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// The running watchdog's process, by its number of forks. One at a time: it watches all
/// threads of the process.
static RUNNING: Mutex<Option<u32>> = Mutex::new(None);

/// Watches the polls of [`watch`](fn@super::watch)ed futures, on every thread of the process,
/// until it is dropped.
///
/// It is two threads: one that looks at the polls every half threshold, and asks the kernel
/// about those that do not come back; one that finds names for stacks and writes reports. With
/// no polls to look at both sleep.
///
/// ```
/// use offramp::watch::{Watchdog, watch};
/// use std::time::Duration;
///
/// let (sender, reports) = std::sync::mpsc::channel();
/// let watchdog = Watchdog::builder()
///     .report_to(move |report| drop(sender.send(report.to_string())))
///     .start()?;
/// # futures::executor::block_on(async {
/// watch(async { std::thread::sleep(Duration::from_millis(400)) }).await;
/// # });
/// let text = reports.recv_timeout(Duration::from_secs(60)).unwrap();
/// assert!(text.contains("blocks its event loop"), "{text}");
/// drop(watchdog);
/// # Ok::<_, offramp::watch::StartError>(())
/// ```
#[must_use = "the watchdog stops when it is dropped"]
pub struct Watchdog {
    is_stopped: Arc<AtomicBool>,
    counters: Arc<Counters>,
    mode: String,
    patrol: Thread,
    /// Disconnected when the reporter has ended, which it does after the patrol.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

/// Settings of a [`Watchdog`], made by [`Watchdog::builder`].
#[must_use = "nothing is watched before `start`"]
pub struct WatchdogBuilder {
    threshold: Duration,
    signals: bool,
    signal: Option<i32>,
    reports_per_minute: usize,
    repeat_after: Duration,
    outputs: Vec<Output>,
}

/// Why a [`Watchdog`] could not be started.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of its range.
    Config(ConfigError),
    /// There is one already in this process.
    AlreadyRunning,
    /// The operating system refused a thread.
    NoThread(io::Error),
}

impl WatchdogBuilder {
    /// From when on a poll counts as blocked, 1 ms to an hour. Default: [`THRESHOLD`].
    ///
    /// Polls of at least 1.5 times the threshold are seen, those that last less than it never.
    /// The watchdog looks twice per threshold, for a few microseconds each time.
    pub fn threshold(mut self, threshold: Duration) -> Self {
        self.threshold = threshold;
        self
    }

    /// Whether threads that burn CPU may be signalled for their stack. Default: yes.
    ///
    /// The handler copies registers and stack, and does nothing else. A thread in a system call
    /// is looked at without a signal in any case. Without signals reports of computing polls
    /// have no stack; the task and its place are named anyway.
    pub fn signals(mut self, signals: bool) -> Self {
        self.signals = signals;
        self
    }

    /// Which signal, if it may: one of the real-time ones, to which nobody else listens.
    /// Default: one from the middle of them. A process takes one, once: later watchdogs use the
    /// same. If it is taken already, or is another kind of signal, none is used, and the
    /// [`mode`](Watchdog::mode) says so.
    pub fn signal(mut self, signal: i32) -> Self {
        self.signal = Some(signal);
        self
    }

    /// How many reports may be written per minute. Default: [`REPORTS_PER_MINUTE`]. The others
    /// are counted, and the next report tells how many.
    pub fn reports_per_minute(mut self, reports: usize) -> Self {
        self.reports_per_minute = reports;
        self
    }

    /// When an incident at the same place is reported again. Default: [`REPEAT_AFTER`]. Those
    /// meanwhile are counted, and the next report of the place tells how many.
    pub fn repeat_after(mut self, repeat_after: Duration) -> Self {
        self.repeat_after = repeat_after;
        self
    }

    /// Where reports go: a closure, or one of [`to_log`], [`to_writer`](super::to_writer) and
    /// the like. Several outputs all get each report. Default: [`to_log`].
    ///
    /// Called on the reporter's thread, which may block; should it be too slow for long, reports
    /// are lost and counted. A panic ends with that one call.
    pub fn report_to(mut self, output: impl FnMut(&Report) + Send + 'static) -> Self {
        self.outputs.push(Box::new(output));
        self
    }

    /// Starts it. Polls that begin from now on are watched.
    ///
    /// # Errors
    ///
    /// [`StartError`]: a setting out of range, a watchdog that is there already, or no thread.
    pub fn start(mut self) -> Result<Watchdog, StartError> {
        check("threshold", self.threshold, SHORTEST..=LONGEST)?;
        check("reports_per_minute", self.reports_per_minute, 1..=1_000_000)?;
        check(
            "repeat_after",
            self.repeat_after,
            Duration::ZERO..=Duration::MAX,
        )?;
        fork::watch();
        let mut running = RUNNING.lock();
        if *running == Some(fork::generation()) {
            return Err(StartError::AlreadyRunning);
        }
        if self.outputs.is_empty() {
            self.outputs.push(Box::new(to_log()));
        }
        let mode: stack::Mode = match self.signal {
            Some(signal) if self.signals => stack::mode_with(Some(signal)),
            _ => stack::mode(self.signals),
        };
        let mode = mode.to_string();
        let (sender, events) = mpsc::sync_channel::<Event>(WAITING_REPORTS);
        let (alive, ended) = mpsc::channel();
        let counters = Arc::new(Counters::default());
        let is_stopped = Arc::new(AtomicBool::new(false));
        let reporter = Reporter {
            threshold: self.threshold,
            counters: Arc::clone(&counters),
            limit: Limit::new(self.reports_per_minute, self.repeat_after),
            outputs: self.outputs,
            reported: BTreeMap::new(),
            allowed: BTreeSet::new(),
        };
        let patrol = Patrol {
            threshold: self.threshold,
            signals: self.signals,
            is_stopped: Arc::clone(&is_stopped),
            counters: Arc::clone(&counters),
            reporter: sender,
        };
        let write = move || {
            reporter.run(&events);
            drop::<mpsc::Sender<Infallible>>(alive);
        };
        spawn("offramp-report", write)?;
        // Should it fail, the reporter finds nobody at the other end, and leaves.
        let patrol = spawn("offramp-watch", move || patrol.run())?;
        slot::start_marking();
        *running = Some(fork::generation());
        log::info!(
            target: "offramp::watch",
            "polls of more than {:?} are reported; {mode}",
            self.threshold
        );
        Ok(Watchdog {
            is_stopped,
            counters,
            mode,
            patrol,
            ended: Mutex::new(ended),
        })
    }
}

fn check<T: PartialOrd + fmt::Debug>(
    setting: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), StartError> {
    if range.contains(&value) {
        return Ok(());
    }
    let value = format!("{value:?}");
    Err(StartError::Config(ConfigError::out_of_range(
        setting, value, &range,
    )))
}

fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Result<Thread, StartError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(f);
    match spawned {
        Ok(handle) => Ok(handle.thread().clone()),
        Err(error) => Err(StartError::NoThread(error)),
    }
}

impl Watchdog {
    /// Settings for one.
    pub fn builder() -> WatchdogBuilder {
        WatchdogBuilder {
            threshold: THRESHOLD,
            signals: true,
            signal: None,
            reports_per_minute: REPORTS_PER_MINUTE,
            repeat_after: REPEAT_AFTER,
            outputs: Vec::new(),
        }
    }

    /// What it has seen so far.
    #[must_use]
    pub fn stats(&self) -> WatchStats {
        self.counters.snapshot(slot::count() as u64)
    }

    /// What it can find out on this system, in one line.
    #[must_use]
    pub fn mode(&self) -> &str {
        &self.mode
    }

    /// Stops it, and waits until the last report is written, for at most `patience`. `false`:
    /// it was not by then. Dropping it does not wait.
    pub fn stop(self, patience: Duration) -> bool {
        self.signal_stop();
        let ended = self.ended.lock().recv_timeout(patience);
        ended == Err(RecvTimeoutError::Disconnected)
    }

    fn signal_stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.patrol.unpark();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.signal_stop();
        *RUNNING.lock() = None;
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog")
            .field("mode", &self.mode)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WatchdogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchdogBuilder")
            .field("threshold", &self.threshold)
            .field("signals", &self.signals)
            .field("signal", &self.signal)
            .field("reports_per_minute", &self.reports_per_minute)
            .field("repeat_after", &self.repeat_after)
            .field("outputs", &self.outputs.len())
            .finish()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(f, "misconfigured: {error}"),
            Self::AlreadyRunning => f.write_str(
                "this process has a watchdog already; it watches all threads, and can have \
                 several outputs",
            ),
            Self::NoThread(error) => write!(f, "no thread for the watchdog: {error}"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::NoThread(error) => Some(error),
            Self::AlreadyRunning => None,
        }
    }
}
