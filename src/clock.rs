//! The one clock: nanoseconds since the process first looked at it.
//!
//! The core gets time handed in as such numbers and never reads it itself.

use std::sync::OnceLock;
use std::time::Instant;

pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    // 2^64 ns are 584 years.
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
