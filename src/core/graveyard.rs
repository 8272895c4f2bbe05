//! The graveyard: where cancellers leave their jobs' shells for whoever has the scheduler's lock.
//!
//! A push-only stack like the inbox, linked through the waker slot, which nobody uses any more.
//! See "Shells" in the README.

use super::job::Header;
use super::lanes::Lanes;
use super::queue::Queue;
use crate::sync::{Hint, Ordering, fence, planted};
use std::ptr::{self, NonNull};

/// Steps from inbox to lanes (two a job) that are taken for each cancelled job at most:
/// for more jobs than the one it added, but few enough not to hold up an event loop.
const STEPS_PER_BURIAL: usize = 32;

impl Queue {
    /// Takes the shell of a cancelled job out of the queue: now if the lock is
    /// free, else by its present holder. `true`: jobs are left, and whoever buried
    /// makes sure that a worker looks.
    ///
    /// # Safety
    ///
    /// The caller cancelled `shell` while it was queued, has emptied its waker
    /// slot, and calls this once.
    #[must_use]
    pub(crate) unsafe fn bury(&self, shell: NonNull<Header>) -> bool {
        // Counted before anybody can free it.
        self.seldom.shells.fetch_add(1, Ordering::Relaxed);
        let mut top = self.seldom.graveyard.hint();
        loop {
            // SAFETY: by contract the slot is ours and empty.
            unsafe { shell.as_ref().put_grave(top) };
            // ORDERING: Release, partner: the Acquire swap in `empty_graveyard`.
            match self.seldom.graveyard.compare_exchange_weak(
                top,
                shell.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(seen) => top = seen,
            }
        }
        self.purge(STEPS_PER_BURIAL)
    }

    /// After unlocking: a canceller that found the lock taken left its shell to
    /// the lock's holder.
    #[inline]
    pub(super) fn look_at_graveyard_again(&self) {
        if planted("queue: no look after unlocking") {
            return;
        }
        // ORDERING: SeqCst fence, partner: the fence in `purge`. Either the
        // canceller finds the lock free or we find its shell. Also for `Crew::taken_by`,
        // which looks at who sleeps: what is left can be seen by now.
        fence(Ordering::SeqCst);
        if !self.seldom.graveyard.load(Ordering::Relaxed).is_null() {
            // No steps: what is not drained is in nobody's hands.
            let _ = self.purge(0);
        }
    }

    fn purge(&self, steps: usize) -> bool {
        let mut left = false;
        loop {
            // ORDERING: SeqCst fence, partner: `look_at_graveyard_again`.
            fence(Ordering::SeqCst);
            if self.seldom.graveyard.load(Ordering::Relaxed).is_null() {
                return left;
            }
            let Some(mut lanes) = self.lanes.try_lock() else {
                return left;
            };
            // Also for those that found the lock taken.
            let shells = self.empty_graveyard(&mut lanes);
            lanes.drain(&self.inbox, steps * shells);
            left = lanes.has_runnable();
            self.set_left(left);
            self.forget_shells(&mut lanes);
        }
    }

    /// How many shells were in it.
    #[inline]
    pub(super) fn empty_graveyard(&self, lanes: &mut Lanes) -> usize {
        if self.seldom.graveyard.load(Ordering::Relaxed).is_null() {
            return 0;
        }
        let mut shells = 0;
        // ORDERING: Acquire, partner: the Release in `bury`.
        let mut shell = self
            .seldom
            .graveyard
            .swap(ptr::null_mut(), Ordering::Acquire);
        while !shell.is_null() {
            // SAFETY: out of the graveyard, once; alive until buried.
            unsafe {
                let next = (*shell).grave();
                lanes.bury(shell);
                shell = next;
            }
            shells += 1;
        }
        shells
    }

    #[inline]
    pub(super) fn forget_shells(&self, lanes: &mut Lanes) {
        let released = lanes.take_released();
        if released > 0 {
            self.seldom.shells.fetch_sub(released, Ordering::Relaxed);
        }
    }

    #[cfg(all(test, offramp_loom))]
    pub(crate) fn has_no_shells(&self) -> bool {
        let buried = self.seldom.graveyard.load(Ordering::Relaxed).is_null();
        buried && self.seldom.shells.load(Ordering::Relaxed) == 0
    }
}
