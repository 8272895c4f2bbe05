//! The system's clock, carried on from one reading to the next by the CPU's cycle counter.
//!
//! A reading of the system's clock waits until all instructions before it are done, which is most
//! of what it costs, and each job needs two. In between the counter alone is read, and each thread
//! asks the system again within a quarter of a millisecond. So nothing has to be known but how fast
//! the counter is, roughly; that a machine was suspended, or moved to another, shows soon.
//!
//! What is shown is never ahead of the system's clock, and so never goes back on one thread. It is
//! behind by a microsecond at most, where the counter has 1 GHz or more.

use super::imp::system;
use std::cell::Cell;
use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// After so many ticks a thread asks the system.
const MOST: u64 = 1 << 18;

/// A reading of both that took so many ticks was interrupted.
const LONGEST: u64 = 1 << 9;

/// The counter's pace is measured over so many nanoseconds or more, which is to 40 in a million.
const SPAN: u64 = 10_000_000;
/// And not over more: the clock may have stood still.
const LONGEST_SPAN: u64 = 1_000_000_000;

/// A tick counts for less than it takes, by one part in so many: by more than was measured wrong, and
/// than the system's clock is sped up or slowed down to be set (by one in 2,000, either way).
const SHORTER: u64 = 512;

/// How many nanoseconds a tick counts for, times 2^32. 0: not known.
static PACE: AtomicU64 = AtomicU64::new(0);
/// The kernel does not go by the counter either.
const UNUSABLE: u64 = u64::MAX;

/// Whether it does.
static IS_TRUSTED: OnceLock<bool> = OnceLock::new();

/// What both showed at one moment.
#[derive(Clone, Copy)]
struct Reading {
    ticks: u64,
    nanos: u64,
}

const NONE: Reading = Reading { ticks: 0, nanos: 0 };

thread_local! {
    /// What is carried on.
    static LAST: Cell<Reading> = const { Cell::new(NONE) };
    /// From where the pace is measured.
    static BASE: Cell<Reading> = const { Cell::new(NONE) };
}

#[inline]
pub(crate) fn now() -> u64 {
    // ORDERING: Relaxed here and below: a number that tells of nothing else.
    let pace = PACE.load(Ordering::Relaxed);
    if pace == UNUSABLE {
        return system();
    }
    let last = LAST.get();
    let passed = ticks().wrapping_sub(last.ticks);
    if pace == 0 || passed >= MOST {
        return ask(pace);
    }
    last.nanos + ((passed * pace) >> 32)
}

fn ticks() -> u64 {
    // SAFETY: every CPU of this kind has the counter.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Called by threads that may block: to find out what the kernel goes by means to read a file,
/// and who asks for the time may be an event loop.
pub(crate) fn prepare() {
    IS_TRUSTED.get_or_init(is_trusted);
}

#[cold]
fn ask(pace: u64) -> u64 {
    let Some(&is_trusted) = IS_TRUSTED.get() else {
        return system();
    };
    let before = ticks();
    let nanos = system();
    let ticks = ticks();
    if ticks.wrapping_sub(before) >= LONGEST {
        return nanos;
    }
    let here = Reading { ticks, nanos };
    LAST.set(here);
    let base = BASE.get();
    let span = nanos.saturating_sub(base.nanos);
    if span >= SPAN {
        BASE.set(here);
        if span <= LONGEST_SPAN {
            PACE.store(learned(pace, is_trusted, base, here), Ordering::Relaxed);
        }
    }
    nanos
}

/// The pace, after this was seen.
fn learned(pace: u64, is_trusted: bool, base: Reading, here: Reading) -> u64 {
    let passed = here.ticks.saturating_sub(base.ticks).max(1);
    let measured = (u128::from(here.nanos - base.nanos) << 32) / u128::from(passed);
    // From 100 MHz to 10 GHz. Else the counter was set.
    let measured = match u64::try_from(measured) {
        Ok(measured) if (1 << 32) / 10 < measured && measured < 10 << 32 => measured,
        _ => return 0,
    };
    let counted = measured - measured / SHORTER;
    if pace == 0 {
        return if is_trusted { counted } else { UNUSABLE };
    }
    // Something has happened to one of the two, now or when it was measured first.
    let differs = pace.abs_diff(counted) > measured / SHORTER / 2;
    if differs { 0 } else { pace }
}

/// The kernel, which knows whether all CPUs' counters are one, and steady, goes by them.
fn is_trusted() -> bool {
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    fs::read_to_string(source).is_ok_and(|source| source.trim() == "tsc")
}

#[cfg(test)]
mod tests {
    use super::{
        NONE, PACE, Reading, SHORTER, SPAN, UNUSABLE, is_trusted, learned, now, prepare, system,
    };
    use std::sync::atomic::Ordering;

    /// At 1 GHz: 0.5 us for a reading of both, and a 512th of what passes in `MOST` ticks.
    const BEHIND: u64 = 1_025;

    fn is_between_the_system_s_readings() {
        let (before, here, after) = (system(), now(), system());
        assert!(before <= here + BEHIND, "{} behind", before - here);
        assert!(here <= after, "{} ahead", here - after);
    }

    /// From here on it is the counter that is read, if the kernel trusts it.
    fn measure() {
        prepare();
        let since = system();
        while PACE.load(Ordering::Relaxed) == 0 && system() < since + 20_000_000_000 {
            is_between_the_system_s_readings();
        }
        let pace = PACE.load(Ordering::Relaxed);
        assert_ne!(pace, 0, "never measured");
        assert_eq!(pace != UNUSABLE, is_trusted());
    }

    #[test]
    fn it_shows_what_the_system_shows() {
        measure();
        let mut last = now();
        for _ in 0..300_000 {
            is_between_the_system_s_readings();
            let here = now();
            assert!(last <= here, "went back by {}", last - here);
            last = here;
        }
    }

    #[test]
    fn threads_agree() {
        measure();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100_000 {
                        is_between_the_system_s_readings();
                    }
                });
            }
        });
    }

    #[test]
    fn a_pace_is_kept_until_it_is_seen_to_be_wrong() {
        let after = |ticks| Reading { ticks, nanos: SPAN };
        // 2.5 GHz, and what may be measured wrong.
        let pace = (1 << 32) * 2 / 5;
        let pace = pace - pace / SHORTER;
        for ticks in [25_000_000, 25_001_000, 24_999_000] {
            assert_eq!(learned(pace, true, NONE, after(ticks)), pace);
        }
        for ticks in [25_100_000, 24_900_000, 50_000_000, 3, 0] {
            assert_eq!(learned(pace, true, NONE, after(ticks)), 0, "{ticks}");
        }
        let back = Reading {
            ticks: 1 << 40,
            nanos: 0,
        };
        assert_eq!(learned(pace, true, back, after(25_000_000)), 0);
        assert_eq!(learned(0, true, NONE, after(25_000_000)), pace);
        assert_eq!(learned(0, false, NONE, after(25_000_000)), UNUSABLE);
    }
}
