//! The slot of a job's header that first holds a waker and at last a link.

use super::job::Header;
use std::mem::ManuallyDrop;
use std::ptr;
use std::task::Waker;

/// The waker of a waiting caller. In a cancelled shell, which nobody waits for
/// any more, the same room is its link in the graveyard.
pub(super) union Slot {
    empty: (),
    waker: ManuallyDrop<Waker>,
    grave: *mut Header,
}

impl Slot {
    pub(super) fn new(waker: Option<Waker>) -> Self {
        match waker {
            Some(waker) => Self {
                waker: ManuallyDrop::new(waker),
            },
            None => Self { empty: () },
        }
    }
}

impl Header {
    /// # Safety
    ///
    /// The caller owns the waker slot, which is full; it is empty afterwards.
    pub(crate) unsafe fn take_waker(&self) -> Waker {
        // SAFETY: by contract. A read, because the caller side may compare the
        // stored waker with its own at the same time.
        let waker = self
            .slot
            .with(|slot| unsafe { ptr::read(&raw const (*slot).waker) });
        ManuallyDrop::into_inner(waker)
    }

    /// # Safety
    ///
    /// The caller owns the waker slot, which is empty.
    pub(crate) unsafe fn put_waker(&self, waker: Waker) {
        // SAFETY: by contract.
        self.slot
            .with_mut(|slot| unsafe { (*slot).waker = ManuallyDrop::new(waker) });
    }

    /// # Safety
    ///
    /// Caller side, after seeing that a waker is stored: it may be taken
    /// meanwhile, but not changed.
    pub(crate) unsafe fn stored_waker_wakes(&self, waker: &Waker) -> bool {
        self.slot
            // SAFETY: by contract; `will_wake` compares two pointers.
            .with(|slot| unsafe { (*slot).waker.will_wake(waker) })
    }

    /// # Safety
    ///
    /// The job is cancelled and the caller owns its empty waker slot.
    pub(crate) unsafe fn put_grave(&self, next: *mut Header) {
        // SAFETY: by contract.
        self.slot.with_mut(|slot| unsafe { (*slot).grave = next });
    }

    /// # Safety
    ///
    /// The shell was taken out of the graveyard by the caller.
    pub(crate) unsafe fn grave(&self) -> *mut Header {
        // SAFETY: by contract.
        self.slot.with(|slot| unsafe { (*slot).grave })
    }
}
