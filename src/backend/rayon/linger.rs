//! Whether a worker that has nothing to do stays awake for a moment.

use crate::clock;
use std::cell::Cell;
use std::hint;

/// For so many nanoseconds. To put a thread to sleep and to wake it costs its CPU, and the one who
/// wakes it, about as much together; who waits no longer than that wastes no more than he would save
/// (A. Karlin et al., "Empirical studies of competitive spinning for a shared-memory multiprocessor", 1991).
const MOST: u64 = 20_000;

/// Pauses between two looks at the clock: half a microsecond or so.
const PAUSES: usize = 8;

/// So often a worker goes to sleep at once that lost its CPU while it lingered: others need it, and
/// the job that relied on it came late. Twice as often each time, up to the other number.
const PENALTY: u32 = 32;
const MOST_PENALTY: u32 = 8_192;

/// What one worker has found out about lingering.
pub(super) struct Linger {
    /// There is a second CPU for those that it waits for.
    is_useful: bool,
    /// When it found nothing to do.
    since: Cell<Option<u64>>,
    /// It has lingered since.
    lingered: Cell<bool>,
    /// So often it goes to sleep at once.
    pause: Cell<u32>,
    penalty: Cell<u32>,
}

impl Linger {
    pub(super) fn new(cpus: usize) -> Self {
        Self {
            is_useful: cpus > 1,
            since: Cell::new(None),
            lingered: Cell::new(false),
            pause: Cell::new(0),
            penalty: Cell::new(PENALTY),
        }
    }

    /// Nothing to do since `now`, or before.
    pub(super) fn begin(&self, now: u64) {
        if self.since.get().is_none() {
            self.since.set(Some(now));
            self.pause.set(self.pause.get().saturating_sub(1));
        }
    }

    /// A job is taken `now` that `came` some time ago.
    pub(super) fn end(&self, came: u64, now: u64) {
        let Some(since) = self.since.take() else {
            return;
        };
        if !self.lingered.take() || came < since {
            return;
        }
        let penalty = self.penalty.get();
        if now > came + MOST && came < since + MOST {
            self.pause.set(penalty);
            self.penalty.set((2 * penalty).min(MOST_PENALTY));
        } else {
            self.penalty.set((penalty / 2).max(PENALTY));
        }
    }

    /// Whether to look for a job once more, after a short while.
    pub(super) fn goes_on(&self) -> bool {
        let may = self.is_useful && self.pause.get() == 0;
        let Some(since) = self.since.get().filter(|_| may) else {
            return false;
        };
        self.lingered.set(true);
        for _ in 0..PAUSES {
            hint::spin_loop();
        }
        clock::now() < since + MOST
    }
}

#[cfg(test)]
mod tests {
    use super::{Linger, MOST, MOST_PENALTY, PENALTY};
    use crate::clock;

    /// With nothing to do for so long, and then a job that is taken so much later. Whether it
    /// lingered.
    fn idle(linger: &Linger, pause: u64, late: u64) -> bool {
        let since = clock::now();
        linger.begin(since);
        linger.goes_on();
        let lingered = linger.lingered.get();
        linger.end(since + pause, since + pause + late);
        lingered
    }

    /// How often it goes to sleep at once before it lingers.
    fn sleeps(linger: &Linger) -> u32 {
        (0..2 * MOST_PENALTY)
            .take_while(|_| !idle(linger, 1, 0))
            .count() as u32
    }

    #[test]
    fn on_one_cpu_it_sleeps() {
        assert!(idle(&Linger::new(2), 1, 0));
        assert!(!idle(&Linger::new(1), 1, 0));
    }

    #[test]
    fn it_does_not_linger_for_longer() {
        let linger = Linger::new(2);
        linger.begin(clock::now() - MOST);
        linger.begin(clock::now());
        assert!(!linger.goes_on(), "the first counts");
    }

    #[test]
    fn one_that_lost_its_cpu_sleeps_for_some_time_and_for_twice_as_long() {
        let linger = Linger::new(2);
        let mut penalty = PENALTY;
        while penalty < MOST_PENALTY {
            assert!(idle(&linger, 1, MOST + 1));
            // The last one of them lingers.
            assert_eq!(sleeps(&linger) + 1, penalty);
            assert!(idle(&linger, 1, MOST + 1));
            assert_eq!(
                sleeps(&linger) + 1,
                penalty,
                "one that came in time halves it"
            );
            assert!(idle(&linger, 1, MOST + 1));
            linger.pause.set(0);
            penalty *= 2;
        }
        assert!(idle(&linger, 1, MOST + 1));
        assert_eq!(sleeps(&linger) + 1, MOST_PENALTY);
        assert!(idle(&linger, 1, MOST + 1));
        linger.pause.set(0);
        for _ in 0..20 {
            assert!(idle(&linger, 1, 0));
        }
        assert!(idle(&linger, 1, MOST + 1));
        assert_eq!(sleeps(&linger) + 1, PENALTY);
    }

    #[test]
    fn who_slept_or_came_before_is_no_reason_to_sleep() {
        let linger = Linger::new(2);
        // Asleep when it came.
        assert!(idle(&linger, MOST, MOST + 1));
        linger.begin(clock::now());
        linger.goes_on();
        linger.end(1, clock::now());
        assert!(idle(&linger, 1, 0));
    }
}
