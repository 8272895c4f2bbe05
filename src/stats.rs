//! Statistics: what a pool has done, counted so that a snapshot always adds up.
//!
//! Every job is counted at each station it passes: submitted, then refused,
//! started or cancelled, then ended. Counters only grow, each job is counted in
//! that order, and a snapshot reads them in the opposite order; so a later
//! station never shows more than an earlier one, and the gauges, which are
//! differences, never fall below zero. No decision depends on any of this.

use crate::core::job::Ended;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Each power of two of nanoseconds is split into so many buckets.
const SUB_BUCKETS: usize = 1 << SUB_BITS;
const SUB_BITS: u32 = 2;
/// Everything below 2^7 = 128 ns is one bucket.
const FIRST_POWER: u32 = 7;
/// Everything from 2^44 ns = 4.9 hours on is one bucket.
const LAST_POWER: u32 = 44;
const BUCKETS: usize = 2 + (LAST_POWER - FIRST_POWER) as usize * SUB_BUCKETS;

/// A snapshot of the pools of an [`Offload`](crate::Offload).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The pool behind [`offload_io`](fn@crate::offload_io).
    pub io: PoolStats,
    /// The pool behind [`offload_cpu`](fn@crate::offload_cpu).
    pub cpu: PoolStats,
    /// The threads behind [`offload_dedicated`](crate::offload_dedicated).
    pub dedicated: PoolStats,
}

/// A snapshot of one pool.
///
/// In every snapshot `submitted = completed + panicked + cancelled + expired + refused +
/// discarded + failed + queued + running`. At rest `queued` and `running` are 0. The counters are
/// read one after the other while the pool goes on, so in motion these two gauges can be
/// too large by what moved meanwhile; they are never below 0.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Calls made: futures polled for the first time, and `try_spawn`s.
    pub submitted: u64,
    /// Closures that ran to their end.
    pub completed: u64,
    /// Closures that panicked.
    pub panicked: u64,
    /// Jobs cancelled before they started, or stopped at a checkpoint.
    pub cancelled: u64,
    /// Jobs whose deadline passed before they started: they never ran.
    pub expired: u64,
    /// Calls not taken: the queue was full, or the pool shut down.
    pub refused: u64,
    /// Jobs that waited when a [shutdown](crate::Offload::shutdown) discarded them.
    pub discarded: u64,
    /// Jobs taken that found no thread, or no pool any more.
    pub failed: u64,
    /// Jobs waiting now.
    pub queued: u64,
    /// Jobs running now.
    pub running: u64,
    /// Those of the running whose caller has dropped its future.
    pub orphans: u64,
    /// Threads that exist or are being started.
    pub threads: usize,
    /// Those of the threads that sleep.
    pub idle: usize,
    /// How long jobs waited before they started.
    pub wait: Histogram,
    /// How long closures ran.
    pub run: Histogram,
}

/// A distribution of durations, in buckets at most 25 % wide.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Box<[u64]>,
}

impl Histogram {
    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration that the share `q` (0 to 1) of all recorded ones does not
    /// exceed, rounded up to the bucket's upper bound; zero if nothing was
    /// recorded. From 4.9 hours on it answers 4.9 hours.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        let count = self.count();
        if count == 0 {
            return Duration::ZERO;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank {
                return Duration::from_nanos(upper_bound(index));
            }
        }
        unreachable!("the rank is at most the count")
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.quantile(1.0))
            .finish()
    }
}

#[inline]
fn bucket(nanos: u64) -> usize {
    let power = nanos.max(1).ilog2();
    if power < FIRST_POWER {
        0
    } else if power >= LAST_POWER {
        BUCKETS - 1
    } else {
        let sub = (nanos >> (power - SUB_BITS)) as usize & (SUB_BUCKETS - 1);
        1 + (power - FIRST_POWER) as usize * SUB_BUCKETS + sub
    }
}

fn upper_bound(bucket: usize) -> u64 {
    if bucket == 0 {
        return (1 << FIRST_POWER) - 1;
    }
    if bucket == BUCKETS - 1 {
        return 1 << LAST_POWER;
    }
    let (power, sub) = ((bucket - 1) / SUB_BUCKETS, (bucket - 1) % SUB_BUCKETS);
    let power = power as u32 + FIRST_POWER;
    (1 << power) + ((sub as u64 + 1) << (power - SUB_BITS)) - 1
}

/// The counters of one pool, but for those that each of its threads has: [`Tally`], and for the
/// jobs that were admitted, which its queue counts.
pub(crate) struct Counters {
    /// Calls made that were not admitted.
    turned_away: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    discarded: AtomicU64,
    cancelled: AtomicU64,
    expired: AtomicU64,
    orphaned: AtomicU64,
    orphans_ended: AtomicU64,
}

/// What one thread has run. That thread alone writes it, so it takes no exclusive access to
/// do so.
pub(crate) struct Tally {
    completed: AtomicU64,
    panicked: AtomicU64,
    stopped: AtomicU64,
    started: AtomicU64,
    wait: [AtomicU64; BUCKETS],
    run: [AtomicU64; BUCKETS],
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            completed: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
            started: AtomicU64::new(0),
            wait: [const { AtomicU64::new(0) }; BUCKETS],
            run: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }

    #[inline]
    pub(crate) fn started(&self, waited: u64) {
        count(&self.wait[bucket(waited)]);
        count(&self.started);
    }

    #[inline]
    pub(crate) fn ended(&self, ended: Ended, ran: u64) {
        count(&self.run[bucket(ran)]);
        count(match ended {
            Ended::Completed => &self.completed,
            Ended::Panicked => &self.panicked,
            Ended::Stopped => &self.stopped,
        });
    }
}

/// One more, by the only thread that writes it.
fn count(counter: &AtomicU64) {
    let counted = counter.load(Ordering::Relaxed);
    // ORDERING: Release, as for the counters that many write, see there.
    counter.store(counted + 1, Ordering::Release);
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            turned_away: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            orphaned: AtomicU64::new(0),
            orphans_ended: AtomicU64::new(0),
        }
    }

    /// A call was made, and is not admitted: to be counted before why.
    pub(crate) fn turned_away(&self) {
        // ORDERING: Relaxed: the count of why, a Release, comes after.
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    // ORDERING, for all that follows: Release, partner: the Acquire loads in
    // `snapshot`. Who sees a job counted here sees it counted at the station
    // before, which this thread counted or learned of through the queue.

    pub(crate) fn refused(&self, jobs: usize) {
        self.refused.fetch_add(jobs as u64, Ordering::Release);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn discarded(&self) {
        self.discarded.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn expired(&self) {
        self.expired.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn orphaned(&self) {
        self.orphaned.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn orphan_ended(&self) {
        self.orphans_ended.fetch_add(1, Ordering::Release);
    }

    /// Reads the stations from the last to the first: `admitted` is asked last.
    pub(crate) fn snapshot<'a>(
        &self,
        admitted: impl FnOnce() -> u64,
        tallies: impl Iterator<Item = &'a Tally> + Clone,
        threads: usize,
        idle: usize,
    ) -> PoolStats {
        let sum = |counter: fn(&Tally) -> &AtomicU64| -> u64 {
            let of = |tally| counter(tally).load(Ordering::Acquire);
            tallies.clone().map(of).sum()
        };
        let histogram = |buckets: fn(&Tally) -> &[AtomicU64; BUCKETS]| {
            let sum = |index: usize| {
                let of = |tally| buckets(tally)[index].load(Ordering::Relaxed);
                tallies.clone().map(of).sum()
            };
            Histogram {
                buckets: (0..BUCKETS).map(sum).collect(),
            }
        };

        let orphans_ended = self.orphans_ended.load(Ordering::Acquire);
        let orphaned = self.orphaned.load(Ordering::Acquire);
        let run = histogram(|tally| &tally.run);
        let completed = sum(|tally| &tally.completed);
        let panicked = sum(|tally| &tally.panicked);
        let stopped = sum(|tally| &tally.stopped);
        let wait = histogram(|tally| &tally.wait);
        let started = sum(|tally| &tally.started);
        let cancelled = self.cancelled.load(Ordering::Acquire);
        let expired = self.expired.load(Ordering::Acquire);
        let discarded = self.discarded.load(Ordering::Acquire);
        let failed = self.failed.load(Ordering::Acquire);
        let refused = self.refused.load(Ordering::Acquire);
        let submitted = self.turned_away.load(Ordering::Relaxed) + admitted();

        let running = started - (completed + panicked + stopped);
        PoolStats {
            submitted,
            completed,
            panicked,
            cancelled: cancelled + stopped,
            expired,
            refused,
            discarded,
            failed,
            queued: submitted - (started + cancelled + expired + discarded + failed + refused),
            running,
            // A caller counts its orphan just after leaving it, so a short one may
            // have ended by then.
            orphans: orphaned.saturating_sub(orphans_ended).min(running),
            threads,
            idle: idle.min(threads),
            wait,
            run,
        }
    }
}
