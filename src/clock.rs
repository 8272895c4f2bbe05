//! The one clock: nanoseconds since the process first looked at it.
//!
//! The core gets time handed in as such numbers and never reads it itself.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static START: OnceLock<Instant> = OnceLock::new();

fn start() -> Instant {
    *START.get_or_init(Instant::now)
}

pub(crate) fn now() -> u64 {
    // 2^64 ns are 584 years.
    start().elapsed().as_nanos() as u64
}

/// What the clock shows at `instant`; 0 for all that was before the clock.
pub(crate) fn at(instant: Instant) -> u64 {
    instant.saturating_duration_since(start()).as_nanos() as u64
}

/// When the clock shows `nanos`. `None` if that is too far away for the system.
pub(crate) fn instant(nanos: u64) -> Option<Instant> {
    start().checked_add(Duration::from_nanos(nanos))
}
