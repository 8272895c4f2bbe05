//! A lane: jobs that wait in the order of their submission.
//!
//! An intrusive doubly linked list, so that a cancelled job's shell leaves it in O(1).

use super::job::{Header, Links, Place};
use std::ptr::{self, NonNull};

/// A FIFO of jobs linked by `next` and `prev`.
pub(super) struct Lane {
    first: *mut Header,
    last: *mut Header,
}

/// Access to the links of a job that is ours by the scheduler's lock.
///
/// # Safety
///
/// The caller holds the scheduler's lock and the queue side of `job` is alive.
pub(super) unsafe fn links<R>(job: *mut Header, f: impl FnOnce(&mut Links) -> R) -> R {
    // SAFETY: by contract; the lock makes the access exclusive.
    unsafe { (*job).links.with_mut(|links| f(&mut *links)) }
}

/// The same to where it is.
///
/// # Safety
///
/// As [`links`].
pub(super) unsafe fn placed<R>(job: *mut Header, f: impl FnOnce(&mut Place) -> R) -> R {
    // SAFETY: by contract; the lock makes the access exclusive.
    unsafe { (*job).place.with_mut(|place| f(&mut *place)) }
}

impl Lane {
    pub(super) const fn new() -> Self {
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    /// The first job, or null.
    pub(super) fn first(&self) -> *const Header {
        self.first
    }

    /// The first job, out of the list.
    ///
    /// # Safety
    ///
    /// Lock held.
    pub(super) unsafe fn pop(&mut self) -> Option<NonNull<Header>> {
        let job = NonNull::new(self.first)?;
        // SAFETY: by contract; the first job is linked.
        unsafe { self.unlink(job.as_ptr()) };
        Some(job)
    }

    /// The newest job that `take` makes something of, out of the list.
    ///
    /// # Safety
    ///
    /// Lock held.
    pub(super) unsafe fn take_newest<R>(
        &mut self,
        mut take: impl FnMut(NonNull<Header>) -> Option<R>,
    ) -> Option<R> {
        let mut next = NonNull::new(self.last);
        while let Some(job) = next {
            // SAFETY: by contract; linked jobs are alive.
            next = NonNull::new(unsafe { links(job.as_ptr(), |job| job.prev) });
            if let Some(taken) = take(job) {
                // SAFETY: by contract; linked here.
                unsafe { self.unlink(job.as_ptr()) };
                return Some(taken);
            }
        }
        None
    }

    /// # Safety
    ///
    /// Lock held; `job` is in no list.
    pub(super) unsafe fn append(&mut self, job: *mut Header) {
        let last = self.last;
        // SAFETY: by contract; `last` is linked here, so it is alive.
        unsafe {
            placed(job, |place| *place = Place::Lane);
            links(job, |job| {
                job.prev = last;
                job.next = ptr::null_mut();
            });
            if last.is_null() {
                self.first = job;
            } else {
                links(last, |last| last.next = job);
            }
        }
        self.last = job;
    }

    /// # Safety
    ///
    /// Lock held; `job` is linked in this lane.
    pub(super) unsafe fn unlink(&mut self, job: *mut Header) {
        // SAFETY: by contract; the neighbours are linked here too.
        unsafe {
            placed(job, |place| *place = Place::Out);
            let (prev, next) = links(job, |job| (job.prev, job.next));
            if prev.is_null() {
                self.first = next;
            } else {
                links(prev, |prev| prev.next = next);
            }
            if next.is_null() {
                self.last = prev;
            } else {
                links(next, |next| next.prev = prev);
            }
        }
    }
}
