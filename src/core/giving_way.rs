//! Whether a worker that has found no job lets others have its CPU before it sleeps.
//!
//! To wake a thread is, as a rule, to have the kernel run it at once, and where it ran last, which may
//! be the CPU of the one who wakes it. So a submitter that is not done submitting loses its CPU with
//! each job, to a worker that runs this one job and sleeps again. A worker that yields instead lets
//! the submitter go on. It is claimed for the next job like any that sleeps, but without the kernel;
//! and by the time that its turn has come there are several.
//!
//! Whom the kernel lets run meanwhile it does not say. If that has nothing to do with the pool, jobs for
//! which the worker was claimed lose a time slice, which is milliseconds. So the time that it was away is
//! set against what others have taken in it, and after a loss nobody gives way for a pause, each
//! twice as long as the last.

use super::host::{Host, Length};
use crate::sync::{Ordering, plain};

/// Away for less, in nanoseconds, says nothing, and costs nobody much.
const LONG: u64 = 100_000;

/// While a worker is away the others are to take one tiny job in so many nanoseconds: by far fewer
/// than one of them can.
const PER_JOB: u64 = 4 * Length::TINY;

/// After the first loss: 10 ms, a few time slices.
const FIRST_PAUSE: u64 = 10_000_000;
/// The longest pause: ten seconds, of which a slice is nothing.
const LAST_PAUSE: u64 = 10_000_000_000;

/// What the workers of one crew have found out together. Of two that write at the same time one
/// may be lost.
pub(super) struct GivingWay {
    /// Nobody gives way before this time.
    not_before: plain::AtomicU64,
    /// After the next loss.
    pause: plain::AtomicU64,
}

impl GivingWay {
    pub(super) fn new() -> Self {
        Self {
            not_before: plain::AtomicU64::new(0),
            pause: plain::AtomicU64::new(FIRST_PAUSE),
        }
    }

    /// For a worker that has announced its sleep.
    pub(super) fn before_sleep(&self, host: &impl Host) {
        let begun = host.now();
        if begun < self.not_before.load(Ordering::Relaxed) {
            return;
        }
        let taken = host.taken();
        host.yield_now();
        let now = host.now();
        let away = now.saturating_sub(begun);
        // Where none waits nobody has lost anything.
        if away >= LONG && host.has_work() {
            self.judge(host.taken().wrapping_sub(taken) >= away / PER_JOB, now);
        }
    }

    fn judge(&self, has_paid: bool, now: u64) {
        let pause = self.pause.load(Ordering::Relaxed);
        let next = if has_paid {
            pause / 2
        } else {
            self.not_before.store(now + pause, Ordering::Relaxed);
            pause * 2
        };
        let next = next.clamp(FIRST_PAUSE, LAST_PAUSE);
        if next != pause {
            self.pause.store(next, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(offramp_loom)))]
#[path = "giving_way_tests.rs"]
mod tests;
