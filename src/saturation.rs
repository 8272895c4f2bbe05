//! One log line when a pool saturates.

use crate::clock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Two lines of one pool are at least so many nanoseconds apart: a minute. A pool
/// that is busy in bursts says so once, not with each burst.
const QUIET: u64 = 60_000_000_000;

pub(crate) struct Saturation {
    /// When the next line may be written, in the clock's nanoseconds.
    next: AtomicU64,
}

impl Saturation {
    pub(crate) fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
        }
    }

    /// All of the pool's `max` threads are busy and `pending` jobs wait.
    pub(crate) fn begin(&self, pool: &str, max: usize, pending: usize) {
        let now = clock::now();
        let next = self.next.load(Ordering::Relaxed);
        let ours = now >= next
            && self
                .next
                .compare_exchange(next, now + QUIET, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if ours {
            crate::core::unwind::contain(|| {
                log::warn!(
                    target: "offramp",
                    "pool `{pool}` is saturated: all {max} threads are busy, {pending} jobs wait; \
                     if this lasts, raise its maximum or offload less",
                );
            });
        }
    }
}
