//! The doorman: the one resident that stays where submitters find it.
//!
//! Who waits inside rayon is released by the bell thread: two threads have to be woken for each
//! root, one after the other. So one resident at a time that has found no root stays outside for a
//! while: awake, where there is a CPU for that, else asleep. Submitters leave their roots to it,
//! and wake it if it sleeps. See README, "Residents".

use crate::sync::{AtomicUsize, Ordering, Parker, fence, planted};
use std::time::Duration;

/// The post is free.
const NOBODY: usize = 0;
/// The doorman looks for roots, and will once more when it has left.
const LOOKS: usize = 1;
/// It sleeps until it is told of one.
const SLEEPS: usize = 2;

/// For so long at most. That is beyond the next tick of the kernel's clock, as a rule: to set an alarm
/// before that takes a virtual machine microseconds.
const DOZE: Duration = Duration::from_millis(10);

pub(super) struct Doorman {
    post: AtomicUsize,
    door: Parker,
}

impl Doorman {
    pub(super) fn new() -> Self {
        Self {
            post: AtomicUsize::new(NOBODY),
            door: Parker::new(),
        }
    }

    /// Takes the post, if it is free.
    pub(super) fn enter(&self) -> bool {
        // ORDERING: Acquire, partner: the Release in `leave`: the door is the next one's. Of those that
        // want to one does.
        self.post
            .compare_exchange(NOBODY, LOOKS, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// For who has submitted a root, and been through a fence since: whether there is a doorman,
    /// who will look for it.
    pub(super) fn is_told(&self) -> bool {
        // ORDERING: Relaxed: ordered by that fence.
        match self.post.load(Ordering::Relaxed) {
            NOBODY => false,
            SLEEPS => match self.claim() {
                Ok(_) => true,
                Err(post) => post == LOOKS,
            },
            _ => true,
        }
    }

    /// Has it leave its post, if it sleeps there.
    pub(super) fn wake(&self) {
        // ORDERING: Relaxed: only a first look.
        if self.post.load(Ordering::Relaxed) == SLEEPS {
            let _is_awake = self.claim();
        }
    }

    /// Whoever takes the post from sleeping to looking wakes it.
    fn claim(&self) -> Result<usize, usize> {
        // ORDERING: AcqRel, partner: the Release store in `sleep`: its `adopt` is visible.
        let claimed =
            self.post
                .compare_exchange(SLEEPS, LOOKS, Ordering::AcqRel, Ordering::Relaxed);
        if claimed.is_ok() {
            // SAFETY: it adopted the door before it said that it sleeps, and does not leave
            // before it has consumed this notification.
            unsafe { self.door.unpark() };
        }
        claimed
    }

    /// The doorman's: sleeps until it is claimed (`true`), or for a while. `look`: whether it is not to.
    pub(super) fn sleep(&self, look: impl FnOnce() -> bool) -> bool {
        // SAFETY: there is one doorman, and nobody claims it before it says that it sleeps.
        unsafe { self.door.adopt() };
        // ORDERING: Release, partner: `claim`.
        self.post.store(SLEEPS, Ordering::Release);
        // ORDERING: SeqCst fence, partner: the fences in `Residents::ring` and `close`.
        fence(Ordering::SeqCst);
        let stays = !look() || planted("doorman: no look before sleeping");
        if stays && self.door.park(Some(DOZE)) {
            return true;
        }
        // ORDERING: Relaxed: nothing of the other side's is read.
        let is_claimed = self
            .post
            .compare_exchange(SLEEPS, LOOKS, Ordering::Relaxed, Ordering::Relaxed)
            .is_err();
        if is_claimed {
            // The notification is on its way, and ours to consume.
            let notified = self.door.park(None);
            debug_assert!(notified);
        }
        is_claimed
    }

    /// Contains a fence: who left a root to the doorman is seen by the look that has to follow.
    pub(super) fn leave(&self) {
        // ORDERING: Release, partner: the Acquire in `enter`.
        self.post.store(NOBODY, Ordering::Release);
        // ORDERING: SeqCst fence, partner: the fence in `Residents::ring`.
        fence(Ordering::SeqCst);
    }

    /// Its present or next sleep is over.
    #[cfg(all(test, offramp_loom))]
    pub(super) fn expire(&self) {
        self.door.expire();
    }
}
