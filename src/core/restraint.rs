//! Whether nobody is called although jobs wait and workers sleep: because as many are awake as
//! there are CPUs, and jobs are *short*.
//!
//! A thread that waits for something goes to sleep and is woken, which takes longer than a short
//! job does. So these compute, and one more worker would only take turns with the others. Should
//! they take long after all, somebody must notice: README, "Holding back".

use super::crew::Crew;
use super::host::Host;
use crate::sync::{AtomicUsize, Ordering, fence, planted};

/// Where there is one CPU a second worker is on its way to the queue while the first one works,
/// which is worth more than it costs.
const LEAST: usize = if cfg!(offramp_loom) { 1 } else { 2 };

/// Nobody has been held back since the last job ended with the restraint lifted.
const FREE: usize = 0;
/// Somebody may have been held back, and [`Restraint::lift`] will be called.
const HELD: usize = 1;
/// Nobody is held back before the end of a job.
const LIFTED: usize = 2;

pub(super) struct Restraint {
    state: AtomicUsize,
}

impl Restraint {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicUsize::new(FREE),
        }
    }

    /// Whether it holds a worker back, who would be called else. `lift_later`: has it lifted in a while.
    pub(super) fn holds(&self, lift_later: impl FnOnce()) -> bool {
        // ORDERING: Relaxed here and below: ordered by the fences in `demand` and `relieve`.
        // Who sees it held has pushed before `relieve` looks.
        let mut state = self.state.load(Ordering::Relaxed);
        if state == FREE {
            let held =
                self.state
                    .compare_exchange(FREE, HELD, Ordering::Relaxed, Ordering::Relaxed);
            match held {
                Ok(_) => {
                    if !planted("restraint: never lifted") {
                        lift_later();
                    }
                    return true;
                }
                Err(now) => state = now,
            }
        }
        state == HELD
    }

    /// From now on, until a job ends. Followed by a fence and a look.
    pub(super) fn lift(&self) {
        // Not a store, which loom lets this thread itself overlook afterwards.
        self.state.swap(LIFTED, Ordering::Relaxed);
    }

    /// A worker has run a job: they do not all take long.
    #[inline]
    pub(super) fn ended(&self) {
        if self.state.load(Ordering::Relaxed) == LIFTED {
            let _ = self
                .state
                .compare_exchange(LIFTED, FREE, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Crew {
    /// Whether nobody is to be called for short jobs, though some wait.
    pub(super) fn holds_back(&self, host: &impl Host) -> bool {
        let asleep = self.idle.count() + self.lent.load(Ordering::Relaxed);
        let awake = self.alive.load(Ordering::Relaxed).saturating_sub(asleep);
        awake >= self.size.cpus.max(LEAST) && self.restraint.holds(|| host.relieve_soon())
    }

    /// Jobs may wait for which somebody was held back.
    pub(crate) fn relieve(&self, host: &impl Host) {
        let is_late = planted("restraint: lifted after the look");
        if !is_late {
            self.restraint.lift();
        }
        // ORDERING: SeqCst fence, partner: the fence in `demand`. Either a submitter sees that
        // nobody is held back any more or we see its job.
        fence(Ordering::SeqCst);
        let work = host.has_work();
        if is_late {
            self.restraint.lift();
        }
        if work && !planted("restraint: nobody called") {
            self.demand_fenced(host);
        }
    }
}

#[cfg(all(test, not(offramp_loom)))]
mod tests {
    use super::Restraint;
    use std::cell::Cell;

    #[test]
    fn it_is_lifted_by_time_and_comes_back_with_the_end_of_a_job() {
        let (restraint, asked) = (Restraint::new(), Cell::new(0));
        let holds = || restraint.holds(|| asked.set(asked.get() + 1));
        assert!(holds() && holds());
        assert_eq!(asked.get(), 1, "once is enough");
        restraint.ended();
        assert!(holds(), "whoever was held back first still is");
        assert_eq!(asked.get(), 1);
        restraint.lift();
        assert!(!holds() && !holds());
        restraint.ended();
        restraint.ended();
        assert!(holds() && holds());
        assert_eq!(asked.get(), 2);
    }
}
