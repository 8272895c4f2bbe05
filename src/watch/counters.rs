//! What a watchdog has seen, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of what a [`Watchdog`](super::Watchdog) has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WatchStats {
    /// Threads that are watched now: those that polled something since a watchdog was started.
    pub threads: u64,
    /// Polls that blocked for longer than the threshold.
    pub incidents: u64,
    /// Polls that lasted longer than the threshold because their thread got no CPU. Nobody is
    /// blamed for them.
    pub host_pressure: u64,
    /// Reports written, closing lines included.
    pub reports: u64,
    /// Incidents that were not reported because their place had been, a short while before.
    pub repeated: u64,
    /// Reports held back by the limit per minute.
    pub held_back: u64,
    /// Incidents inside of `block_in_place`, which are meant to block.
    pub allowed: u64,
    /// Incidents that were over before the stack could be looked at.
    pub lost_captures: u64,
    /// Reports lost because the outputs were too slow.
    pub lost_reports: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) incidents: Counter,
    pub(super) host_pressure: Counter,
    pub(super) reports: Counter,
    pub(super) repeated: Counter,
    pub(super) held_back: Counter,
    pub(super) allowed: Counter,
    pub(super) lost_captures: Counter,
    pub(super) lost_reports: Counter,
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        // ORDERING: Relaxed, here and below: numbers to look at, nothing depends on them.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn snapshot(&self, threads: u64) -> WatchStats {
        WatchStats {
            threads,
            incidents: self.incidents.get(),
            host_pressure: self.host_pressure.get(),
            reports: self.reports.get(),
            repeated: self.repeated.get(),
            held_back: self.held_back.get(),
            allowed: self.allowed.get(),
            lost_captures: self.lost_captures.get(),
            lost_reports: self.lost_reports.get(),
        }
    }
}
