//! The inbox: where submitters leave jobs without ever taking a lock.
//!
//! A push-only stack (Treiber, 1986) that is emptied in one exchange by whoever
//! holds the scheduler's lock. Nothing is popped singly, so there is no ABA. A
//! sealed inbox refuses every later push: a push racing with `seal` either lands
//! before it and is drained, or is refused.

use super::job::Header;
use crate::sync::{AtomicPtr, Hint, Ordering, planted};
use std::ptr::{self, NonNull};

pub(crate) struct Inbox {
    /// Newest job; linked by `next` to older ones.
    head: AtomicPtr<Header>,
}

/// In the place of a job: no more pushes. Never a job's address, which is aligned.
const SEALED: *mut Header = ptr::without_provenance_mut(1);

/// The inbox was sealed before the push.
#[derive(Debug)]
pub(crate) struct Sealed;

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Lock-free; a failed attempt means that another push or a drain got through.
    ///
    /// # Safety
    ///
    /// The caller owns the queue side of `job` and hands it over on success.
    #[inline]
    pub(crate) unsafe fn push(&self, job: NonNull<Header>) -> Result<(), Sealed> {
        // SAFETY: by contract; one job is linked to none.
        unsafe { self.push_all(job, job) }
    }

    /// The same for several at once: `newest` and those that it is linked to by `next`, down to
    /// `oldest`. All of them, or none.
    ///
    /// # Safety
    ///
    /// The caller owns the queue side of each, and hands it over on success.
    #[inline]
    pub(crate) unsafe fn push_all(
        &self,
        newest: NonNull<Header>,
        oldest: NonNull<Header>,
    ) -> Result<(), Sealed> {
        let mut head = self.head.hint();
        loop {
            if head == SEALED {
                return Err(Sealed);
            }
            // SAFETY: not published yet, so the links are ours.
            unsafe {
                oldest.as_ref().links.with_mut(|links| (*links).next = head);
            }
            let publish = if planted("inbox: relaxed push") {
                Ordering::Relaxed
            } else {
                Ordering::Release
            };
            // ORDERING: Release: jobs, closures and links are written before, partner:
            // the Acquire exchange in `drain`. Relaxed on failure: only retried.
            match self
                .head
                .compare_exchange_weak(head, newest.as_ptr(), publish, Ordering::Relaxed)
            {
                Ok(_) => return Ok(()),
                Err(seen) => head = seen,
            }
        }
    }

    /// All jobs, newest first; null if there is none. Needs the scheduler's lock:
    /// a drain beside `seal` would unseal.
    pub(crate) fn drain(&self) -> *mut Header {
        // ORDERING: Relaxed: only whether there is something to take.
        let head = self.head.load(Ordering::Relaxed);
        if head.is_null() || head == SEALED {
            return ptr::null_mut();
        }
        // ORDERING: Acquire, partner: the Release in `push_all`.
        self.head.swap(ptr::null_mut(), Ordering::Acquire)
    }

    /// Refuses every later push, and takes the jobs of the earlier ones. Needs
    /// the scheduler's lock.
    pub(crate) fn seal(&self) -> *mut Header {
        // ORDERING: Acquire as in `drain`; Release: a refused push sees what the
        // closer did before.
        let head = self.head.swap(SEALED, Ordering::AcqRel);
        if head == SEALED {
            ptr::null_mut()
        } else {
            head
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        // ORDERING: Relaxed: callers fence first (see "Fences" in the README).
        let head = self.head.load(Ordering::Relaxed);
        head.is_null() || head == SEALED
    }

    pub(crate) fn is_sealed(&self) -> bool {
        // ORDERING: Acquire, partner: `seal`.
        self.head.load(Ordering::Acquire) == SEALED
    }
}
