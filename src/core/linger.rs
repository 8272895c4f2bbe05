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

    /// No job was found, of those that take so long. `true`: now there seems to be one. Else the
    /// worker is to sleep, as if it had never lingered: nobody relies on it here.
    pub(super) fn finds(
        &mut self,
        length: Length,
        has_work: impl Fn() -> bool,
        now: impl Fn() -> u64,
    ) -> bool {
        let is_tiny = length == Length::Tiny || cfg!(offramp_loom);
        let is_worth_it = self.is_useful && is_tiny && self.ran >= JOBS;
        if is_worth_it && look_on(has_work, now) {
            return true;
        }
        self.ran = 0;
        false
    }
}

fn look_on(has_work: impl Fn() -> bool, now: impl Fn() -> u64) -> bool {
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
    use super::{LOOKS, Length, Linger, MOST};
    use std::cell::Cell;

    /// After so many jobs: whether it finds the one that comes with the look of this number, and
    /// how often it looked. Each look at the clock takes a microsecond.
    fn finds_of(length: Length, linger: &mut Linger, jobs: usize, comes: usize) -> (bool, usize) {
        let (looks, time) = (Cell::new(0), Cell::new(0));
        (0..jobs).for_each(|_| linger.ran());
        let found = linger.finds(
            length,
            || {
                looks.set(looks.get() + 1);
                looks.get() >= comes
            },
            || time.replace(time.get() + 1_000),
        );
        (found, looks.get())
    }

    fn finds(linger: &mut Linger, jobs: usize, comes: usize) -> (bool, usize) {
        finds_of(Length::Tiny, linger, jobs, comes)
    }

    #[test]
    fn after_several_jobs_it_looks_for_a_while() {
        let mut linger = Linger::new(2);
        let most = LOOKS * (MOST / 1_000) as usize;
        assert_eq!(finds(&mut linger, 2, 3), (true, 3));
        assert_eq!(finds(&mut linger, 0, most), (true, most), "not asleep yet");
        assert_eq!(finds(&mut linger, 9, most + 1), (false, most));
    }

    #[test]
    fn after_a_lone_job_it_sleeps() {
        let mut linger = Linger::new(2);
        assert_eq!(finds(&mut linger, 0, 1), (false, 0));
        assert_eq!(finds(&mut linger, 1, 1), (false, 0));
        assert_eq!(finds(&mut linger, 1, 1), (false, 0), "it slept in between");
        assert_eq!(finds(&mut linger, 2, 1), (true, 1));
    }

    #[test]
    fn on_one_cpu_it_sleeps() {
        assert_eq!(finds(&mut Linger::new(1), 9, 1), (false, 0));
    }

    #[test]
    fn after_jobs_that_are_not_tiny_it_sleeps() {
        let mut linger = Linger::new(2);
        assert_eq!(finds_of(Length::Brief, &mut linger, 9, 1), (false, 0));
        assert_eq!(finds(&mut linger, 1, 1), (false, 0), "it slept in between");
    }
}
