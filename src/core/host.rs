//! What the crew needs from outside, and how large it is.

#[cfg(doc)]
use super::crew::Crew;
use std::time::Duration;

/// What the crew needs from outside: the queue, threads and time.
pub(crate) trait Host {
    /// Whether a worker would find a job. Called after a fence.
    fn has_work(&self) -> bool;

    /// How many jobs wait, roughly.
    fn waiting(&self) -> usize;

    /// How many jobs were ever taken, roughly.
    fn taken(&self) -> u64;

    /// How long jobs run, as a rule.
    fn length(&self) -> Length;

    fn is_closed(&self) -> bool;

    /// Takes the next job; if there is one, calls `taken(more)` (`more`: others are
    /// left behind), then runs it. `false` if there was none. Between telling that others are
    /// left and `taken` there is a SeqCst fence.
    fn run_next(&self, taken: impl FnOnce(bool)) -> bool;

    /// Starts a thread that calls [`Crew::work`] with `slot`, or calls
    /// [`Crew::refused`], now or later.
    fn spawn(&self, slot: usize);

    /// Completes every waiting job with `NoThreads`.
    fn fail_all(&self);

    /// More jobs than workers, and no worker can be added.
    fn saturated(&self);

    /// The time in nanoseconds.
    fn now(&self) -> u64;

    /// Lets other threads have this one's CPU, if they want it.
    fn yield_now(&self);

    /// Calls [`Crew::demand`] at this time, if jobs wait then.
    fn demand_at(&self, time: u64);

    /// An idle worker is to be back after this time for another look: see
    /// `Alarms::stand_in`.
    fn back_in(&self) -> Option<Duration>;
}

/// How long a job runs, beside what waking a worker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Less.
    Tiny,
    /// So little that a few switches from one thread to another are a part of it: see `Outbox`.
    Brief,
    /// So much more that each job is worth a wake-up: of some, one after the other, the last
    /// would come later than that.
    Long,
}

impl Length {
    /// In nanoseconds.
    pub(crate) const TINY: u64 = 1_000;
    pub(super) const LONG: u64 = 200_000;

    pub(super) fn of(time: u64) -> Self {
        match time {
            ..Self::TINY => Self::Tiny,
            Self::TINY..Self::LONG => Self::Brief,
            Self::LONG.. => Self::Long,
        }
    }
}

/// How many workers, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) min: usize,
    /// To begin with: see [`Crew::resize`].
    pub(crate) max: usize,
    /// What `max` can be raised to.
    pub(crate) most: usize,
    /// More than `max` while so many of the others lend their turns.
    pub(crate) extra: usize,
    /// How many of them get a CPU at the same time.
    pub(crate) cpus: usize,
    pub(crate) keep_alive: Duration,
}
