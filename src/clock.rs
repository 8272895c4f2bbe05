//! The one clock: nanoseconds since some moment before the process first looked at it.
//!
//! The core gets time handed in as such numbers and never reads it itself.

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(offramp_loom)))]
mod ticks;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A moment, and what the clock showed then.
#[derive(Clone, Copy)]
struct Moment {
    instant: Instant,
    nanos: u64,
}

/// By which numbers and instants are told from each other.
static KNOWN: OnceLock<Moment> = OnceLock::new();

pub(crate) use imp::now;
#[cfg(not(offramp_loom))]
pub(crate) use imp::prepare;

/// Where `Instant` reads a clock of the system's that shows nanoseconds, read as it is: without
/// the way there and back each reading is a third of the work.
#[cfg(all(target_os = "linux", not(offramp_loom)))]
mod imp {
    use super::{Instant, KNOWN, Moment};

    #[cfg(target_arch = "x86_64")]
    pub(crate) use super::ticks::{now, prepare};
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) use system as now;
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn prepare() {}

    pub(crate) fn system() -> u64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: a valid place for the answer; this clock is always there.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        // 2^64 ns are 584 years.
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    pub(super) fn known() -> Moment {
        *KNOWN.get_or_init(|| {
            let instant = Instant::now();
            // Between two readings this thread may be kept from running: the closest of some.
            let readings = (0..8).map(|_| {
                let since = instant.elapsed().as_nanos() as u64;
                system() - since
            });
            let nanos = readings.min().unwrap_or_default();
            Moment { instant, nanos }
        })
    }
}

#[cfg(any(not(target_os = "linux"), offramp_loom))]
mod imp {
    use super::{Instant, KNOWN, Moment};

    #[cfg(not(offramp_loom))]
    pub(crate) fn prepare() {}

    pub(crate) fn now() -> u64 {
        // 2^64 ns are 584 years.
        known().instant.elapsed().as_nanos() as u64
    }

    pub(super) fn known() -> Moment {
        *KNOWN.get_or_init(|| Moment {
            instant: Instant::now(),
            nanos: 0,
        })
    }
}

/// What the clock shows at `instant`; 0 for all that was before the clock.
pub(crate) fn at(instant: Instant) -> u64 {
    let known = imp::known();
    let after = instant.saturating_duration_since(known.instant).as_nanos() as u64;
    let before = known.instant.saturating_duration_since(instant).as_nanos() as u64;
    (known.nanos + after).saturating_sub(before)
}

/// When the clock shows `nanos`. `None` if that is too far away for the system.
pub(crate) fn instant(nanos: u64) -> Option<Instant> {
    let known = imp::known();
    let after = Duration::from_nanos(nanos.saturating_sub(known.nanos));
    let before = Duration::from_nanos(known.nanos.saturating_sub(nanos));
    known.instant.checked_add(after)?.checked_sub(before)
}

#[cfg(all(test, not(offramp_loom)))]
mod tests {
    use super::{at, instant, now};
    use std::time::{Duration, Instant};

    #[test]
    fn numbers_and_instants_are_of_one_clock() {
        let (before, here, after) = (now(), Instant::now(), now());
        let seen = at(here);
        assert!(before <= seen, "{before} {seen}");
        // Late by what lay between the two closest readings, at most.
        assert!(seen <= after + 1_000_000_000, "{seen} {after}");
        for nanos in [seen, seen + 5_000_000_000, seen.saturating_sub(5_000)] {
            assert_eq!(instant(nanos).map(at), Some(nanos));
        }
        let hour = Duration::from_secs(3_600);
        assert_eq!(at(here + hour), seen + 3_600_000_000_000);
    }
}
