//! How fast jobs start while others wait, and so how long one more would have to.

/// The average is over so many starts; beyond twice as many the older ones count half.
const STARTS: u64 = 64;

/// What nothing has confirmed for so many nanoseconds counts half: a second.
const HALF_LIFE: u64 = 1_000_000_000;

/// Of one lane, or of a class of them.
#[derive(Default)]
pub(super) struct Pace {
    /// Between starts with jobs waiting in between, in nanoseconds.
    time: u64,
    starts: u64,
    /// When the last of them was.
    measured: u64,
    /// The last start, or if nothing waited then, when the first came that does now.
    since: u64,
    /// Jobs have waited ever since the last start.
    is_backlogged: bool,
}

/// What is left of `count` after a time.
fn halved(count: u64, age: u64) -> u64 {
    count.checked_shr((age / HALF_LIFE) as u32).unwrap_or(0)
}

impl Pace {
    /// The first job came that waits.
    pub(super) fn begin(&mut self, now: u64) {
        self.since = now;
        self.is_backlogged = false;
    }

    /// A job starts, and leaves others waiting (`more`) or not.
    #[inline]
    pub(super) fn start(&mut self, now: u64, more: bool) {
        if self.is_backlogged {
            let age = now.saturating_sub(self.measured);
            if age >= HALF_LIFE {
                let average = self.time.checked_div(self.starts).unwrap_or(0);
                self.starts = halved(self.starts, age);
                self.time = average * self.starts;
            }
            self.time += now.saturating_sub(self.since);
            self.starts += 1;
            self.measured = now;
            if self.starts == 2 * STARTS {
                self.time /= 2;
                self.starts /= 2;
            }
        }
        self.since = now;
        self.is_backlogged = more;
    }

    /// The average time between starts. `None`: never measured.
    pub(super) fn interval(&self, now: u64) -> Option<u64> {
        let interval = self.time.checked_div(self.starts)?;
        Some(halved(interval, now.saturating_sub(self.measured)))
    }

    /// For how long no job has started though some wait.
    pub(super) fn stall(&self, now: u64) -> u64 {
        now.saturating_sub(self.since)
    }
}

#[cfg(all(test, not(offramp_loom)))]
mod tests {
    use super::{HALF_LIFE, Pace, STARTS};

    #[test]
    fn only_starts_with_jobs_waiting_are_measured() {
        let mut pace = Pace::default();
        pace.begin(0);
        assert_eq!(pace.interval(0), None);
        pace.start(100, true);
        assert_eq!(
            pace.interval(100),
            None,
            "how long the first waits says nothing"
        );
        pace.start(130, true);
        assert_eq!(pace.interval(130), Some(30));
        pace.start(180, false);
        assert_eq!(pace.interval(180), Some(40));
        // Nothing waited for a while.
        pace.begin(9_000);
        pace.start(9_500, false);
        assert_eq!(pace.interval(9_500), Some(40));
    }

    #[test]
    fn an_old_pace_is_left_behind() {
        let mut pace = Pace::default();
        let mut now = 0;
        let mut run = |pace: &mut Pace, starts, interval| {
            for _ in 0..starts {
                now += interval;
                pace.start(now, true);
            }
            now
        };
        run(&mut pace, 10 * STARTS, 1_000);
        let now = run(&mut pace, 10 * STARTS, 10);
        assert!(pace.interval(now).is_some_and(|interval| interval < 20));
        let interval = pace.interval(now);
        assert_eq!(pace.interval(now + HALF_LIFE), interval.map(|now| now / 2));
        assert_eq!(pace.interval(now + 100 * HALF_LIFE), Some(0));
        assert_eq!(pace.stall(now + 5), 5);
    }

    #[test]
    fn idling_confirms_nothing() {
        let mut pace = Pace::default();
        let mut now = 0;
        for _ in 0..STARTS {
            now += 1_000;
            pace.start(now, true);
        }
        pace.start(now + 1_000, false);
        let later = now + 1_000 + 3 * HALF_LIFE;
        pace.begin(later);
        assert_eq!(pace.interval(later), Some(125));
        // One that came and found nobody is no measurement.
        pace.start(later, true);
        assert_eq!(pace.interval(later), Some(125));
        // What is measured now counts as much as the eighth that is left.
        pace.start(later + 10, true);
        let interval = pace.interval(later + 10).unwrap();
        assert!((850..950).contains(&interval), "{interval}");
        for number in 2..60 {
            pace.start(later + 10 * number, true);
        }
        let interval = pace.interval(later + 600).unwrap();
        assert!(interval < 150, "{interval}");
    }
}
