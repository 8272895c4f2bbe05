//! How many workers there may be: a number that moves, by [`Crew::resize`], and because
//! workers that wait inside of their jobs lend their turns. See README, "Lending and
//! resizing".

use super::crew::Crew;
use super::host::Host;
use crate::sync::{Hint, Ordering, fence, planted};

impl Crew {
    /// How many jobs it runs at the same time, but for those that wait.
    pub(crate) fn size(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// How many workers there may be.
    pub(super) fn limit(&self) -> usize {
        let lent = self.lent.load(Ordering::Relaxed);
        self.max.load(Ordering::Relaxed) + lent.min(self.size.extra)
    }

    /// README, "Lending". The worker that calls this waits inside of its job: another one
    /// may run meanwhile. `false`: all others wait that way, and there can be no more.
    /// Ended by [`take_back`](Self::take_back).
    pub(crate) fn lend(&self, host: &impl Host) -> bool {
        let most = self.max.load(Ordering::Relaxed) + self.size.extra - 1;
        let lent = self
            .lent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lent| {
                (lent < most).then_some(lent + 1)
            });
        if lent.is_err() {
            return false;
        }
        if planted("crew: no look after lending") {
            return true;
        }
        // ORDERING: SeqCst fence, partner: the fence in `demand`. Either a submitter sees
        // that there may be one more, or we see its job.
        fence(Ordering::SeqCst);
        if host.has_work() {
            self.demand(host);
        }
        true
    }

    pub(crate) fn take_back(&self) {
        self.lent.fetch_sub(1, Ordering::Relaxed);
    }

    /// README, "Lending". Sets how many workers there may be. Surplus ones leave when they
    /// next look for a job.
    pub(crate) fn resize(&self, max: usize, host: &impl Host) {
        self.max.store(max.min(self.size.most), Ordering::Relaxed);
        // ORDERING: SeqCst fence, partner: the fences in `demand` and `nap`.
        fence(Ordering::SeqCst);
        if host.has_work() {
            self.demand(host);
        }
        // Those that work see it when they are through.
        let surplus = self.alive.hint().saturating_sub(self.limit());
        for _ in 0..surplus {
            let Some(slot) = self.idle.take_lowest() else {
                break;
            };
            self.wake(slot);
        }
    }

    pub(super) fn is_surplus(&self) -> bool {
        self.alive.hint() > self.limit()
    }
}
