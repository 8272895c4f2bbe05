//! Whether a worker that finds no job looks a few times more before it sleeps.
//!
//! Jobs that come one after the other do not stop coming because a worker was quicker than its
//! submitter. To sleep and to be woken would cost both of them more than such a gap takes, and many
//! times what a tiny job does. A lone job is followed by none so soon, and who waits for it may need
//! this CPU.

use super::host::Length;
use std::hint;

/// For so many nanoseconds: about what it costs to go to sleep and to be woken on the same CPU, so that who waits in
/// vain wastes no more than he might have saved (A. Karlin et al., "Empirical studies of competitive
/// spinning for a shared-memory multiprocessor", 1991).
const MOST: u64 = if cfg!(offramp_loom) { 0 } else { 5_000 };

/// Looks between two at the clock.
const LOOKS: usize = if cfg!(offramp_loom) { 1 } else { 8 };

/// Only who has run so many jobs since it last slept lingers.
const JOBS: u32 = if cfg!(offramp_loom) { 1 } else { 2 };

/// What one worker knows of itself.
pub(super) struct Linger {
    /// There is a second CPU from which jobs can come meanwhile.
    is_useful: bool,
    /// How many jobs it has run since it last slept.
    ran: u32,
}

impl Linger {
    pub(super) fn new(cpus: usize) -> Self {
        Self {
            is_useful: cpus > 1,
            ran: 0,
        }
    }

    pub(super) fn ran(&mut self) {
        self.ran = self.ran.saturating_add(1);
    }

    /// No job was found, of those that take so long: whether to linger.
    pub(super) fn is_worth_it(&self, length: Length) -> bool {
        let is_tiny = length == Length::Tiny || cfg!(offramp_loom);
        self.is_useful && is_tiny && self.ran >= JOBS
    }

    /// The worker is to sleep, as if it had never lingered: nobody relies on it here.
    pub(super) fn ends(&mut self) {
        self.ran = 0;
    }
}

/// `true`: now there seems to be a job.
pub(super) fn finds(has_work: impl Fn() -> bool, now: impl Fn() -> u64) -> bool {
    let until = now() + MOST;
    loop {
        for _ in 0..LOOKS {
            if has_work() {
                return true;
            }
            hint::spin_loop();
        }
        if now() >= until {
            return false;
        }
    }
}

#[cfg(all(test, not(offramp_loom)))]
mod tests {
    use super::{JOBS, LOOKS, Length, Linger, MOST, finds};
    use std::cell::Cell;

    fn after(cpus: usize, jobs: u32) -> Linger {
        let mut linger = Linger::new(cpus);
        (0..jobs).for_each(|_| linger.ran());
        linger
    }

    #[test]
    fn after_several_tiny_jobs_it_is_worth_it() {
        assert!(after(2, JOBS).is_worth_it(Length::Tiny));
        assert!(!after(2, JOBS - 1).is_worth_it(Length::Tiny));
        assert!(!after(2, JOBS).is_worth_it(Length::Brief));
        assert!(!after(1, JOBS).is_worth_it(Length::Tiny), "on one CPU");
    }

    #[test]
    fn only_those_count_that_ran_since_it_slept() {
        let mut linger = after(2, JOBS);
        linger.ends();
        (1..JOBS).for_each(|_| linger.ran());
        assert!(!linger.is_worth_it(Length::Tiny));
        linger.ran();
        assert!(linger.is_worth_it(Length::Tiny));
    }

    /// Whether it finds the job that comes with the look of this number, and how often it looked. Each
    /// look at the clock takes a microsecond.
    fn finds_one(comes: usize) -> (bool, usize) {
        let (looks, time) = (Cell::new(0), Cell::new(0));
        let found = finds(
            || {
                looks.set(looks.get() + 1);
                looks.get() >= comes
            },
            || time.replace(time.get() + 1_000),
        );
        (found, looks.get())
    }

    #[test]
    fn it_looks_for_a_while() {
        let most = LOOKS * (MOST / 1_000) as usize;
        assert_eq!(finds_one(3), (true, 3));
        assert_eq!(finds_one(most), (true, most));
        assert_eq!(finds_one(most + 1), (false, most));
    }
}
